package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/weirflow/weir/bench"
)

func newBenchCmd() *cobra.Command {
	var o bench.Options
	var format string
	cmd := &cobra.Command{
		Use:   "bench CASE...|all|list",
		Short: "Measure the engine against programs written by hand",
		Long: `Bench runs benchmark cases in this process: a pipeline, and beside it the same
work as a program written by hand, without any engine ("the floor"). The ratio of
the two is what to compare between machines; both are measured in one run.`,
		Example: `  weir bench list
  weir bench keyed
  weir bench keyed --events 100000000 --keys 1000000 -o json
  weir bench wordcount --input ./texts --parallelism 2 --runs 3
  weir bench latency --rate 10000`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cases := bench.Cases()
			if args[0] == "list" {
				return listCases(cmd.OutOrStdout(), cases)
			}
			if format != "text" && format != "json" {
				return fmt.Errorf("-o %s: want text or json", format)
			}
			chosen, err := chooseCases(cases, args)
			if err != nil {
				return err
			}
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
	f.IntVar(&o.Parallelism, "parallelism", 2, "number of subtasks of each operator")
	f.Float64Var(&o.Rate, "rate", 0, "records per second, for latency (default 10000)")
	f.StringVar(&o.Input, "input", "", "directory of text files, for wordcount (default: 100 MB are generated)")
	f.IntVar(&o.Runs, "runs", 1, "take the best of so many runs")
	f.BoolVar(&o.NoFloor, "no-floor", false, "leave out the program written by hand")
	f.StringVarP(&format, "format", "o", "text", "text or json")
	return cmd
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
	if r.P99MS > 0 {
		fmt.Fprintf(t, "\tp50 %.3f ms\tp99 %.3f ms\tp99.9 %.3f ms", r.P50MS, r.P99MS, r.P999MS)
	}
	if r.FirstRecordMS > 0 {
		fmt.Fprintf(t, "\tfirst record after %.2f ms", r.FirstRecordMS)
	}
	fmt.Fprintln(t)
	return t.Flush()
}
