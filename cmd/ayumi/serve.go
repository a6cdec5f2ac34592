package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
)

func serveCommand() *cobra.Command {
	var file, dir string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the gateway",
		Long: "Run the gateway until SIGTERM or Ctrl-C. Without a config it listens on the loopback only, with a CA and\n" +
			"certificate of its own in the data directory. An upload is acknowledged after it was fsynced.",
		Example: "  ayumi serve --data-dir /var/lib/ayumi\n" +
			"  ayumi serve --data-dir /var/lib/ayumi --config /etc/ayumi/config.yaml",
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			cfg, err := loadConfig(file)
			if err != nil {
				return err
			}
			log := cfg.logger(cmd.ErrOrStderr())
			tuned := cfg.tune(availableMemory(), os.Getenv)
			g, err := newGateway(cfg, dir, time.Now, log)
			if err != nil {
				return err
			}
			tuned.log(log, &cfg)
			defer func() { err = errors.Join(err, g.Close()) }()
			fmt.Fprint(cmd.OutOrStdout(), g.banner(), tuned.banner())
			return g.Run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "YAML `FILE` with settings; see config.example.yaml")
	dataDirFlag(cmd, &dir)
	return cmd
}

// dataDirFlag adds --data-dir, which nearly every verb needs.
func dataDirFlag(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "data-dir", "", "`DIR` with the gateway's data and its admin.sock")
	if err := cmd.MarkFlagRequired("data-dir"); err != nil {
		panic(err) // the flag was added in the line above
	}
}
