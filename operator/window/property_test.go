package window

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/state/memory"
)

// drawSpec draws windows under the default trigger.
func drawSpec(t *rapid.T) Spec {
	d := func(name string, lo, hi int) duration { return duration(rapid.IntRange(lo, hi).Draw(t, name)) * micro }
	var s Spec
	switch rapid.SampledFrom([]Kind{KindTumbling, KindSliding, KindSliding, KindSliding, KindCumulative, KindSession, KindSession, KindGlobal}).Draw(t, "kind") {
	case KindTumbling:
		s.Assigner = Tumbling(d("size", 1, 12))
	case KindSliding:
		s.Assigner = Sliding(d("size", 1, 20), d("slide", 1, 8))
	case KindCumulative:
		step := d("step", 1, 5)
		s.Assigner = Cumulative(step*duration(rapid.IntRange(1, 6).Draw(t, "steps")), step)
	case KindSession:
		s.Assigner = Session(d("gap", 1, 8))
		if rapid.Bool().Draw(t, "dynamic") {
			s.Assigner = SessionDynamic()
		}
	case KindGlobal:
		s.Assigner = Global()
	}
	if s.Assigner.timed() {
		if rapid.Bool().Draw(t, "late") {
			s.Lateness = d("lateness", 1, 25)
		}
		if s.Assigner.Kind != KindSession {
			s.Assigner.Offset = d("offset", -30, 30)
		}
	}
	s.Mode = Mode(rapid.IntRange(0, 1).Draw(t, "mode"))
	return s
}

// TestSameAsNaive drives an operator and the naive model by the same records and
// watermarks: out of order, late, in batches of any size, with restarts from
// snapshots in between.
func TestSameAsNaive(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		spec := drawSpec(rt)
		model := &naive{spec: spec, clock: flow.MinTime}
		asList := rapid.Bool().Draw(rt, "process")
		var d *drive[rec, string]
		var da *drive[rec, Result[int, string]]
		start := func(store *memory.Store) {
			if !asList {
				op, err := NewAggregate(testConfig(spec), idAggregator())
				da = newDriveOn[rec, Result[int, string]](t, op, err, store)
				return
			}
			op, err := NewProcess(testConfig(spec), func(k int, w Window, p Pane, e []rec, emit func(string)) {
				var l []int
				for _, r := range e {
					l = append(l, r.ID)
				}
				slices.Sort(l)
				emit(show(k, w, p, fmt.Sprint(l)))
			})
			d = newDriveOn[rec, string](t, op, err, store)
		}
		start(memory.New(memory.Options{}))
		take := func() (out []string, times []flow.Time, late []int) {
			var lates []rec
			if asList {
				out, times = d.out.take()
				lates, _ = d.late.take()
			} else {
				var rs []Result[int, string]
				rs, times = da.out.take()
				for i, r := range rs {
					out = append(out, show(r.Key, r.Window, r.Pane, r.Value))
					if times[i] != r.Window.Last() {
						rt.Fatalf("%v has time %v", r, times[i])
					}
				}
				lates, _ = da.late.take()
			}
			for _, r := range lates {
				late = append(late, r.ID)
			}
			return out, times, late
		}
		compare := func(what string, want []string) {
			got, times, late := take()
			if !slices.IsSorted(times) && what != "batch" {
				rt.Fatalf("%v: results not in the order of time: %v", what, times)
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				rt.Fatalf("%v, clock %d\n got %q\nwant %q", what, model.clock, got, want)
			}
			if !slices.Equal(late, model.late) {
				rt.Fatalf("%v: late %v, want %v", what, late, model.late)
			}
			model.late = nil
		}
		now, id := flow.Time(rapid.IntRange(-50, 50).Draw(rt, "start")), 0
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			step := rapid.IntRange(0, 9).Draw(rt, "step")
			if step == 9 {
				var store *memory.Store
				if asList {
					store = d.restart(t)
				} else {
					store = da.restart(t)
				}
				start(store)
				continue
			}
			if step < 3 {
				now += flow.Time(rapid.SampledFrom([]int{0, 1, 1, 2, 3, 5, 9, 40}).Draw(rt, "advance"))
				want := model.watermark(now)
				var err error
				if asList {
					_, err = d.op.Watermark(now)
				} else {
					_, err = da.op.Watermark(now)
				}
				if err != nil {
					rt.Fatal(err)
				}
				compare(fmt.Sprintf("watermark %d", now), want)
				continue
			}
			var batch flow.Batch[rec]
			var want []string
			for range rapid.IntRange(0, 6).Draw(rt, "batch") {
				id++
				r := rec{rapid.IntRange(0, 2).Draw(rt, "key"), now + flow.Time(rapid.IntRange(-30, 15).Draw(rt, "at")), id, 0}
				r.Gap = flow.Time(rapid.IntRange(1, 9).Draw(rt, "gap"))
				batch.Append(r, r.At)
				want = append(want, model.record(r)...)
			}
			var err error
			if asList {
				err = d.in.Receive(&batch)
			} else {
				err = da.in.Receive(&batch)
			}
			if err != nil {
				rt.Fatal(err)
			}
			compare("batch", want)
		}
		want := model.watermark(flow.MaxTime)
		var err error
		store := 0
		if asList {
			_, err = d.op.Watermark(flow.MaxTime)
			store = residents(d.op)
		} else {
			_, err = da.op.Watermark(flow.MaxTime)
			store = residents(da.op)
		}
		if err != nil {
			rt.Fatal(err)
		}
		compare("end", want)
		if store != 0 {
			rt.Fatalf("%d entries of state are left at the end", store)
		}
	})
}

