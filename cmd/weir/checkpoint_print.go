package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/checkpoint/store"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/state"
)

// checkpointLine is a checkpoint or savepoint in a list.
type checkpointLine struct {
	Location string    `json:"location,omitempty"` // of a savepoint
	Job      string    `json:"job"`
	Epoch    uint64    `json:"epoch"`
	Kind     string    `json:"kind"`
	Attempt  uint64    `json:"attempt"`
	Created  time.Time `json:"created"`
	Tasks    int       `json:"tasks"`
	Files    int       `json:"files"`
	Bytes    int64     `json:"bytes"`
	// Added is what was not in storage before.
	Added int64 `json:"added_bytes"`
}

func lineOf(m *checkpoint.Manifest) checkpointLine {
	l := checkpointLine{Job: m.Job, Epoch: m.Epoch, Kind: flow.BarrierKind(m.Kind).String(), Attempt: m.Attempt,
		Created: time.UnixMicro(m.Created).UTC(), Tasks: len(m.Tasks)}
	l.Files, l.Bytes, l.Added = m.Size()
	return l
}

func printLines(w io.Writer, lines []checkpointLine) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	place := len(lines) > 0 && lines[0].Location != ""
	if place {
		fmt.Fprint(t, "LOCATION\t")
	}
	fmt.Fprintln(t, "JOB\tEPOCH\tKIND\tCREATED\tATTEMPT\tTASKS\tFILES\tSIZE\tADDED")
	for _, l := range lines {
		if place {
			fmt.Fprintf(t, "%s\t", l.Location)
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%d\t%d\t%d\t%s\t%s\n", l.Job, l.Epoch, l.Kind, l.Created.Format(time.RFC3339),
			l.Attempt, l.Tasks, l.Files, size(l.Bytes), size(l.Added))
	}
	return t.Flush()
}

// size is bytes for people.
func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}

// inspection is a manifest for programs.
type inspection struct {
	checkpointLine
	Engine         string                    `json:"engine"`
	MaxParallelism int                       `json:"max_parallelism"`
	Names          map[string]string         `json:"names"` // of operators
	States         []stateLine               `json:"states"`
	Snapshots      []checkpoint.TaskSnapshot `json:"snapshots"`
	Sources        []sourceLine              `json:"sources"`
	Committables   []committableLine         `json:"committables"`
	Totals         []checkpoint.Entry        `json:"totals"`
}

// stateLine is one keyed state, over all tasks.
type stateLine struct {
	Operator string        `json:"operator"`
	Name     string        `json:"name"`
	Kind     string        `json:"kind"`
	Form     string        `json:"form"`
	Tasks    int           `json:"tasks"`
	Schema   *state.Schema `json:"schema,omitempty"`
}

type sourceLine struct {
	Operator   string   `json:"operator"`
	Done       bool     `json:"done"`
	Reading    []string `json:"reading"`
	Unassigned []string `json:"unassigned"`
}

type committableLine struct {
	Operator string `json:"operator"`
	Subtask  int    `json:"subtask"`
	Epoch    uint64 `json:"epoch"`
	Records  int64  `json:"records"`
	Bytes    int    `json:"bytes"`
	Files    int    `json:"files"`
}

func inspectionOf(m *checkpoint.Manifest) inspection {
	n := inspection{checkpointLine: lineOf(m), Engine: m.Engine, MaxParallelism: m.MaxParallelism, Names: namesOf(m),
		States: statesOf(m), Snapshots: m.Tasks, Totals: m.Totals, Sources: []sourceLine{}, Committables: []committableLine{}}
	for _, s := range m.Sources {
		l := sourceLine{Operator: s.Operator, Done: s.Done, Reading: []string{}, Unassigned: splitIDs(s.Unassigned)}
		for _, t := range m.Tasks {
			for _, o := range t.Operators {
				if o.Operator == s.Operator && o.Mode == checkpoint.Splits {
					l.Reading = append(l.Reading, splitIDs(o.Items)...)
				}
			}
		}
		n.Sources = append(n.Sources, l)
	}
	for _, c := range m.Committables {
		n.Committables = append(n.Committables, committableLine{string(c.Operator), c.Subtask, uint64(c.Epoch), c.Records,
			len(c.Data), len(c.Files)})
	}
	return n
}

func splitIDs(items [][]byte) []string {
	ids := []string{}
	for _, b := range items {
		s, err := checkpoint.DecodeSplit(b)
		if err != nil {
			s.ID = "unreadable"
		}
		ids = append(ids, s.ID)
	}
	return ids
}

