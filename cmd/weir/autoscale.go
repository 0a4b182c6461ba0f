package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/weirflow/weir/api"
)

// autoscaleForm is what --autoscale takes.
const autoscaleForm = "MIN..MAX[,dry-run][,up-after=TIME][,down-after=TIME][,settle=TIME][,utilization=SHARE]"

// parseAutoscale reads the value of --autoscale; "" is none.
func parseAutoscale(text string) (*api.Autoscale, error) {
	if text == "" {
		return nil, nil
	}
	wrong := func(format string, args ...any) error {
		return misuse("--autoscale %s: %s: it must be %s", text, fmt.Sprintf(format, args...), autoscaleForm)
	}
	bounds, rest, more := strings.Cut(text, ",")
	low, high, ok := strings.Cut(bounds, "..")
	a := &api.Autoscale{}
	var err error
	if a.Min, err = strconv.Atoi(low); err != nil || !ok {
		return nil, wrong("%q is no range", bounds)
	}
	if a.Max, err = strconv.Atoi(high); err != nil || a.Min < 1 || a.Max < a.Min {
		return nil, wrong("%q is no range from 1 or more up", bounds)
	}
	for more {
		var word string
		word, rest, more = strings.Cut(rest, ",")
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "dry-run":
			a.DryRun, ok = true, value == ""
		case "up-after":
			a.UpAfter, ok = parseMicros(value)
		case "down-after":
			a.DownAfter, ok = parseMicros(value)
		case "settle":
			a.Settle, ok = parseMicros(value)
		case "utilization":
			a.Utilization, err = strconv.ParseFloat(value, 64)
			ok = err == nil && a.Utilization > 0 && a.Utilization <= 1
		default:
			return nil, wrong("%q is not known", name)
		}
		if !ok {
			return nil, wrong("%q is no value of %s", value, name)
		}
	}
	return a, nil
}

// parseMicros reads a time such as 15s, above 0.
func parseMicros(text string) (int64, bool) {
	d, err := time.ParseDuration(text)
	return d.Microseconds(), err == nil && d >= time.Microsecond
}

// printAutoscale shows what was decided last of a job's parallelism.
func printAutoscale(w io.Writer, j *api.JobInfo, wide bool) {
	a := j.Spec.Autoscale
	if a == nil {
		return
	}
	fmt.Fprintf(w, "autoscale %d..%d", a.Min, a.Max)
	if a.DryRun {
		fmt.Fprint(w, ", dry run")
	}
	i := j.Autoscale
	if i == nil {
		fmt.Fprintln(w, ": nothing is measured yet")
		return
	}
	fmt.Fprintf(w, ": %s (%s)\n", i.Decision, moment(i.Time))
	if wide {
		for _, line := range i.Figures {
			fmt.Fprintf(w, "  %s\n", line)
		}
	}
}