// residents counts what is left of an operator's state.
func residents(op any) int {
	if o, ok := op.(interface{ left() int }); ok {
		return o.left()
	}
	return -1
}

func (c *crowd[K]) left() int { return c.lists.Len() + c.timers.Len() }
func (o *aligned[K, In, Acc, R]) left() int {
	return o.cells.Len() + o.crowd.left()
}
func (o *paned[K, In, Acc, R]) left() int {
	return o.cells.Len() + o.crowd.left() + o.gone.left()
}
func (o *sessions[K, In, Acc, R]) left() int  { return o.cells.Len() + o.due.Len() }
func (o *triggered[K, In, Acc, R]) left() int { return o.cells.Len() + o.due.Len() }

// TestCountSameAsNaive compares count windows with slices of each key's records.
func TestCountSameAsNaive(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n, every := rapid.Int64Range(1, 9).Draw(rt, "n"), rapid.Int64Range(1, 9).Draw(rt, "every")
		op, err := NewAggregate(testConfig(Spec{Assigner: CountSliding(n, every)}), idAggregator())
		d := newDrive[rec, Result[int, string]](t, op, err)
		seen := map[int][]int{}
		var want []string
		var batch flow.Batch[rec]
		for id := range rapid.IntRange(0, 60).Draw(rt, "records") {
			r := rec{Key: rapid.IntRange(0, 2).Draw(rt, "key"), At: flow.Time(id), ID: id}
			batch.Append(r, r.At)
			seen[r.Key] = append(seen[r.Key], id)
			if all := seen[r.Key]; int64(len(all))%every == 0 {
				want = append(want, fmt.Sprint(r.Key, " ", r.At, " ", all[max(0, len(all)-int(n)):]))
			}
			if rapid.Bool().Draw(rt, "cut") {
				if err := d.in.Receive(&batch); err != nil {
					rt.Fatal(err)
				}
				batch.Truncate()
			}
		}
		if err := d.in.Receive(&batch); err != nil {
			rt.Fatal(err)
		}
		d.watermark(t, flow.MaxTime)
		var got []string
		rs, times := d.out.take()
		for i, r := range rs {
			got = append(got, fmt.Sprint(r.Key, " ", times[i], " ", r.Value))
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			rt.Fatalf("n=%d every=%d\n got %v\nwant %v", n, every, got, want)
		}
	})
}
