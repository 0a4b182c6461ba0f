package operator

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow"
)

// Event time never overtakes a record: what comes behind a watermark is newer than
// it, whatever the splits, their order and alignment.
func TestWatermarkIsBehindAllThatComes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		src := runsSource{}
		splits := rapid.IntRange(1, 4).Draw(rt, "splits")
		total := 0
		ids := []string{"a", "b", "c", "d"}[:splits]
		for _, id := range ids {
			run := rapid.SliceOfN(rapid.Int64Range(0, 100), 1, 20).Draw(rt, id)
			slices.Sort(run)
			for _, at := range run {
				src[id] = append(src[id], flow.Time(at))
			}
			total += len(run)
		}
		w := WatermarkStrategy[int]{Idle: time.Hour}
		if rapid.Bool().Draw(rt, "aligned") {
			w.AlignGroup, w.AlignDrift = "g", 3*time.Microsecond
		}
		op, task := openSource(t, src, w)
		var out collector[int]
		must(t, op.Outlet(0).Attach(&out))
		for _, id := range ids {
			must(t, op.AddSplit(Split{ID: id}))
		}
		told := flow.MinTime
		for {
			p := pull(t, op)
			_, times := out.take()
			for _, at := range times {
				if at <= told {
					rt.Fatalf("a record at %d behind the watermark %d", at, told)
				}
				total--
			}
			if p.Watermark < told {
				rt.Fatalf("the watermark went back from %d to %d", told, p.Watermark)
			}
			told = p.Watermark
			if p.Ended {
				break
			}
			if p.Wait && len(op.(*source[int]).splits) == 0 {
				must(t, op.NoMoreSplits())
			}
			if p.Wait || rapid.IntRange(0, 4).Draw(rt, "tick") == 0 {
				task.now += 10_000
			}
			// The group is this source alone: its least is what it reported.
			if n := len(task.reported); n > 0 {
				must(t, op.Align("g", task.reported[n-1]))
			}
		}
		if total != 0 || told != flow.MaxTime {
			rt.Fatalf("%d records were not read; the last watermark is %v", total, told)
		}
	})
}

func TestSourceTellsItsTimeSeldomWhileItIsBusy(t *testing.T) {
	op, task := openSource(t, runsSource{"a": {10, 20, 30, 40}}, WatermarkStrategy[int]{AlignGroup: "g", AlignDrift: time.Second})
	must(t, op.AddSplit(Split{ID: "a"}))
	var told []flow.Time
	for range 2 {
		told = append(told, pull(t, op).Watermark)
	}
	task.now += 9_999
	told = append(told, pull(t, op).Watermark)
	if !slices.Equal(told, []flow.Time{9, 9, 9}) || !slices.Equal(task.reported, []flow.Time{9}) {
		t.Errorf("told %v, reported %v", told, task.reported)
	}
	// The last record leaves the source without a split, and with nothing that
	// would make it tell later what it has reached.
	pull(t, op)
	if p := pull(t, op); p.Watermark != 39 || !p.Wait || p.Idle {
		t.Errorf("%+v", p)
	}
}

func TestSourceIdle(t *testing.T) {
	op, task := openSource(t, runsSource{"a": {10}, "b": {5, 40, 50}}, WatermarkStrategy[int]{Idle: time.Second})
	r := op.(*source[int]).reader.(*runsReader)
	must(t, op.AddSplit(Split{ID: "b"}))
	r.runs["b"] = r.runs["b"][:1:1]
	r.endless = true
	p := pull(t, op)
	if p.Watermark != 4 || p.Idle {
		t.Fatalf("%+v", p)
	}
	since := 1_000_000 + task.now
	task.now += 1000
	if p = pull(t, op); !p.Wait || p.Idle || p.Until != since+1_000_000 {
		t.Fatalf("%+v, want to be woken a second after %d", p, since)
	}
	task.now = 1_000_000
	if p = pull(t, op); !p.Idle || !p.Wait || p.Until != 0 {
		t.Fatalf("%+v", p)
	}
	// One more split: it holds back at once, though the other is silent.
	must(t, op.AddSplit(Split{ID: "a"}))
	task.now += 10_000
	if p = pull(t, op); p.Idle || p.Watermark != 9 {
		t.Fatalf("%+v", p)
	}
	// The silent one is back, with what is late now: time does not go back.
	r.runs["b"] = append(r.runs["b"], 7)
	if p = pull(t, op); p.Idle || p.Watermark != 9 {
		t.Fatalf("%+v", p)
	}
}

// A paused split is silent because it was told to be: it must not become idle, or
// the others would go on without it.
func TestPausedSplitIsNotIdle(t *testing.T) {
	op, task := openSource(t, runsSource{"a": {10, 100, 110}}, WatermarkStrategy[int]{Idle: time.Second, AlignGroup: "g", AlignDrift: 10 * time.Microsecond})
	must(t, op.AddSplit(Split{ID: "a"}))
	must(t, op.Align("g", 5))
	pull(t, op)
	pull(t, op)
	r := op.(*source[int]).reader.(*runsReader)
	if !r.paused["a"] {
		t.Fatal("the split ran ahead and was not paused")
	}
	for range 3 {
		task.now += 5_000_000
		if p := pull(t, op); p.Idle || !p.Wait || p.Worked {
			t.Fatalf("%+v", p)
		}
	}
	must(t, op.Align("other", 200))
	must(t, op.Align("g", flow.MinTime))
	if !r.paused["a"] {
		t.Fatal("it goes on, though its group has not moved")
	}
	must(t, op.Align("g", 200))
	if p := pull(t, op); !p.Worked || p.Idle {
		t.Fatalf("%+v", p)
	}
}

