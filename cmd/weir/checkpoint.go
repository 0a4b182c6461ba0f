package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/checkpoint/store"
	"github.com/weirflow/weir/flow"
)

func newCheckpointCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "checkpoint list|inspect|verify|delete",
		Short: "Look after the checkpoints of jobs",
		Long: `Checkpoint shows, checks and removes the checkpoints that jobs have written to a state
directory, or to a bucket. The jobs need not run, and may.`,
		Example: `  weir checkpoint list --state ./state
  weir checkpoint inspect --state ./state clickstream
  weir checkpoint inspect --state ./state clickstream 17 -o json
  weir checkpoint verify --state ./state clickstream
  weir checkpoint delete --state ./state clickstream 15`,
		Args: cobra.ArbitraryArgs,
		RunE: unknownBelow,
	}
	cmd.AddCommand(newCheckpointListCmd(), newCheckpointInspectCmd(), newCheckpointVerifyCmd(), newCheckpointDeleteCmd())
	return cmd
}

// unknownBelow is unknown for commands that only have subcommands.
func unknownBelow(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	return misuse("unknown command %q (%s --help lists the commands)", args[0], cmd.CommandPath())
}

func newCheckpointListCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list --state DIR [JOB]",
		Short: "List the checkpoints that are kept, of one job or of all",
		Example: `  weir checkpoint list --state ./state
  weir checkpoint list --state s3://bucket/weir?region=eu-central-1 clickstream -o json`,
		Args: atMost(1),
	}
	location, format := addStateFlag(cmd), addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := oneOf("-o", *format, "text", "json"); err != nil {
			return err
		}
		ctx := cmd.Context()
		var all []flow.JobID
		if len(args) == 1 {
			job, done, err := openJob(ctx, *location, args[0])
			if err != nil {
				return err
			}
			all = []flow.JobID{job.ID()}
			done()
		}
		st, err := openStorage(ctx, *location)
		if err != nil {
			return err
		}
		defer st.Close()
		if all == nil {
			if all, err = store.Jobs(ctx, st); err != nil {
				return err
			}
		}
		lines := []checkpointLine{}
		for _, id := range all {
			job := store.OpenJob(st, id, store.JobOptions{})
			ms, err := job.List(ctx)
			if err != nil {
				return err
			}
			for _, m := range ms {
				lines = append(lines, lineOf(m))
			}
		}
		if *format == "json" {
			return writeJSON(cmd.OutOrStdout(), lines)
		}
		return printLines(cmd.OutOrStdout(), lines)
	}
	return cmd
}

func newCheckpointInspectCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect --state DIR [JOB] [EPOCH]",
		Short: "Show what a checkpoint holds; the newest, if no epoch is named",
		Example: `  weir checkpoint inspect --state ./state
  weir checkpoint inspect --state ./state clickstream 17 -o json`,
		Args: atMost(2),
	}
	location, format := addStateFlag(cmd), addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := oneOf("-o", *format, "text", "json"); err != nil {
			return err
		}
		epoch, err := epochArg(args, 1)
		if err != nil {
			return err
		}
		job, done, err := openJob(cmd.Context(), *location, argAt(args, 0))
		if err != nil {
			return err
		}
		defer done()
		m, err := job.Load(cmd.Context(), epoch)
		if err != nil {
			return err
		}
		if *format == "json" {
			return writeJSON(cmd.OutOrStdout(), inspectionOf(m))
		}
		return printManifest(cmd.OutOrStdout(), m)
	}
	return cmd
}

func newCheckpointVerifyCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify --state DIR [JOB] [EPOCH]",
		Short: "Read all files of a job's checkpoints, or of one, and check their sums",
		Long: `Verify reads every file of the checkpoints that are kept, or of the one of EPOCH, and
compares length and checksum with what the checkpoint says. Exit code 1 says that a
file is damaged or gone.`,
		Example: `  weir checkpoint verify --state ./state clickstream
  weir checkpoint verify --state ./state clickstream 17 -o json`,
		Args: atMost(2),
	}
	location, format := addStateFlag(cmd), addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := oneOf("-o", *format, "text", "json"); err != nil {
			return err
		}
		epoch, err := epochArg(args, 1)
		if err != nil {
			return err
		}
		ctx := cmd.Context()
		job, done, err := openJob(ctx, *location, argAt(args, 0))
		if err != nil {
			return err
		}
		defer done()
		var ms []*checkpoint.Manifest
		if epoch == 0 {
			ms, err = job.List(ctx)
		} else {
			var m *checkpoint.Manifest
			m, err = job.Load(ctx, epoch)
			ms = append(ms, m)
		}
		if err != nil {
			return err
		}
		outcome := []verification{}
		for _, m := range ms {
			v, err := job.Verify(ctx, m)
			if err != nil {
				return fmt.Errorf("verifying epoch %d of job %s: %w", m.Epoch, m.Job, err)
			}
			outcome = append(outcome, verification{Job: m.Job, Epoch: m.Epoch, Verified: v})
		}
		return reportVerified(cmd.OutOrStdout(), outcome, *format)
	}
	return cmd
}

func newCheckpointDeleteCmd() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "delete --state DIR JOB EPOCH|--all",
		Short: "Remove a checkpoint, or all that a job has stored",
		Long: `Delete removes the checkpoint of one epoch and the files that no other checkpoint needs.
The newest one is refused: the job goes on from it when it is started again.

With --all everything that the job has stored goes, its newest checkpoint too. A run of
the job that is under way fails. Savepoints elsewhere stay.`,
		Example: `  weir checkpoint delete --state ./state clickstream 15
  weir checkpoint delete --state ./state clickstream --all`,
		Args: atMost(2),
	}
	location := addStateFlag(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "remove all that the job has stored")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		epoch, err := epochArg(args, 1)
		switch {
		case err != nil:
			return err
		case len(args) == 0:
			return misuse("name the job and the epoch (%s --help)", cmd.CommandPath())
		case all == (epoch != 0):
			return misuse("name an epoch, or give --all to remove all that job %s has stored", args[0])
		}
		job, done, err := openJob(cmd.Context(), *location, args[0])
		if err != nil {
			return err
		}
		defer done()
		if all {
			if err := job.Remove(cmd.Context()); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "removed all that job %s had stored\n", job.ID())
			return nil
		}
		if err := job.Delete(cmd.Context(), epoch); err != nil {
			if errors.Is(err, store.ErrInUse) {
				return fmt.Errorf("%w; --all removes all that the job has stored", err)
			}
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "removed epoch %d of job %s\n", epoch, job.ID())
		return nil
	}
	return cmd
}
