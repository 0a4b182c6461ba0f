package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/weirflow/weir/bench"
	"github.com/weirflow/weir/sdk/run"
)

func newBenchCmd() *cobra.Command {
	var o bench.Options
	var format, memory, audit, cpuProfile, allocProfile string
	cmd := &cobra.Command{
		Use:   "bench CASE...|all|list",
		Short: "Measure the engine against programs written by hand",
		Long: `Bench runs benchmark cases in this process: a pipeline, and beside it the same
work as a program written by hand, without any engine ("the floor"). The ratio of
the two is what to compare between machines; both are measured in one run.

Cases whose names begin with cluster- start agents of this program on loopback, in a
temporary directory, and end them.

With --checkpoint or --state the pipeline keeps its state on disk and takes a
checkpoint each so often; what these cost is shown too.`,
		Example: `  weir bench list
  weir bench keyed
  weir bench keyed --events 100000000 --keys 1000000 -o json
  weir bench wordcount --input ./texts --parallelism 2 --runs 3
  weir bench latency --rate 10000
  weir bench keyed --keys 10000000 --checkpoint 1s --memory 512MB -o json
  weir bench restart --keys 2000000
  weir bench cluster-keyed -o json
  weir bench cluster-recovery
  weir bench cluster-rescale --keys 5000000 --value 1000
  weir bench cluster-startup
  weir bench shuffle`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (failed error) {
			cases := bench.Cases()
			if args[0] == "list" {
				return listCases(cmd.OutOrStdout(), cases)
			}
			if format != "text" && format != "json" {
				return fmt.Errorf("-o %s: want text or json", format)
			}
			if memory != "" {
				n, err := run.ParseSize(memory)
				if err != nil {
					return fmt.Errorf("--memory %s: %w", memory, err)
				}
				o.Memory = n
			}
			o.Audit = run.Audit(audit)
			chosen, err := chooseCases(cases, args)
			if err != nil {
				return err
			}
			stop, err := profile(cpuProfile, allocProfile)
			if err != nil {
				return err
			}
			defer func() { failed = errors.Join(failed, stop()) }()
			for _, c := range chosen {
				r, err := c.Run(cmd.Context(), o)
				if err != nil {
					return err
				}
				if err := printResult(cmd.OutOrStdout(), r, format); err != nil {
					return err
				}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.Int64Var(&o.Events, "events", 0, "number of records (default: the case's)")
	f.Int64Var(&o.Keys, "keys", 0, "number of keys (default: the case's)")
	f.IntVar(&o.Value, "value", 0, "bytes of state of each key, for cluster-recovery and cluster-rescale")
	f.IntVar(&o.Parallelism, "parallelism", 2, "number of subtasks of each operator")
	f.Float64Var(&o.Rate, "rate", 0, "records per second, for latency (default 10000)")
	f.StringVar(&o.Input, "input", "", "directory of text files, for wordcount (default: 100 MB are generated)")
	f.IntVar(&o.Runs, "runs", 1, "take the best of so many runs")
	f.DurationVar(&o.Checkpoint, "checkpoint", 0, "time between checkpoints, such as 1s (default: none are taken, or 1s with --state)")
	f.StringVar(&o.State, "state", "", "directory or URL of the checkpoints (default: a directory that is removed)")
	f.StringVar(&o.Backend, "backend", "", "where state is while the job runs: lsm or memory (default: lsm with checkpoints)")
	f.StringVar(&memory, "memory", "", "what the process may take, such as 512MB (default: no limit)")
	f.StringVar(&audit, "audit", "", "what the books are for: stop, hashes, warn or off (default stop)")
	f.StringVar(&cpuProfile, "cpu-profile", "", "file for a profile of where the time went")
	f.StringVar(&allocProfile, "alloc-profile", "", "file for a profile of what was allocated")
	f.IntVar(&o.Agents, "agents", 0, "number of simulated agents, for scale (default 1000)")
	f.IntVar(&o.Tasks, "tasks", 0, "number of tasks of all of them (default 10 for each)")
	f.StringVar(&o.Profile, "executor-profiles", "", "directory for profiles of the executors of cluster cases")
	f.BoolVar(&o.NoFloor, "no-floor", false, "leave out the program written by hand")
	f.StringVarP(&format, "format", "o", "text", "text or json")
	return cmd
}

// profile starts the profiles that are asked for; stop writes them.
func profile(cpu, alloc string) (stop func() error, err error) {
	var c *os.File
	if cpu != "" {
		if c, err = os.Create(cpu); err == nil {
			err = pprof.StartCPUProfile(c)
		}
		if err != nil {
			return nil, fmt.Errorf("--cpu-profile: %w", err)
		}
	}
	return func() error {
		var err error
		if c != nil {
			pprof.StopCPUProfile()
			err = c.Close()
		}
		if alloc == "" {
			return err
		}
		a, aerr := os.Create(alloc)
		if aerr == nil {
			aerr = errors.Join(pprof.Lookup("allocs").WriteTo(a, 0), a.Close())
		}
		return errors.Join(err, aerr)
	}, nil
}

func chooseCases(cases []bench.Case, names []string) ([]bench.Case, error) {
	if len(names) == 1 && names[0] == "all" {
		return cases, nil
	}
	var chosen []bench.Case
	for _, name := range names {
		found := false
		for _, c := range cases {
			if c.Name == name {
				chosen, found = append(chosen, c), true
			}
		}
		if !found {
			var known []string
			for _, c := range cases {
				known = append(known, c.Name)
			}
			return nil, fmt.Errorf("no benchmark %q: choose one of %s, or all", name, strings.Join(known, ", "))
		}
	}
	return chosen, nil
}

func listCases(w io.Writer, cases []bench.Case) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range cases {
		fmt.Fprintf(t, "%s\t%s\n", c.Name, c.What)
	}
	return t.Flush()
}

// printFigures prints what a case of clusters has measured, a line each.
func printFigures(w io.Writer, r bench.Result) error {
	fmt.Fprintf(w, "%s\t%d beats\t%.1f s\n", r.Case, r.Events, r.WallS)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range r.Figures {
		fmt.Fprintf(t, "  %s\t%.4g %s\tgoal %.4g", f.What, f.Value, f.Unit, f.Goal)
		if f.PeerValue > 0 {
			fmt.Fprintf(t, "\t%s: %.4g", f.Peer, f.PeerValue)
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}

func printResult(w io.Writer, r bench.Result, format string) error {
	if format == "json" {
		return json.NewEncoder(w).Encode(r)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s\t%d events\t%.2f s\t%.2f M/s\t%.2f CPU s\t%.0f MB\t%.4f allocs/event",
		r.Case, r.Events, r.WallS, r.EventsPerS/1e6, r.CPUS, r.PeakRSSMB, r.AllocsPerEvent)
	if r.FloorPerS > 0 {
		fmt.Fprintf(t, "\tfloor %.2f M/s\tratio %.2f", r.FloorPerS/1e6, r.RatioToFloor)
	}
	if s := r.Shuffle; s != nil {
		fmt.Fprintf(t, "\tframes of %d bytes\t%.0f MB/s, bare %.0f\t%.1f CPU µs each, bare %.1f: ratio %.2f",
			s.FrameBytes, s.MBPerS, s.BareMBPerS, s.CPUMicros, s.BareCPUMicros, s.CPURatio)
	}
	if len(r.Figures) > 0 {
		return printFigures(w, r)
	}
	if s := r.Scale; s != nil {
		fmt.Fprintf(t, "\t%d agents, %d jobs, %d tasks\tdecisions: new %.1f ms, idle %.1f ms, ten lost %.1f ms\tlog: %.0f bytes an agent, %.0f a task, %d entries",
			s.Agents, s.Jobs, s.Tasks, s.DecideNewMS, s.DecideIdleMS, s.DecideLostMS, s.LogBytesPerAgent, s.LogBytesPerTask, s.LogEntries)
		fmt.Fprintf(t, "\tjoined in %.1f s, started in %.1f s\t%.0f heartbeats/s\tleader %.2f CPU, %.0f MB\tlate p99 %.1f ms",
			s.JoinS, s.StartS, s.HeartbeatsPerS, s.LeaderCPU, s.LeaderRSSMB, s.LateP99MS)
	}
	if r.Peer != nil {
		fmt.Fprintf(t, "\t%s: %.2f M/s, ratio %.2f", r.Peer.Name, r.Peer.EventsPerS/1e6, r.Peer.Ratio)
	}
	if r.P99MS > 0 {
		fmt.Fprintf(t, "\tp50 %.3f ms\tp99 %.3f ms\tp99.9 %.3f ms", r.P50MS, r.P99MS, r.P999MS)
	}
	if r.FirstRecordMS > 0 {
		fmt.Fprintf(t, "\tfirst record after %.2f ms", r.FirstRecordMS)
	}
	if c := r.Checkpoints; c != nil {
		fmt.Fprintf(t, "\t%d checkpoints\tp50 %.1f ms\tp99 %.1f ms\t%.1f MB\tpause p99 %.3f ms",
			c.Count, c.P50MS, c.P99MS, float64(c.Bytes)/1e6, r.BarrierPauseP99MS)
	}
	if s := r.Restart; s != nil {
		fmt.Fprintf(t, "\t%.1f MB of state, loaded in %.1f s\tfirst result after %.1f ms\t%.2f MB changed\t%.2f MB in an epoch",
			float64(s.StateBytes)/1e6, s.LoadS, s.FirstResultMS, float64(s.ChangedBytes)/1e6, float64(s.EpochBytes)/1e6)
	}
	fmt.Fprintln(t)
	return t.Flush()
}
