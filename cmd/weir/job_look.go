package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/api/client"
)

func newJobGraphCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "graph NAME", Short: "Show the plan that a job runs", Args: exactly(1, "a job"),
		Example: `  weir job graph clicks
  weir job graph clicks -o dot | dot -Tsvg > clicks.svg`,
	}
	c := addClusterFlags(cmd)
	var format string
	cmd.Flags().StringVarP(&format, "format", "o", "text", "`FORMAT` text, dot (for Graphviz) or json")
	cmd.RunE = c.with(func(ctx context.Context, cl *client.Client, cmd *cobra.Command, args []string) error {
		if err := oneOf("-o", format, "text", "dot", "json"); err != nil {
			return err
		}
		g, err := cl.Graph(ctx, args[0])
		if err != nil {
			return err
		}
		switch format {
		case "json":
			return writeJSON(cmd.OutOrStdout(), g)
		case "dot":
			return drawGraph(cmd.OutOrStdout(), &g)
		}
		return c.show(cmd.OutOrStdout(), g, func(t *tabwriter.Writer, _ bool) { printGraph(t, &g) })
	})
	return cmd
}

func printGraph(t io.Writer, g *api.JobGraph) {
	fmt.Fprintf(t, "job %q: %d tasks in %d chains, max-parallelism %d\n", g.Job, g.Tasks, len(g.Chains), g.MaxParallelism)
	for _, ch := range g.Chains {
		fmt.Fprintf(t, "\n%s\t×%d\tregion %d\n", ch.ID, ch.Parallelism, ch.Region)
		for _, o := range ch.Operators {
			fmt.Fprintf(t, "  %s\t%s\n", o.Name, o.Kind)
		}
		for _, e := range g.Exchanges {
			if e.ToChain == ch.ID {
				fmt.Fprintf(t, "  from %s\t%s\t%s\n", e.FromChain, e.Kind, e.Key)
			}
		}
	}
}

func drawGraph(w io.Writer, g *api.JobGraph) error {
	var b strings.Builder
	fmt.Fprintf(&b, "digraph %q {\n  node [shape=box]\n", g.Job)
	for _, ch := range g.Chains {
		var names []string
		for _, o := range ch.Operators {
			names = append(names, o.Name)
		}
		fmt.Fprintf(&b, "  %q [label=%q]\n", ch.ID, fmt.Sprintf("%s ×%d", strings.Join(names, "\n"), ch.Parallelism))
	}
	for _, e := range g.Exchanges {
		fmt.Fprintf(&b, "  %q -> %q [label=%q]\n", e.FromChain, e.ToChain, strings.TrimSpace(e.Kind+" "+e.Key))
	}
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func newJobLogsCmd() *cobra.Command {
	var q client.LogQuery
	var alloc string
	cmd := &cobra.Command{
		Use: "logs NAME", Short: "Show what a job's executors wrote", Args: exactly(1, "a job"),
		Example: `  weir job logs clicks
  weir job logs clicks -f --stream stderr
  weir job logs clicks --executor clicks-7 --tail 1000 -o wide`,
	}
	c := addClusterFlags(cmd).formats(cmd)
	cmd.Flags().StringVar(&alloc, "executor", "", "`ID` of one executor, see weir job status")
	cmd.Flags().StringVar(&q.Stream, "stream", "", "only `STREAM` stdout or stderr")
	cmd.Flags().IntVar(&q.Tail, "tail", 200, "`N` lines at most of what was written")
	cmd.Flags().BoolVarP(&q.Follow, "follow", "f", false, "go on with what is written, until the job has ended")
	cmd.RunE = c.with(func(ctx context.Context, cl *client.Client, cmd *cobra.Command, args []string) error {
		if q.Tail < 0 {
			return misuse("--tail %d: it can't be negative", q.Tail)
		}
		q.Alloc = api.AllocID(alloc)
		out := cmd.OutOrStdout()
		each := json.NewEncoder(out)
		each.SetEscapeHTML(false)
		return cl.Logs(ctx, args[0], q, func(l api.LogLine) (err error) {
			switch c.format {
			case "json":
				return each.Encode(l)
			case "wide":
				_, err = fmt.Fprintf(out, "%s %s %s %s\n", moment(l.Time), l.Alloc, l.Stream, l.Text)
			default:
				_, err = fmt.Fprintln(out, l.Text)
			}
			return err
		})
	})
	return cmd
}

func newJobEventsCmd() *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use: "events NAME", Short: "Show what happened to a job", Args: exactly(1, "a job"),
		Example: `  weir job events clicks
  weir job events clicks -f`,
	}
	c := addClusterFlags(cmd).formats(cmd)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens, until the job has ended; with -o json a line each")
	cmd.RunE = c.with(func(ctx context.Context, cl *client.Client, cmd *cobra.Command, args []string) error {
		out := cmd.OutOrStdout()
		if follow {
			return cl.FollowEvents(ctx, args[0], 0, func(e api.JobEvent) error {
				if c.format == "json" {
					return json.NewEncoder(out).Encode(e)
				}
				_, err := fmt.Fprintf(out, "%s  %s  %s\n", moment(e.Time), e.Kind, e.Message)
				return err
			})
		}
		all, err := client.All(func(p client.Page) ([]api.JobEvent, string, error) {
			l, err := cl.Events(ctx, args[0], p)
			return l.Items, l.Next, err
		})
		if err != nil {
			return err
		}
		return c.show(out, all, func(t *tabwriter.Writer, wide bool) {
			fmt.Fprint(t, "TIME\tKIND\tMESSAGE")
			if wide {
				fmt.Fprint(t, "\tATTEMPT\tEPOCH\tEXECUTOR\tNODE\tTASK\tBY")
			}
			fmt.Fprintln(t)
			for _, e := range all {
				fmt.Fprintf(t, "%s\t%s\t%s", moment(e.Time), e.Kind, e.Message)
				if wide {
					fmt.Fprintf(t, "\t%d\t%d\t%s\t%s\t%s\t%s", e.Attempt, e.Epoch, dash(string(e.Alloc)), dash(string(e.Node)), dash(e.Task), dash(e.By))
				}
				fmt.Fprintln(t)
			}
		})
	})
	return cmd
}

func newJobTopCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "top NAME", Short: "Show what each operator of a job does just now", Args: exactly(1, "a job"),
		Example: `  weir job top clicks
  weir job top clicks -w`,
	}
	c := addClusterFlags(cmd).formats(cmd).watches(cmd)
	cmd.RunE = c.with(func(ctx context.Context, cl *client.Client, cmd *cobra.Command, args []string) error {
		for first := true; ; first = false {
			s, err := cl.Stats(ctx, args[0])
			if err != nil {
				return err
			}
			if err := c.again(cmd.OutOrStdout(), first, func(w io.Writer) error { return c.showStats(w, &s) }); err != nil || !c.watch {
				return err
			}
			if err := pause(ctx, time.Second); err != nil {
				return err
			}
		}
	})
	return cmd
}

func (c *cluster) showStats(w io.Writer, s *api.JobStats) error {
	return c.show(w, s, func(t *tabwriter.Writer, wide bool) {
		fmt.Fprintf(t, "job %q at %s: attempt %d, epoch %d\n", s.Job, moment(s.Time), s.Attempt, s.Epoch)
		fmt.Fprint(t, "OPERATOR\tTASKS\tIN/S\tOUT/S\tBUSY\tIDLE\tBACKPRESSURED\tLAG\tSTATE")
		if wide {
			fmt.Fprint(t, "\tIN\tOUT\tID")
		}
		fmt.Fprintln(t)
		for _, o := range s.Operators {
			lag := "-"
			switch {
			case o.Watermark == nil:
			case *o.Watermark == math.MaxInt64:
				lag = "end" // of all input
			default:
				lag = (time.Duration(s.Time-*o.Watermark) * time.Microsecond).Round(time.Millisecond).String()
			}
			fmt.Fprintf(t, "%s\t%d\t%.0f\t%.0f\t%.0f%%\t%.0f%%\t%.0f%%\t%s\t%s", o.Name, o.Parallelism, o.RateIn, o.RateOut,
				100*o.Busy, 100*o.Idle, 100*o.Backpressured, lag, size(o.StateBytes))
			if wide {
				fmt.Fprintf(t, "\t%d\t%d\t%s", o.RecordsIn, o.RecordsOut, o.ID)
			}
			fmt.Fprintln(t)
		}
	})
}
