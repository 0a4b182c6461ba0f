package operator

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow"
)

type wide struct{ A, B, C, D, E, F int64 }

func TestUpdate(t *testing.T) {
	d := newDrive[wide](t, NewUpdate(func(w *wide) { w.F = w.A + w.B; w.A = 0 })).open()
	in := &flow.Batch[wide]{Values: []wide{{A: 1, B: 2}, {A: 3, B: 4}}, Times: []flow.Time{10, 20}}
	if err := d.op.Inlet(0).(Receiver[wide]).Receive(in); err != nil {
		t.Fatal(err)
	}
	if in.Values[0] != (wide{A: 1, B: 2}) {
		t.Errorf("the lent batch was changed: %+v", in.Values[0])
	}
	vals, times := d.out.take()
	if want := []wide{{B: 2, F: 3}, {B: 4, F: 7}}; !slices.Equal(vals, want) || !slices.Equal(times, []flow.Time{10, 20}) {
		t.Errorf("got %v at %v, want %v", vals, times, want)
	}
	sendValues(d, 0, wide{A: 5})
	if vals, times := d.out.take(); vals[0].F != 5 || times[0] != flow.MinTime {
		t.Errorf("got %v at %v: a batch without times must stay without", vals, times)
	}
	if in, out := d.ctx.Metrics.RecordsIn.Load(), d.ctx.Metrics.RecordsOut.Load(); in != 3 || out != 3 {
		t.Errorf("counted %d in and %d out, want 3 and 3", in, out)
	}
}

func TestReduce(t *testing.T) {
	type pair = KeyValue[string, int]
	sum := func(acc, v pair) pair { acc.Value += v.Value; return acc }
	d := newDrive[pair](t, NewReduce(mustKey(t, func(p pair) string { return p.Key }), sum)).open()
	send(d, 0, at(1, pair{"a", 1}), at(2, pair{"b", 10}), at(3, pair{"a", 2}))
	send(d, 0, at(4, pair{"b", 20}))
	vals, times := d.out.take()
	if want := []pair{{"a", 1}, {"b", 10}, {"a", 3}, {"b", 30}}; !slices.Equal(vals, want) {
		t.Errorf("got %v, want %v", vals, want)
	}
	if want := []flow.Time{1, 2, 3, 4}; !slices.Equal(times, want) {
		t.Errorf("times %v, want %v", times, want)
	}
}

func TestRunningAggregate(t *testing.T) {
	// The accumulator starts at 100, so that a forgotten New shows.
	a := Aggregator[int, int, string]{New: func() int { return 100 }, Add: func(acc *int, v int) { *acc += v },
		Result: func(acc *int) string { return fmt.Sprint(*acc) }}
	d := newDrive[KeyValue[bool, string]](t, NewRunning(mustKey(t, func(v int) bool { return v%2 == 0 }), a)).open()
	sendValues(d, 0, 1, 2, 3, 4)
	vals, _ := d.out.take()
	if want := []KeyValue[bool, string]{{false, "101"}, {true, "102"}, {false, "104"}, {true, "106"}}; !slices.Equal(vals, want) {
		t.Errorf("got %v, want %v", vals, want)
	}
}

func TestKeyedOperatorsUseHashesOfTheExchange(t *testing.T) {
	key := mustKey(t, func(v int) int { return v })
	hash := key.Hash
	computed := 0
	key.Hash = func(vals []int, dst []flow.Hash) []flow.Hash { computed += len(vals); return hash(vals, dst) }
	d := newDrive[int](t, NewDistinct(key)).open()
	b := &flow.Batch[int]{Values: []int{1, 2, 1}}
	b.Hashes = hash(b.Values, nil)
	if err := d.op.Inlet(0).(Receiver[int]).Receive(b); err != nil {
		t.Fatal(err)
	}
	sendValues(d, 0, 2, 3) // without hashes: they are computed, and agree
	if vals, _ := d.out.take(); !slices.Equal(vals, []int{1, 2, 3}) || computed != 2 {
		t.Errorf("got %v with %d hashes computed, want [1 2 3] and 2", vals, computed)
	}
}

func TestPanicNamesTheRecord(t *testing.T) {
	d := newDrive[int](t, NewReduce(mustKey(t, func(v int) int { return 0 }), func(a, v int) int { return a / v })).open()
	defer func() {
		recover() //nolint:errcheck // the panic is the point
		if got := d.op.(Failer).Failing(); got != "record 3 of this subtask's input: 0" {
			t.Errorf("failing at %q", got)
		}
	}()
	sendValues(d, 0, 1, 1, 0)
}

