package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/api/client"
)

func newAuditLogCmd() *cobra.Command {
	var limit int
	var who string
	var refused bool
	cmd := &cobra.Command{
		Use: "log", Short: "Show who has asked a cluster to change something, and who was refused", Args: atMost(0),
		Long: `Log shows the newest entries of the cluster's audit log: each request that has changed something or
was to, and each that was refused for who sent it. All servers are asked; each keeps what came to it,
within limits.audit. It takes a token with the role admin.`,
		Example: `  weir audit log
  weir audit log --who ada --limit 1000
  weir audit log --refused -o json`,
	}
	c := addClusterFlags(cmd).formats(cmd)
	cmd.Flags().IntVar(&limit, "limit", 100, "`N` entries at most, 1 to 1000")
	cmd.Flags().StringVar(&who, "who", "", "only what came with the token of that `NAME`")
	cmd.Flags().BoolVar(&refused, "refused", false, "only what was not done")
	cmd.RunE = c.with(func(ctx context.Context, cl *client.Client, cmd *cobra.Command, _ []string) error {
		if limit < 1 || limit > 1000 {
			return misuse("--limit %d: it must be from 1 to 1000", limit)
		}
		l, err := cl.Audit(ctx, limit)
		if err != nil {
			return err
		}
		all := slices.DeleteFunc(l.Items, func(e api.AuditEntry) bool {
			return who != "" && e.Who != who || refused && e.Result == "ok"
		})
		if err := c.show(cmd.OutOrStdout(), all, func(t *tabwriter.Writer, wide bool) {
			fmt.Fprint(t, "TIME\tWHO\tROLE\tWHAT\tABOUT\tRESULT\tFROM")
			if wide {
				fmt.Fprint(t, "\tCERTIFICATE\tSERVER\tFORWARDED FOR\tDETAIL\tERROR")
			}
			fmt.Fprintln(t)
			for _, e := range all {
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s", moment(e.Time), dash(e.Who), dash(e.Role), e.What, short(e.About), e.Result, e.From)
				if wide {
					fmt.Fprintf(t, "\t%s\t%s\t%s\t%s\t%s", dash(e.Certificate), e.Server, dash(e.ForwardedFor), dash(e.Detail), dash(e.Error))
				}
				fmt.Fprintln(t)
			}
		}); err != nil {
			return err
		}
		if len(l.Missing) > 0 {
			return fmt.Errorf("what these servers have written down is missing, for they do not answer: %s", strings.Join(l.Missing, ", "))
		}
		return nil
	})
	return cmd
}
