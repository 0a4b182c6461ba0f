package operator

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/internal/obs"
)

// runsSource has splits of one run of times each, read one record at a call.
type runsSource map[string][]flow.Time

func (runsSource) Info() SourceInfo                { return SourceInfo{Kind: "runs"} }
func (runsSource) Enumerator() (Enumerator, error) { return nil, nil }
func (s runsSource) Reader(*ReaderContext) (Reader[int], error) {
	return &runsReader{runs: s, next: map[string]int{}, paused: map[string]bool{}}, nil
}

type runsReader struct {
	runs   runsSource
	open   []string
	next   map[string]int
	paused map[string]bool
	// endless splits wait at their end.
	endless bool
}

func (r *runsReader) Add(s Split) error { r.open = append(r.open, s.ID); return nil }

func (r *runsReader) Read(into *Records[int], _ int) (Status, error) {
	for i, id := range r.open {
		if r.paused[id] {
			continue
		}
		n := r.next[id]
		if n == len(r.runs[id]) {
			continue
		}
		r.next[id]++
		into.Split = id
		into.Append(n, r.runs[id][n])
		if into.Done = n+1 == len(r.runs[id]) && !r.endless; into.Done {
			r.open = append(r.open[:i], r.open[i+1:]...)
		}
		return More, nil
	}
	return WaitForWake, nil
}

func (*runsReader) Where() string                  { return "" }
func (*runsReader) Snapshot() ([]Split, error)     { return nil, nil }
func (r *runsReader) Pause(split string, yes bool) { r.paused[split] = yes }
func (*runsReader) Close() error                   { return nil }

// sourceTask notes what a source tells its task.
type sourceTask struct {
	Task
	now      flow.Time
	requests int
	reported []flow.Time
}

func (*sourceTask) Context() context.Context              { return context.Background() }
func (t *sourceTask) Now() flow.Time                      { return 1_000_000 + t.now }
func (t *sourceTask) Wake()                               {}
func (t *sourceTask) RequestSplit(flow.OperatorID)        { t.requests++ }
func (*sourceTask) FinishedSplit(flow.OperatorID, string) {}
func (t *sourceTask) ReportWatermark(_ flow.OperatorID, _ string, at flow.Time) {
	t.reported = append(t.reported, at)
}

func openSource(t *testing.T, src runsSource, w WatermarkStrategy[int]) (SplitReceiver, *sourceTask) {
	t.Helper()
	task := &sourceTask{}
	w.Generator = BoundedOutOfOrder(0)
	op := NewSource(SourceConfig[int]{Source: src, Watermark: w}).(SplitReceiver)
	err := op.Open(&Context{Operator: "op", BatchSize: 1, Metrics: &obs.Operator{}, Log: slog.New(slog.DiscardHandler), Task: task})
	if err != nil {
		t.Fatal(err)
	}
	return op, task
}

func pull(t *testing.T, op SplitReceiver) Pulled {
	t.Helper()
	p, err := op.Pull()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A busy source tells its watermark every few milliseconds only; when it is
// stopped, what it has read must count nevertheless.
func TestStoppedSourceTellsItsWatermark(t *testing.T) {
	op, _ := openSource(t, runsSource{"a": {10, 20, 30}}, WatermarkStrategy[int]{})
	must(t, op.AddSplit(Split{ID: "a"}))
	pull(t, op)
	pull(t, op)
	must(t, op.Stop())
	if p := pull(t, op); !p.Ended || p.Drained || p.Watermark != 19 {
		t.Fatalf("%+v", p)
	}
}

// A subtask that has nothing to read must not hold back its alignment group: those
// ahead of it would wait for it for ever.
func TestSourceWithoutSplitsLeavesAlignment(t *testing.T) {
	op, task := openSource(t, runsSource{"a": {10}, "b": {5, 40}}, WatermarkStrategy[int]{AlignGroup: "g", AlignDrift: time.Microsecond})
	last := func() flow.Time { return task.reported[len(task.reported)-1] }
	must(t, op.AddSplit(Split{ID: "a"}))
	pull(t, op)
	if last() != 9 {
		t.Fatal(task.reported)
	}
	pull(t, op) // asks for a split
	if last() != 9 || task.requests != 1 {
		t.Fatal("it left before it was told that there is no split:", task.reported, task.requests)
	}
	must(t, op.NoSplitYet())
	if p := pull(t, op); !p.Idle || last() != flow.MaxTime {
		t.Fatalf("%+v %v", p, task.reported)
	}
	must(t, op.AddSplit(Split{ID: "b"}))
	task.now += 20_000
	pull(t, op)
	if last() != 9 {
		t.Fatal("it is not back:", task.reported)
	}
	must(t, op.Align("g", 20))
	task.now += 20_000
	pull(t, op)
	if last() != 39 {
		t.Fatal(task.reported)
	}
}
