package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/api/client"
)

func newNodeCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "node list|drain|undrain",
		Short: "Look at the agents of a cluster, and empty them",
		Example: `  weir node list
  weir node drain n2
  weir node undrain n2`,
		Args: cobra.ArbitraryArgs,
		RunE: unknownBelow,
	}
	cmd.AddCommand(newNodeListCmd(),
		newNodeActCmd("drain", "Give an agent nothing new, and move what runs there", (*client.Client).Drain),
		newNodeActCmd("undrain", "Give work to an agent again", (*client.Client).Undrain))
	return cmd
}

func newNodeListCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List the agents, as the leader sees them", Args: atMost(0),
		Example: `  weir node list -o wide
  weir node list -w`,
	}
	c := addClusterFlags(cmd).formats(cmd).watches(cmd)
	cmd.RunE = c.with(func(ctx context.Context, cl *client.Client, cmd *cobra.Command, _ []string) error {
		return c.repeat(cmd.OutOrStdout(), func(w client.Wait) (uint64, func(io.Writer) error, bool, error) {
			var index uint64
			all, err := client.All(func(p client.Page) ([]api.NodeInfo, string, error) {
				if p.Cursor != "" {
					w = client.Wait{}
				}
				l, err := cl.Nodes(ctx, p, w)
				index = max(index, l.Index)
				return l.Items, l.Next, err
			})
			return index, func(w io.Writer) error { return c.showNodes(w, all) }, false, err
		})
	})
	return cmd
}

func (c *cluster) showNodes(w io.Writer, all []api.NodeInfo) error {
	return c.show(w, all, func(t *tabwriter.Writer, wide bool) {
		fmt.Fprint(t, "ID\tNAME\tSTATUS\tROLE\tZONE\tSLOTS\tUSED\tEXECUTORS")
		if wide {
			fmt.Fprint(t, "\tVERSION\tRPC\tSEEN")
		}
		fmt.Fprintln(t)
		for _, n := range all {
			role := "agent"
			if n.Node.Server {
				role = "server"
			}
			if n.Leader {
				role = "leader"
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d", n.Node.ID, n.Node.Name, n.Status, role, dash(n.Node.Zone), n.Node.Slots, n.SlotsUsed, n.Allocs)
			if wide {
				fmt.Fprintf(t, "\t%s\t%s\t%s", dash(n.Node.Version), dash(n.Node.RPC), moment(n.Seen))
			}
			fmt.Fprintln(t)
		}
	})
}

func newNodeActCmd(use, text string, do func(*client.Client, context.Context, api.NodeID) (api.Done, error)) *cobra.Command {
	cmd := &cobra.Command{Use: use + " ID", Short: text, Args: exactly(1, "an agent"), Example: "  weir node " + use + " n2"}
	c := addClusterFlags(cmd).formats(cmd)
	cmd.RunE = c.with(func(ctx context.Context, cl *client.Client, cmd *cobra.Command, args []string) error {
		d, err := do(cl, ctx, api.NodeID(args[0]))
		if err != nil {
			return err
		}
		return c.done(cmd.OutOrStdout(), args[0], d)
	})
	return cmd
}

func newMembersCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "members", Short: "List the agents that gossip knows, as one server sees them", Args: atMost(0),
		Example: `  weir members
  weir members --address http://10.0.0.2:7470 -o wide`,
	}
	c := addClusterFlags(cmd).formats(cmd)
	cmd.RunE = c.with(func(ctx context.Context, cl *client.Client, cmd *cobra.Command, _ []string) error {
		all, err := client.All(func(p client.Page) ([]api.Member, string, error) {
			l, err := cl.Members(ctx, p)
			return l.Items, l.Next, err
		})
		if err != nil {
			return err
		}
		return c.show(cmd.OutOrStdout(), all, func(t *tabwriter.Writer, wide bool) {
			fmt.Fprint(t, "NAME\tADDRESS\tSTATUS\tROLE\tVERSION")
			if wide {
				fmt.Fprint(t, "\tID\tZONE")
			}
			fmt.Fprintln(t)
			for _, m := range all {
				role := "agent"
				if m.Server {
					role = "server"
				}
				if m.Leader {
					role = "leader"
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s", m.Name, m.Address, m.Status, role, dash(m.Version))
				if wide {
					fmt.Fprintf(t, "\t%s\t%s", m.ID, dash(m.Zone))
				}
				fmt.Fprintln(t)
			}
		})
	})
	return cmd
}
