package main

import (
	"fmt"
	"io"
	"log/slog"
)

func (c *config) logLevel() (slog.Level, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Log.Level)); err != nil {
		return 0, fmt.Errorf("log.level is %q; use debug, info, warn or error", c.Log.Level)
	}
	return level, nil
}

// logger writes as the config says.
func (c *config) logger(w io.Writer) *slog.Logger {
	level, _ := c.logLevel() // checked when the config was loaded
	opts := &slog.HandlerOptions{Level: level}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
