package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/api/client"
)

func newJobsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "jobs",
		Short: "List the jobs of a cluster",
		Example: `  weir jobs
  weir jobs -o wide
  weir jobs -w`,
		Args: atMost(0),
	}
	c := addClusterFlags(cmd).formats(cmd).watches(cmd)
	cmd.RunE = c.with(func(ctx context.Context, cl *client.Client, cmd *cobra.Command, _ []string) error {
		return c.repeat(cmd.OutOrStdout(), func(w client.Wait) (uint64, func(io.Writer) error, bool, error) {
			var index uint64
			all, err := client.All(func(p client.Page) ([]api.JobInfo, string, error) {
				if p.Cursor != "" {
					w = client.Wait{}
				}
				l, err := cl.Jobs(ctx, p, w)
				index = max(index, l.Index)
				return l.Items, l.Next, err
			})
			return index, func(w io.Writer) error { return c.showJobs(w, all) }, false, err
		})
	})
	return cmd
}

func (c *cluster) showJobs(w io.Writer, all []api.JobInfo) error {
	return c.show(w, all, func(t *tabwriter.Writer, wide bool) {
		fmt.Fprint(t, "NAME\tVERSION\tSTATUS\tPARALLELISM\tATTEMPT\tEPOCH\tSINCE")
		if wide {
			fmt.Fprint(t, "\tRESTARTS\tSLOTS\tBY\tSUBMITTED\tPROGRAM")
		}
		fmt.Fprintln(t, "\tREASON")
		for _, j := range all {
			fmt.Fprintf(t, "%s\t%d\t%s\t%d\t%d\t%d\t%s", j.Spec.Name, j.Spec.Version, j.Status, j.Spec.Parallelism, j.Attempt, j.Epoch, moment(j.Changed))
			if wide {
				fmt.Fprintf(t, "\t%d\t%d\t%s\t%s\t%s", j.Restarts, j.Slots, dash(j.Spec.By), moment(j.Spec.Submitted), short(j.Spec.Artifact))
			}
			fmt.Fprintf(t, "\t%s\n", dash(j.Reason))
		}
	})
}

// short is enough of a hash for people.
func short(hash string) string { return dash(hash[:min(len(hash), 19)]) }

func newJobCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "job status|graph|logs|events|top|checkpoints|stop|cancel|save|restart|rescale NAME",
		Short: "Look at a job of a cluster, and change it",
		Example: `  weir job status clicks
  weir job logs clicks -f
  weir job events clicks
  weir job top clicks -w
  weir job rescale clicks 8
  weir job stop clicks --savepoint s3://bucket/saved/clicks-1`,
		Args: cobra.ArbitraryArgs,
		RunE: unknownBelow,
	}
	cmd.AddCommand(newJobStatusCmd(), newJobGraphCmd(), newJobLogsCmd(), newJobEventsCmd(), newJobTopCmd(), newJobProfileCmd(), newJobCheckpointsCmd(),
		newJobStopCmd(), newJobCancelCmd(), newJobSaveCmd(), newJobRestartCmd(), newJobRescaleCmd())
	return cmd
}

func newJobStatusCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "status NAME", Short: "Show how a job is, and where it runs", Args: exactly(1, "a job"),
		Example: `  weir job status clicks
  weir job status clicks -w`,
	}
	c := addClusterFlags(cmd).formats(cmd).watches(cmd)
	cmd.RunE = c.with(func(ctx context.Context, cl *client.Client, cmd *cobra.Command, args []string) error {
		return c.repeat(cmd.OutOrStdout(), func(w client.Wait) (uint64, func(io.Writer) error, bool, error) {
			j, err := cl.Job(ctx, args[0], w)
			return j.Index, func(w io.Writer) error { return c.showJob(w, j) }, j.Status.Ended(), err
		})
	})
	return cmd
}

func (c *cluster) showJob(w io.Writer, j api.JobInfo) error {
	return c.show(w, j, func(t *tabwriter.Writer, wide bool) {
		fmt.Fprintf(t, "job %q, version %d: %s", j.Spec.Name, j.Spec.Version, j.Status)
		if j.Reason != "" {
			fmt.Fprintf(t, ": %s", j.Reason)
		}
		fmt.Fprintf(t, "\nattempt %d, epoch %d, %d restarts, since %s\n", j.Attempt, j.Epoch, j.Restarts, moment(j.Changed))
		fmt.Fprintf(t, "parallelism %d, program %s, state %s\n", cmp.Or(j.Slots, j.Spec.Parallelism), short(j.Spec.Artifact), dash(j.Spec.State))
		printAutoscale(t, &j, wide)
		if len(j.Allocs) == 0 {
			return
		}
		fmt.Fprint(t, "\nEXECUTOR\tNODE\tSTATE\tSLOTS\tROLE\tPID")
		if wide {
			fmt.Fprint(t, "\tTERM\tDATA\tCREATED")
		}
		fmt.Fprintln(t, "\tEXIT")
		for _, a := range j.Allocs {
			role := "worker"
			if a.Alloc.Coordinator {
				role = "coordinator"
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%d", a.Alloc.ID, dash(a.NodeName), a.Status.State, a.Alloc.Slots, role, a.Status.PID)
			if wide {
				fmt.Fprintf(t, "\t%d\t%s\t%s", a.Alloc.Term, dash(a.Status.Data), moment(a.Created))
			}
			fmt.Fprintf(t, "\t%s\n", dash(a.Status.Exit))
		}
	})
}

func newJobCheckpointsCmd() *cobra.Command {
	var savepoints bool
	cmd := &cobra.Command{
		Use: "checkpoints NAME", Short: "List the checkpoints of a job, or its savepoints", Args: exactly(1, "a job"),
		Example: `  weir job checkpoints clicks
  weir job checkpoints clicks --savepoints -o json`,
	}
	c := addClusterFlags(cmd).formats(cmd)
	cmd.Flags().BoolVar(&savepoints, "savepoints", false, "those that users took")
	cmd.RunE = c.with(func(ctx context.Context, cl *client.Client, cmd *cobra.Command, args []string) error {
		ask := cl.Checkpoints
		if savepoints {
			ask = cl.Savepoints
		}
		all, err := client.All(func(p client.Page) ([]api.CheckpointInfo, string, error) {
			l, err := ask(ctx, args[0], p)
			return l.Items, l.Next, err
		})
		if err != nil {
			return err
		}
		return c.show(cmd.OutOrStdout(), all, func(t *tabwriter.Writer, wide bool) {
			fmt.Fprint(t, "EPOCH\tKIND\tCREATED\tATTEMPT\tTASKS\tFILES\tSIZE\tADDED")
			if wide || savepoints {
				fmt.Fprint(t, "\tLOCATION")
			}
			fmt.Fprintln(t)
			for _, i := range all {
				fmt.Fprintf(t, "%d\t%s\t%s\t%d\t%d\t%d\t%s\t%s", i.Epoch, i.Kind, moment(i.Created), i.Attempt, i.Tasks, i.Files, size(i.Bytes), size(i.AddedBytes))
				if wide || savepoints {
					fmt.Fprintf(t, "\t%s", dash(i.Location))
				}
				fmt.Fprintln(t)
			}
		})
	})
	return cmd
}
