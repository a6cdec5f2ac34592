package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"ayumi/admin"
	"ayumi/steps"
)

func prizeCommand() *cobra.Command {
	return group("prize", "Keep the catalogue of prizes", prizePut(), prizeList())
}

// errNoPrize is how findPrize says that there is none.
var errNoPrize = errors.New("no such prize")

// findPrize looks an item of the catalogue up.
func findPrize(ctx context.Context, c *admin.Client, id steps.PrizeID) (p admin.Prize, err error) {
	err = c.EachPrize(ctx, func(have *admin.Prize) error {
		if have.ID != id {
			return nil
		}
		p = *have
		return errFound
	})
	switch {
	case err == nil:
		return p, errNoPrize
	case errors.Is(err, errFound):
		return p, nil
	}
	return p, err
}

func prizePut() *cobra.Command {
	var given admin.Prize
	var price int64
	var from, until dayFlag
	cmd := &cobra.Command{
		Use:   "put ID",
		Short: "Add a prize to the catalogue, or change one",
		Long: "Add a prize to the catalogue, or change one: what is not given stays as it is. The stock counts all that there\n" +
			"ever were, those given included.",
		Example: "  ayumi prize put --data-dir DIR towel --name-ja 手ぬぐい --name-en towel --price 300 --stock 200\n" +
			"  ayumi prize put --data-dir DIR towel --stock 250",
		Args: exactArgs("ID"),
	}
	cmd.Flags().StringVar(&given.NameJA, "name-ja", "", "name in Japanese")
	cmd.Flags().StringVar(&given.NameEN, "name-en", "", "name in English")
	cmd.Flags().Int64Var(&price, "price", 0, "points that it costs")
	cmd.Flags().Uint64Var(&given.Stock, "stock", 0, "how many there are in all")
	cmd.Flags().BoolVar(&given.Unlimited, "unlimited", false, "there are as many as are asked for")
	cmd.Flags().Var(&from, "from", "first day on which it can be asked for")
	cmd.Flags().Var(&until, "until", "last day on which it can be asked for")
	return printCommand(cmd, oneFormats, func(ctx context.Context, c *admin.Client, args []string, f format) error {
		given.Price, given.From, given.Until = steps.Points(price), from.day, until.day
		id := steps.PrizeID(args[0])
		p, err := findPrize(ctx, c, id)
		if err != nil && !errors.Is(err, errNoPrize) {
			return err
		}
		p.ID = id
		change(cmd, &p, &given)
		if p, err = c.PutPrize(ctx, p); err != nil {
			return err
		}
		if f == formatJSON {
			return printJSON(cmd.OutOrStdout(), p)
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "prize %s costs %d points; left: %s\n", p.ID, p.Price, orDash(p.Left))
		return err
	})
}

// change takes over what was given on the command line.
func change(cmd *cobra.Command, p, given *admin.Prize) {
	for flag, take := range map[string]func(){
		"name-ja": func() { p.NameJA = given.NameJA }, "name-en": func() { p.NameEN = given.NameEN },
		"price": func() { p.Price = given.Price }, "stock": func() { p.Stock, p.Unlimited = given.Stock, false },
		"from": func() { p.From = given.From }, "until": func() { p.Until = given.Until },
	} {
		if cmd.Flags().Changed(flag) {
			take()
		}
	}
	if cmd.Flags().Changed("unlimited") {
		if p.Unlimited = given.Unlimited; p.Unlimited && !cmd.Flags().Changed("stock") {
			p.Stock = 0
		}
	}
}

func prizeList() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the catalogue",
		Example: "  ayumi prize list --data-dir DIR",
		Args:    exactArgs(),
	}
	columns := []string{"prize", "name_ja", "name_en", "price", "stock", "taken", "left", "from", "until"}
	return printCommand(cmd, listFormats, func(ctx context.Context, c *admin.Client, _ []string, f format) error {
		return printList(cmd, f, columns, func(row func(...any) error) error {
			return c.EachPrize(ctx, func(p *admin.Prize) error {
				stock := strconv.FormatUint(p.Stock, 10)
				if p.Unlimited {
					stock = "unlimited"
				}
				return row(p.ID, p.NameJA, p.NameEN, p.Price, stock, p.Taken, orDash(p.Left), orDash(p.From), orDash(p.Until))
			})
		})
	})
}
