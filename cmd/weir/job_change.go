package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/api/client"
)

// newJobActCmd is a command that only names the job.
func newJobActCmd(use, shortText, long string, do func(*client.Client, context.Context, string) (api.Done, error)) *cobra.Command {
	cmd := &cobra.Command{Use: use + " NAME", Short: shortText, Long: long, Args: exactly(1, "a job"), Example: "  weir job " + use + " clicks"}
	c := addClusterFlags(cmd).formats(cmd)
	cmd.RunE = c.with(func(ctx context.Context, cl *client.Client, cmd *cobra.Command, args []string) error {
		d, err := do(cl, ctx, args[0])
		if err != nil {
			return err
		}
		return c.done(cmd.OutOrStdout(), args[0], d)
	})
	return cmd
}

func newJobCancelCmd() *cobra.Command {
	return newJobActCmd("cancel", "End a job as it is", `Cancel ends a job at once. What its newest checkpoint holds stays: submitted again it goes
on from there.`, (*client.Client).Cancel)
}

func newJobRestartCmd() *cobra.Command {
	return newJobActCmd("restart", "Start a job again from its newest checkpoint", "", (*client.Client).Restart)
}

func newJobStopCmd() *cobra.Command {
	var savepoint string
	cmd := &cobra.Command{
		Use: "stop NAME", Short: "End the sources of a job, and let it finish", Args: exactly(1, "a job"),
		Long: `Stop ends the sources of a job; what they have read is finished and committed. With
--savepoint the job is not finished: it is saved as it is, and ends. A job that is submitted with
that savepoint goes on with it.`,
		Example: `  weir job stop clicks
  weir job stop clicks --savepoint
  weir job stop clicks --savepoint=s3://bucket/saved/clicks-1`,
	}
	c := addClusterFlags(cmd).formats(cmd)
	cmd.Flags().StringVar(&savepoint, "savepoint", "", "end it with a savepoint, at a `LOCATION` or beside its checkpoints")
	cmd.Flags().Lookup("savepoint").NoOptDefVal = beside
	cmd.RunE = c.with(func(ctx context.Context, cl *client.Client, cmd *cobra.Command, args []string) error {
		var d api.Done
		var err error
		if cmd.Flags().Changed("savepoint") {
			d, err = cl.Save(ctx, args[0], api.SaveRequest{Location: location(savepoint), Stop: true})
		} else {
			d, err = cl.Stop(ctx, args[0])
		}
		if err != nil {
			return err
		}
		return c.done(cmd.OutOrStdout(), args[0], d)
	})
	return cmd
}

// beside is the value of --savepoint without one.
const beside = "beside its checkpoints"

func location(flag string) string {
	if flag == beside {
		return ""
	}
	return flag
}

func newJobSaveCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "save NAME [LOCATION]", Short: "Take a savepoint of a job, which goes on",
		Example: `  weir job save clicks
  weir job save clicks s3://bucket/saved/clicks-1`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return misuse("name a job: %s", cmd.UseLine())
			}
			return atMost(2)(cmd, args)
		},
	}
	c := addClusterFlags(cmd).formats(cmd)
	cmd.RunE = c.with(func(ctx context.Context, cl *client.Client, cmd *cobra.Command, args []string) error {
		d, err := cl.Save(ctx, args[0], api.SaveRequest{Location: argAt(args, 1)})
		if err != nil {
			return err
		}
		return c.done(cmd.OutOrStdout(), args[0], d)
	})
	return cmd
}

func newJobRescaleCmd() *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use: "rescale NAME N", Short: "Give a job another parallelism", Args: exactly(2, "a job and a parallelism"),
		Example: `  weir job rescale clicks 8 --dry-run
  weir job rescale clicks 8`,
	}
	c := addClusterFlags(cmd).formats(cmd)
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what would happen")
	cmd.RunE = c.with(func(ctx context.Context, cl *client.Client, cmd *cobra.Command, args []string) error {
		n, err := strconv.Atoi(args[1])
		if err != nil || n < 1 {
			return misuse("%q is no parallelism: it must be a whole number of at least 1", args[1])
		}
		d, err := cl.Rescale(ctx, args[0], api.RescaleRequest{Parallelism: n, DryRun: dry})
		if err != nil {
			return err
		}
		return c.done(cmd.OutOrStdout(), fmt.Sprintf("%s%s", map[bool]string{true: "would rescale "}[dry], args[0]), d)
	})
	return cmd
}
