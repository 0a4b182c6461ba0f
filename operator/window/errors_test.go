package window

import (
	"errors"
	"strings"
	"testing"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
	"github.com/weirflow/weir/internal/invariants"
	"github.com/weirflow/weir/operator"
)

func tumbling(t testing.TB, size int) *drive[rec, Result[int, string]] {
	op, err := NewAggregate(testConfig(Spec{Assigner: Tumbling(duration(size) * micro)}), idAggregator())
	return newDrive[rec, Result[int, string]](t, op, err)
}

func TestSendErrorIsTold(t *testing.T) {
	d := tumbling(t, 10)
	d.out.fail = errBroken
	var b flow.Batch[rec]
	for i := range 20 {
		b.Append(rec{Key: i, At: 1}, 1)
	}
	if err := d.in.Receive(&b); err != nil {
		t.Fatal(err)
	}
	if _, err := d.op.Watermark(10); !errors.Is(err, errBroken) {
		t.Fatalf("watermark: %v", err)
	}
	d = tumbling(t, 10)
	d.late.fail = errBroken
	d.watermark(t, 50)
	if err := d.in.Receive(&b); !errors.Is(err, errBroken) {
		t.Fatalf("late records: %v", err)
	}
	if n := d.ctx.Metrics.Late.Load(); n != 20 {
		t.Fatalf("%d late records counted", n)
	}
}

func TestLateIsCountedUnattached(t *testing.T) {
	op, err := NewAggregate(testConfig(Spec{Assigner: Session(10 * micro)}), idAggregator())
	d := newDrive[rec, Result[int, string]](t, op, err)
	d.late = collector[rec]{}
	d.watermark(t, 50)
	send(t, d, rec{At: 1}, rec{At: 2}, rec{At: 45})
	if n := d.ctx.Metrics.Late.Load(); n != 2 {
		t.Fatalf("%d late records counted", n)
	}
}

func TestTimesOutOfRange(t *testing.T) {
	for _, a := range []Assigner{Tumbling(micro), Sliding(2*micro, micro), Session(micro)} {
		op, err := NewAggregate(testConfig(Spec{Assigner: a}), idAggregator())
		d := newDrive[rec, Result[int, string]](t, op, err)
		b := flow.Batch[rec]{Values: make([]rec, 2), Times: []flow.Time{0, flow.MaxTime - 5}}
		if err := d.in.Receive(&b); err == nil || !strings.Contains(err.Error(), "146,000 years") {
			t.Errorf("%v: %v", a, err)
		}
		b.Times[1] = flow.MinTime
		if err := d.in.Receive(&b); err == nil || !strings.Contains(err.Error(), "has no event time") {
			t.Errorf("%v: %v", a, err)
		}
	}
}

// TestPanicNamesWindow checks that the window in hand can be told after a panic.
func TestPanicNamesWindow(t *testing.T) {
	a := idAggregator()
	a.Result = func(*ids) string { panic("boom") }
	op, err := NewAggregate(testConfig(Spec{Assigner: Tumbling(10 * micro)}), a)
	d := newDrive[rec, Result[int, string]](t, op, err)
	send(t, d, rec{Key: 7, At: 3})
	func() {
		defer func() { _ = recover() }()
		_, _ = op.Watermark(20)
	}()
	if got := op.(operator.Failer).Failing(); !strings.Contains(got, "window [1970-01-01T00:00:00Z,1970-01-01T00:00:00.00001Z) of key 7") {
		t.Fatalf("failing at %q", got)
	}
}

func TestBarrierStoresClock(t *testing.T) {
	d := tumbling(t, 10)
	o := d.op.(*aligned[int, rec, ids, Result[int, string]])
	for _, c := range []struct {
		at   flow.Time
		want int
	}{{flow.MinTime, 0}, {25, 128}} {
		d.watermark(t, c.at)
		if _, err := d.op.Barrier(flow.Barrier{Epoch: 1}); err != nil || o.marks.cells.Len() != c.want {
			t.Fatalf("%v: %d marks, %v", c.at, o.marks.cells.Len(), err)
		}
	}
	// The end of the input is no time to go on from.
	d.watermark(t, flow.MaxTime)
	if _, err := d.op.Barrier(flow.Barrier{Epoch: 2}); err != nil {
		t.Fatal(err)
	}
	o.marks.cells.Each(func(_ flow.Hash, k uint64, _ struct{}, at *flow.Time) bool {
		if *at != 25 {
			t.Errorf("delegate %d has mark %v", k, *at)
		}
		return true
	})
}

func TestRefusedConfigs(t *testing.T) {
	cfg := testConfig(Spec{Assigner: Sliding(10*micro, 5*micro)})
	agg := idAggregator()
	agg.Merge = nil
	if _, err := NewAggregate(cfg, agg); err == nil || !strings.Contains(err.Error(), "without Merge") {
		t.Error(err)
	}
	cfg.Key = operator.Key[rec, int]{}
	if _, err := NewAggregate(cfg, idAggregator()); err == nil || !strings.Contains(err.Error(), "KeyBy") {
		t.Error(err)
	}
	cfg = testConfig(Spec{Assigner: Tumbling(micro)})
	if _, err := NewFold(cfg, Fold[int, rec, func(), int]{Add: func(*func(), rec) {}, Emit: func(int, Window, Pane, *func(), func(int)) {}}); err == nil ||
		!strings.Contains(err.Error(), "what is kept of a window") {
		t.Error(err)
	}
	cfg = testConfig(Spec{Assigner: SessionDynamic()})
	op, err := NewAggregate(cfg, idAggregator())
	d := newDrive[rec, Result[int, string]](t, op, err)
	b := flow.Batch[rec]{Values: make([]rec, 1), Times: make([]flow.Time, 1)}
	if err := d.in.Receive(&b); err == nil || !strings.Contains(err.Error(), "session gap of record 1") {
		t.Error(err)
	}
}

// TestStateCanBeStored compiles the codecs of all that is kept.
func TestStateCanBeStored(t *testing.T) {
	for _, f := range []func() error{
		func() error { _, err := codec.For[cell[ids]](); return err },
		func() error { _, err := codec.For[panes[ids]](); return err },
		func() error { _, err := codec.For[entry[ids]](); return err },
		func() error { _, err := codec.For[[]session[ids]](); return err },
		func() error { _, err := codec.For[tally[ids]](); return err },
		func() error { _, err := codec.For[member[string]](); return err },
	} {
		if err := f(); err != nil {
			t.Error(err)
		}
	}
}

// TestNoAllocation checks that a record of a key that is there costs none.
func TestNoAllocation(t *testing.T) {
	if invariants.Enabled || invariants.Race {
		t.Skip("only an ordinary build is free of allocations")
	}
	for _, s := range []Spec{{Assigner: Tumbling(1000 * micro)}, {Assigner: Sliding(1000*micro, 10*micro)}, {Assigner: Session(100 * micro)},
		{Assigner: Tumbling(1000 * micro), Trigger: EarlyLate(EveryCount(1000000), nil)}} {
		op, err := NewAggregate(testConfig(s), Aggregator[rec, int64, int64]{
			Add:    func(a *int64, r rec) { *a++ },
			Merge:  func(a, b *int64) { *a += *b },
			Result: func(a *int64) int64 { return *a },
		})
		d := newDrive[rec, Result[int, int64]](t, op, err)
		var b flow.Batch[rec]
		for i := range 100 {
			b.Append(rec{Key: i % 10, At: 5}, 5)
		}
		if n := testing.AllocsPerRun(50, func() {
			if err := d.in.Receive(&b); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%v: %v allocations for a batch", s.Assigner, n)
		}
	}
}
