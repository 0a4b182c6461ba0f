package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/api/client"
)

func newJobProfileCmd() *cobra.Command {
	var q client.ProfileQuery
	var alloc, file string
	cmd := &cobra.Command{
		Use: "profile NAME", Short: "Take a profile of an executor of a job", Args: exactly(1, "a job"),
		Long: `Profile has an executor of the job look at itself, and keeps what it has seen in a file for go tool pprof, or
go tool trace. Samples have the labels job, operator and subtask: go tool pprof -tagfocus operator=NAME shows one
operator. It takes the role admin, because profiles show what is in memory.`,
		Example: `  weir job profile clicks
  weir job profile clicks --kind heap --file heap.pprof
  weir job profile clicks --seconds 30 --executor clicks-7 && go tool pprof -http : clicks-cpu.pprof`,
	}
	c := addClusterFlags(cmd).formats(cmd)
	cmd.Flags().StringVar(&q.Kind, "kind", "cpu", "`KIND` cpu, trace, heap, allocs, goroutine, mutex, block or threadcreate")
	cmd.Flags().IntVar(&q.Seconds, "seconds", 10, "look for `N` seconds, with cpu and trace")
	cmd.Flags().StringVar(&alloc, "executor", "", "`ID` of the executor, see weir job status; the job's coordinator if it is not given")
	cmd.Flags().StringVar(&file, "file", "", "`FILE` to keep it in, NAME-KIND.pprof if it is not given")
	cmd.RunE = c.with(func(ctx context.Context, cl *client.Client, cmd *cobra.Command, args []string) error {
		if q.Seconds < 1 || q.Seconds > 120 {
			return misuse("--seconds %d: it must be from 1 to 120", q.Seconds)
		}
		if file == "" {
			file = args[0] + "-" + q.Kind + ".pprof"
		}
		q.Alloc = api.AllocID(alloc)
		r, err := cl.Profile(ctx, args[0], q)
		if err != nil {
			return err
		}
		defer r.Close()
		began := time.Now()
		n, err := keep(file, r)
		if err != nil {
			return err
		}
		told := profiled{File: file, Kind: q.Kind, Bytes: n}
		return c.show(cmd.OutOrStdout(), told, func(t *tabwriter.Writer, wide bool) {
			fmt.Fprintf(t, "%s: %s\n", file, size(n))
			if wide {
				fmt.Fprintf(t, "read in %s\n", time.Since(began).Round(time.Millisecond))
			}
		})
	})
	return cmd
}

// profiled is what weir job profile says with -o json.
type profiled struct {
	File  string `json:"file"`
	Kind  string `json:"kind"`
	Bytes int64  `json:"bytes"`
}

// keep writes a file, of which nothing is left if it does not come as a whole.
func keep(file string, r io.Reader) (n int64, err error) {
	f, err := os.Create(file)
	if err != nil {
		return 0, err
	}
	n, err = io.Copy(f, r)
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, errors.Join(fmt.Errorf("reading the profile: %w", err), os.Remove(file))
	}
	return n, nil
}