// statesOf is the keyed states of a manifest, in the order of operators and names.
func statesOf(m *checkpoint.Manifest) []stateLine {
	all := []stateLine{}
	for _, t := range m.Tasks {
		if t.Keyed == nil {
			continue
		}
		for _, s := range t.Keyed.States {
			i := slices.IndexFunc(all, func(l stateLine) bool { return l.Operator == s.Operator && l.Name == s.Name })
			if i < 0 {
				l := stateLine{Operator: s.Operator, Name: s.Name, Kind: state.Kind(s.Kind).String(), Form: state.Form(t.Keyed.Form).String()}
				var schema state.Schema
				if json.Unmarshal(s.Schema, &schema) == nil {
					l.Schema = &schema
				}
				all = append(all, l)
				i = len(all) - 1
			}
			all[i].Tasks++
		}
	}
	slices.SortFunc(all, func(a, b stateLine) int {
		return strings.Compare(a.Operator+"\x00"+a.Name, b.Operator+"\x00"+b.Name)
	})
	return all
}

// types is a state's types for people: "[string] int64", "[string, window] {count int64}".
func (l *stateLine) types() string {
	if l.Schema == nil {
		return ""
	}
	part := l.Schema.Key.String()
	switch s := &l.Schema.Namespace; {
	case s.Kind == "struct" && len(s.Fields) == 0:
	default:
		part += ", " + s.String()
	}
	if l.Kind == state.KindTimers.String() {
		return "[" + part + "]"
	}
	return "[" + part + "] " + l.Schema.Value.String()
}

func printManifest(w io.Writer, m *checkpoint.Manifest) error {
	n := inspectionOf(m)
	fmt.Fprintf(w, "job %q: %s %d of attempt %d, %s, by Weir %s\n", n.Job, n.Kind, n.Epoch, n.Attempt,
		n.Created.Format(time.RFC3339), n.Engine)
	fmt.Fprintf(w, "%d tasks, max-parallelism %d, %d files, %s, of which %s were new\n", n.Tasks, n.MaxParallelism, n.Files,
		size(n.Bytes), size(n.Added))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(n.States) > 0 {
		fmt.Fprintln(w, "\nkeyed state")
		for _, s := range n.States {
			fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%d tasks, %s\n", called(n.Names, s.Operator), s.Kind, s.Name, s.types(), s.Tasks, s.Form)
		}
		t.Flush()
	}
	if len(n.Sources) > 0 {
		fmt.Fprintln(w, "\nsources")
		for _, s := range n.Sources {
			more := "more may come"
			if s.Done {
				more = "no more will come"
			}
			fmt.Fprintf(t, "  %s\t%d splits being read, %d not begun, %s\n", called(n.Names, s.Operator), len(s.Reading), len(s.Unassigned), more)
		}
		t.Flush()
	}
	fmt.Fprintln(w, "\ntasks")
	for i := range m.Tasks {
		s := &m.Tasks[i]
		fmt.Fprintf(t, "  %s/%d\tkey groups %s\t", called(n.Names, s.Chain), s.Subtask, s.KeyGroups())
		files, bytes := 0, int64(0)
		if s.Keyed != nil {
			for _, f := range s.Keyed.Files {
				files++
				bytes += f.Size
			}
		}
		fmt.Fprintf(t, "%d files, %s\tpause %s, took %s", files, size(bytes), micros(s.Pause), micros(s.Took))
		var records int64
		for _, c := range s.Channels {
			records += c.Records
		}
		if records > 0 {
			fmt.Fprintf(t, ", %d records under way", records)
		}
		fmt.Fprintln(t)
	}
	t.Flush()
	if len(n.Committables) > 0 {
		fmt.Fprintln(w, "\noutput that this epoch commits")
		for _, c := range n.Committables {
			fmt.Fprintf(t, "  %s/%d\tprepared for epoch %d\t%d records\n", called(n.Names, c.Operator), c.Subtask, c.Epoch, c.Records)
		}
	}
	return t.Flush()
}

func micros(n int64) string { return (time.Duration(n) * time.Microsecond).String() }

// verification is the outcome of verifying one checkpoint.
type verification struct {
	Location string `json:"location,omitempty"`
	Job      string `json:"job"`
	Epoch    uint64 `json:"epoch"`
	store.Verified
}

func reportVerified(w io.Writer, outcome []verification, format string) error {
	bad := 0
	for _, v := range outcome {
		bad += len(v.Problems)
	}
	if format == "json" {
		if err := writeJSON(w, outcome); err != nil {
			return err
		}
	} else {
		for _, v := range outcome {
			fmt.Fprintf(w, "job %s, epoch %d: %d files, %s: ", v.Job, v.Epoch, v.Files, size(v.Bytes))
			if len(v.Problems) == 0 {
				fmt.Fprintln(w, "all as they should be")
				continue
			}
			fmt.Fprintf(w, "%d damaged\n", len(v.Problems))
			for _, p := range v.Problems {
				fmt.Fprintf(w, "  %s\n", p.Text)
			}
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d files are damaged or gone", bad)
	}
	return nil
}