// refusing is a source whose reader fails in the ways that the test asks for.
type refusing struct {
	runsSource
	open, add, read error
	bad             []BadRecord
	stray           bool
}

func (s *refusing) Reader(ctx *ReaderContext) (Reader[int], error) {
	if s.open != nil {
		return nil, s.open
	}
	return &refusingReader{s: s, bad: ctx.Bad}, nil
}

type refusingReader struct {
	runsReader
	s   *refusing
	bad func(BadRecord) error
}

func (r *refusingReader) Add(Split) error { return r.s.add }
func (r *refusingReader) Read(into *Records[int], _ int) (Status, error) {
	for _, b := range r.s.bad {
		if err := r.bad(b); err != nil {
			return More, err
		}
	}
	r.s.bad = nil
	if r.s.stray {
		into.Split = "stray"
		into.Append(1, 1)
	}
	return WaitForWake, r.s.read
}

func TestSourceErrors(t *testing.T) {
	bad := []BadRecord{{Where: "line 3", Raw: []byte("<x>"), Reason: "no number"}, {Where: "line 4"}}
	for _, c := range []struct {
		name   string
		src    refusing
		policy BadPolicy
		domain flow.Domain
		want   string
	}{
		{"open", refusing{open: errors.New("no broker")}, BadPolicy{}, flow.DomainExternal, "no broker"},
		{"add", refusing{add: errors.New("no file")}, BadPolicy{}, flow.DomainExternal, `split "x": no file`},
		{"read", refusing{read: errors.New("torn")}, BadPolicy{}, flow.DomainExternal, "torn"},
		{"stray", refusing{stray: true}, BadPolicy{}, flow.DomainInternal, `split "stray", which it was not given`},
		{"bad", refusing{bad: bad}, BadPolicy{}, flow.DomainUser, "line 3"},
		{"too many", refusing{bad: bad}, BadPolicy{Mode: BadSkip, MaxCount: 1}, flow.DomainUser, "line 4"},
		{"skipped", refusing{bad: bad}, BadPolicy{Mode: BadSkip}, 0, ""},
	} {
		op := NewSource(SourceConfig[int]{Source: &c.src, Bad: c.policy}).(SplitReceiver)
		d := newDrive[int](t, op)
		d.ctx.Task = &sourceTask{}
		err := op.Open(d.ctx)
		if err == nil {
			err = op.AddSplit(Split{ID: "x"})
		}
		if err == nil {
			_, err = op.Pull()
		}
		if c.want == "" {
			must(t, err)
		} else if f := flow.FailureOf(err); f == nil || f.Domain != c.domain || f.Retryable != (c.domain != flow.DomainUser) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err := op.Close(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// Dead letters leave in the Pull that met them, also when there is no good record.
func TestSourceDeadLetters(t *testing.T) {
	src := refusing{bad: []BadRecord{{Where: "line 3", Raw: make([]byte, 2*MaxBadRaw)}}}
	op := NewSource(SourceConfig[int]{Source: &src, Bad: BadPolicy{Mode: BadDeadLetter}}).(SplitReceiver)
	d := newDrive[int](t, op)
	d.ctx.Task = &sourceTask{}
	var letters collector[BadRecord]
	must(t, op.Outlet(DeadLetter).Attach(&letters))
	must(t, op.Open(d.ctx))
	must(t, op.AddSplit(Split{ID: "x"}))
	pull(t, op)
	if len(letters.vals) != 1 || len(letters.vals[0].Raw) != MaxBadRaw || letters.vals[0].Operator != "the operator" {
		t.Errorf("%+v", letters.vals)
	}
}

// A request is made once until it is answered, and the first split is waited for
// without being idle: its records may be older than all others.
func TestSourceAsksForSplits(t *testing.T) {
	op, task := openSource(t, runsSource{"a": {1}, "b": {2}}, WatermarkStrategy[int]{})
	for range 3 {
		if p := pull(t, op); p.Idle || !p.Wait {
			t.Fatalf("%+v", p)
		}
	}
	must(t, op.NoSplitYet())
	if p := pull(t, op); !p.Idle || task.requests != 1 {
		t.Fatalf("%+v %d", p, task.requests)
	}
	must(t, op.AddSplit(Split{ID: "a"}))
	must(t, op.NoSplitYet()) // it crossed the split on its way
	if p := pull(t, op); p.Idle || !p.Worked {
		t.Fatalf("%+v", p)
	}
	if p := pull(t, op); p.Idle || !p.Wait || task.requests != 2 {
		t.Fatalf("%+v %d", p, task.requests)
	}
	must(t, op.NoMoreSplits())
	if p := pull(t, op); !p.Ended || !p.Drained || p.Watermark != flow.MaxTime {
		t.Fatalf("%+v", p)
	}
}

// clockwork is a generator that goes by something else than records.
type clockwork struct{ now *flow.Time }

func (clockwork) Observe([]flow.Time)    {}
func (c clockwork) Watermark() flow.Time { return *c.now }

func TestGeneratorIsAskedInSilence(t *testing.T) {
	op, task := openSource(t, runsSource{"a": {10}}, WatermarkStrategy[int]{})
	at := flow.Time(3)
	op.(*source[int]).cfg.Watermark.Generator = func() WatermarkGenerator { return clockwork{&at} }
	op.(*source[int]).reader.(*runsReader).endless = true
	must(t, op.AddSplit(Split{ID: "a"}))
	pull(t, op)
	at, task.now = 50, 20_000
	if p := pull(t, op); p.Watermark != 50 {
		t.Errorf("%+v", p)
	}
}
