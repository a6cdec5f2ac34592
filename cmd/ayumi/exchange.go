package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"ayumi/admin"
	"ayumi/steps"
)

func exchangeCommand() *cobra.Command {
	return group("exchange", "Exchange points for prizes",
		exchangeRequest(), exchangeShip(), exchangeCancel(), exchangeList(), exchangeShow())
}

func exchangeRequest() *cobra.Command {
	var key keyFlag
	var price int64
	var by string
	cmd := &cobra.Command{
		Use:   "request PARTICIPANT PRIZE",
		Short: "Ask for a prize on behalf of a participant",
		Long: "Ask for a prize on behalf of a participant: points, stock and ledger change together. Points that expire first are\n" +
			"taken first. When the outcome is unknown, repeat the command with the --key that the message names.",
		Example: "  ayumi exchange request --data-dir DIR p-0001 towel\n" +
			"  ayumi exchange request --data-dir DIR p-0001 towel --price 300 --key form-2026-0114",
		Args: exactArgs("PARTICIPANT", "PRIZE"),
	}
	key.add(cmd)
	cmd.Flags().Int64Var(&price, "price", 0, "the `POINTS` that the participant was shown; today's price when absent")
	cmd.Flags().StringVar(&by, "by", "", "who asks for them; your login `NAME` when absent")
	return oneCommand(cmd, func(ctx context.Context, c *admin.Client, args []string) (x admin.Exchange, err error) {
		r := admin.ExchangeRequest{Participant: steps.ParticipantID(args[0]), Key: key.get(), Prize: steps.PrizeID(args[1]),
			Price: steps.Points(price), By: staffName(by)}
		if !cmd.Flags().Changed("price") {
			p, err := findPrize(ctx, c, r.Prize)
			if errors.Is(err, errNoPrize) {
				return x, steps.Errorf("exchange points", steps.NotFound, "there is no prize %q; see 'ayumi prize list'", r.Prize)
			}
			if err != nil {
				return x, err
			}
			r.Price = p.Price
		}
		x, err = c.Exchange(ctx, r)
		return x, key.explain(err)
	}, printExchange)
}

func printExchange(w io.Writer, x *admin.Exchange) error {
	_, err := fmt.Fprintf(w, "exchange     %d\nparticipant  %s\nprize        %s\nprice        %d\nrequested    %s\nstate        %s\nchanged      %s\n",
		x.ID, x.Participant, x.Prize, x.Price, timestamp(x.RequestedAt), x.State, timestamp(x.ChangedAt))
	if err == nil && x.By != "" {
		_, err = fmt.Fprintf(w, "by           %s\n", x.By)
	}
	if err == nil && x.Reason != "" {
		_, err = fmt.Fprintf(w, "reason       %s\n", x.Reason)
	}
	return err
}

func exchangeNumber(text string) (steps.ExchangeID, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 {
		return 0, usageError{fmt.Errorf("%q is no number of an exchange; they count from 1", text)}
	}
	return steps.ExchangeID(n), nil
}

func exchangeShip() *cobra.Command {
	var by string
	cmd := &cobra.Command{
		Use:     "ship NUMBER",
		Short:   "Note that the prize of an exchange was handed out or sent",
		Example: "  ayumi exchange ship --data-dir DIR 114",
		Args:    exactArgs("NUMBER"),
	}
	cmd.Flags().StringVar(&by, "by", "", "who does it; your login `NAME` when absent")
	return oneCommand(cmd, func(ctx context.Context, c *admin.Client, args []string) (x admin.Exchange, err error) {
		id, err := exchangeNumber(args[0])
		if err != nil {
			return x, err
		}
		return c.Ship(ctx, id, staffName(by))
	}, printExchange)
}

func exchangeCancel() *cobra.Command {
	var d decideFlags
	cmd := &cobra.Command{
		Use:   "cancel NUMBER",
		Short: "Cancel an exchange: the prize goes back into the stock, the points to the participant",
		Long: "Cancel an exchange: the prize goes back into the stock, the points to the periods that they came from. Points of\n" +
			"a period that is over meanwhile expire. For a parcel that was lost, lower the stock by one too.",
		Example: "  ayumi exchange cancel --data-dir DIR 114 --reason 'moved away, parcel came back'",
		Args:    exactArgs("NUMBER"),
	}
	d.add(cmd)
	return oneCommand(cmd, func(ctx context.Context, c *admin.Client, args []string) (x admin.Exchange, err error) {
		id, err := exchangeNumber(args[0])
		if err != nil {
			return x, err
		}
		return c.Cancel(ctx, id, staffName(d.by), d.reason)
	}, printExchange)
}

func exchangeShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show NUMBER",
		Short:   "Show an exchange",
		Example: "  ayumi exchange show --data-dir DIR 114",
		Args:    exactArgs("NUMBER"),
	}
	return oneCommand(cmd, func(ctx context.Context, c *admin.Client, args []string) (x admin.Exchange, err error) {
		id, err := exchangeNumber(args[0])
		if err != nil {
			return x, err
		}
		return c.FindExchange(ctx, id)
	}, printExchange)
}

func exchangeList() *cobra.Command {
	var participant, prize, state string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List exchanges in the order in which they were made",
		Example: "  ayumi exchange list --data-dir DIR --state requested\n" +
			"  ayumi exchange list --data-dir DIR --participant p-0001 --state all --output csv",
		Args: exactArgs(),
	}
	cmd.Flags().StringVar(&participant, "participant", "", "only this participant's `ID`")
	cmd.Flags().StringVar(&prize, "prize", "", "only this prize's `ID`")
	cmd.Flags().StringVar(&state, "state", "all", "`STATE`: requested, shipped, cancelled or all")
	columns := []string{"exchange", "participant", "prize", "price", "requested_at", "state", "changed_at", "by", "reason"}
	return printCommand(cmd, listFormats, func(ctx context.Context, c *admin.Client, _ []string, f format) error {
		filter := steps.ExchangeFilter{Participant: steps.ParticipantID(participant), Prize: steps.PrizeID(prize)}
		if state != "all" {
			for s := steps.ExchangeRequested; s <= steps.ExchangeCancelled; s++ {
				if s.String() == state {
					filter.State = s
				}
			}
			if filter.State == 0 {
				return usageError{fmt.Errorf("--state %q is none of requested, shipped, cancelled, all", state)}
			}
		}
		return printList(cmd, f, columns, func(row func(...any) error) error {
			return c.EachExchange(ctx, filter, func(x *admin.Exchange) error {
				return row(x.ID, x.Participant, x.Prize, x.Price, timestamp(x.RequestedAt), x.State, timestamp(x.ChangedAt), x.By, x.Reason)
			})
		})
	})
}