func TestErrorsOfReceiversComeBack(t *testing.T) {
	broken := errors.New("broken")
	byOne := mustKey(t, func(v int) int { return v })
	for name, op := range map[string]Operator{
		"update":   NewUpdate(func(*int) {}),
		"reduce":   NewReduce(byOne, func(a, v int) int { return a + v }),
		"distinct": NewDistinct(byOne),
	} {
		d := newDrive[int](t, op).open()
		d.out.fail = broken
		if err := op.Inlet(0).(Receiver[int]).Receive(&flow.Batch[int]{Values: []int{1}}); !errors.Is(err, broken) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestTopNAgainstSorting compares each ranking with the sorted records so far.
func TestTopNAgainstSorting(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		type score struct{ Key, Points, ID int }
		n := rapid.IntRange(1, 4).Draw(rt, "n")
		points := rapid.SliceOf(rapid.Custom(func(rt *rapid.T) score {
			return score{Key: rapid.IntRange(0, 2).Draw(rt, "key"), Points: rapid.IntRange(0, 5).Draw(rt, "points")}
		})).Draw(rt, "records")
		better := func(a, b score) bool { return a.Points > b.Points }
		d := newDrive[Ranking[int, score]](t, NewTopN(mustKey(t, func(s score) int { return s.Key }), n, better)).open()
		byKey := map[int][]score{}
		var want []string
		for i := range points {
			points[i].ID = i
			p := points[i]
			before := fmt.Sprint(top(byKey[p.Key], n))
			byKey[p.Key] = append(byKey[p.Key], p)
			slices.SortStableFunc(byKey[p.Key], func(a, b score) int {
				switch {
				case better(a, b):
					return -1
				case better(b, a):
					return 1
				}
				return 0
			})
			if after := fmt.Sprint(top(byKey[p.Key], n)); after != before {
				want = append(want, fmt.Sprint(Ranking[int, score]{p.Key, top(byKey[p.Key], n)}))
			}
		}
		sendValues(d, 0, points...)
		var got []string
		for _, r := range d.out.vals {
			got = append(got, fmt.Sprint(r))
		}
		if !slices.Equal(got, want) {
			rt.Errorf("got %v, want %v", got, want)
		}
	})
}

func top[T any](s []T, n int) []T { return s[:min(n, len(s))] }

type event struct {
	Key   uint64
	Value int64
}

func benchKeyed[Out any](b *testing.B, op Operator, keys uint64) {
	d := newDrive[Out](b, op)
	d.ctx.BatchSize = 1024
	d.open()
	in := op.Inlet(0).(Receiver[event])
	batches := make([]*flow.Batch[event], 512)
	key, _ := NewKey(func(e event) uint64 { return e.Key })
	x := uint64(1)
	for i := range batches {
		batches[i] = &flow.Batch[event]{}
		for range 1024 {
			x = x*6364136223846793005 + 1442695040888963407
			batches[i].Values = append(batches[i].Values, event{Key: (x >> 33) % keys, Value: int64(i)})
		}
		batches[i].Hashes = key.Hash(batches[i].Values, nil)
	}
	d.op.Outlet(0).(*Output[Out]).first = discard[Out]{}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if err := in.Receive(batches[n%len(batches)]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1024, "ns/record")
}

type discard[T any] struct{}

func (discard[T]) Receive(*flow.Batch[T]) error { return nil }

func BenchmarkReduce100k(b *testing.B) {
	benchKeyed[event](b, NewReduce(mustKey(b, func(e event) uint64 { return e.Key }),
		func(acc, v event) event { acc.Value += v.Value; return acc }), 100_000)
}

func BenchmarkRunningSum100k(b *testing.B) {
	benchKeyed[KeyValue[uint64, int64]](b, NewRunning(mustKey(b, func(e event) uint64 { return e.Key }),
		Aggregator[event, int64, int64]{Add: func(acc *int64, e event) { *acc += e.Value }, Result: func(acc *int64) int64 { return *acc }}), 100_000)
}

// BenchmarkFloor100k is the loop that a programmer would write.
func BenchmarkFloor100k(b *testing.B) {
	sums := map[uint64]int64{}
	vals := make([]event, 1024*512)
	out := make([]event, 1024)
	x := uint64(1)
	for i := range vals {
		x = x*6364136223846793005 + 1442695040888963407
		vals[i] = event{Key: (x >> 33) % 100_000, Value: int64(i)}
	}
	for n := 0; b.Loop(); n++ {
		for i, e := range vals[n%512*1024:][:1024] {
			s := sums[e.Key] + e.Value
			sums[e.Key] = s
			out[i] = event{e.Key, s}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1024, "ns/record")
}

// BenchmarkUpdate3 is three updates of a record of six fields, one after the other.
func BenchmarkUpdate3(b *testing.B) {
	ops := []Operator{NewUpdate(func(w *wide) { w.A += w.B }), NewUpdate(func(w *wide) { w.C ^= w.A }), NewUpdate(func(w *wide) { w.F++ })}
	for i, op := range ops {
		if i+1 < len(ops) {
			_ = op.Outlet(0).Attach(ops[i+1].Inlet(0))
		} else {
			_ = op.Outlet(0).Attach(discard[wide]{})
		}
		ctx := newDrive[wide](b, NewUpdate(func(*wide) {})).ctx
		if err := op.Open(ctx); err != nil {
			b.Fatal(err)
		}
	}
	in := ops[0].Inlet(0).(Receiver[wide])
	batch := &flow.Batch[wide]{Values: make([]wide, 1024)}
	b.ReportAllocs()
	for b.Loop() {
		if err := in.Receive(batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1024, "ns/record")
}
