package hybrid_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/connector/collect/sourcetest"
	"github.com/weirflow/weir/connector/hybrid"
	"github.com/weirflow/weir/connector/slice"
	"github.com/weirflow/weir/operator"
)

// single is a source that wants one split at a time, and checks it.
type single struct{ *slice.Source[int] }

func (s single) Info() operator.SourceInfo {
	info := s.Source.Info()
	info.Assign = operator.AssignOnDemand
	return info
}

func (s single) Reader(ctx *operator.ReaderContext) (operator.Reader[int], error) {
	r, err := s.Source.Reader(ctx)
	return singleReader{r}, err
}

type singleReader struct{ operator.Reader[int] }

func (r singleReader) Add(s operator.Split) error {
	if held, err := r.Snapshot(); err != nil || len(held) > 0 {
		return fmt.Errorf("split %s was added to %v: %w", s.ID, held, err)
	}
	return r.Reader.Add(s)
}

func phases(phase, splits, each int) [][]int {
	var all [][]int
	for s := range splits {
		var values []int
		for i := range each {
			values = append(values, phase*1_000_000+s*1000+i)
		}
		all = append(all, values)
	}
	return all
}

func three() *hybrid.Source[int] {
	return hybrid.New[int](single{slice.Splits(phases(0, 5, 4)...)},
		hybrid.Then[int](slice.Splits(phases(1, 3, 5)...)),
		hybrid.Then[int](slice.Splits(phases(2, 2, 6)...)),
	).Bounded()
}

func TestPhasesInTurn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := sourcetest.Options{
			Readers: rapid.IntRange(1, 4).Draw(t, "readers"), Max: rapid.IntRange(1, 8).Draw(t, "max"), Seed: rapid.Uint64().Draw(t, "seed"),
		}
		j := sourcetest.Start(t, three(), o, nil)
		j.ReadAll()
		got := j.Values()
		if len(got) != 20+15+12 || j.Progress != int64(len(got)) {
			t.Fatalf("%d records, progress %d", len(got), j.Progress)
		}
		for i := 1; i < len(got); i++ {
			if got[i]/1_000_000 < got[i-1]/1_000_000 {
				t.Fatalf("record %d comes after record %d", got[i], got[i-1])
			}
		}
		slices.Sort(got)
		if len(slices.Compact(got)) != 20+15+12 {
			t.Fatal("a record came twice")
		}
	})
}

func TestResume(t *testing.T) { sourcetest.Resume(t, three(), 48) }

func TestSurvive(t *testing.T) { sourcetest.Survive(t, three(), 200, sourcetest.Options{}) }

func TestEmptyPhases(t *testing.T) {
	src := hybrid.New[int](slice.Splits[int](), hybrid.Then[int](slice.Splits[int]()), hybrid.Then[int](slice.Of(1, 2)), hybrid.Then[int](slice.Of[int]())).Bounded()
	sourcetest.Resume(t, src, 3)
	j := sourcetest.Start(t, src, sourcetest.Options{}, nil)
	j.ReadAll()
	if got := j.BySplit(); fmt.Sprint(got) != "map[2:0:[1 2]]" {
		t.Fatal(got)
	}
}

// The next source is made when the first has ended, once in a process.
func TestNextIsMadeAtTheSwitch(t *testing.T) {
	var j *sourcetest.Job[int]
	calls := 0
	src := hybrid.New(operator.Source[int](slice.Splits([]int{1, 2}, []int{3})), func(context.Context) (operator.Source[int], error) {
		calls++
		return slice.Of(10 * len(j.Records)).Unbounded(), nil
	})
	if !src.Info().Unbounded {
		t.Error("it has an end")
	}
	j = sourcetest.Start(t, src, sourcetest.Options{Readers: 2}, nil)
	j.Read(4)
	if got := j.Values()[3]; got != 30 || calls != 1 {
		t.Fatal(got, calls)
	}
	if w := j.Where(0); w != "phase 1, record 0 of split 0" && j.Where(1) != "phase 1, record 0 of split 0" {
		t.Error(w, j.Where(1))
	}
}

// Splits that end between the snapshots of the two sides are told of after the
// restore, before or after the phase's enumerator is made again.
func TestFinishedAfterRestore(t *testing.T) {
	for _, before := range []bool{true, false} {
		e, err := three().Enumerator()
		if err != nil {
			t.Fatal(err)
		}
		d, err := e.Discover(t.Context())
		if err != nil || len(d.Splits) != 5 || d.Done {
			t.Fatal(d, err)
		}
		data, err := e.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, s := range d.Splits {
			ids = append(ids, s.ID)
		}
		f, _ := three().Enumerator()
		if err := f.Restore(data); err != nil {
			t.Fatal(err)
		}
		if !before {
			if d, err := f.Discover(t.Context()); err != nil || len(d.Splits) != 0 || d.Done {
				t.Fatal(d, err)
			}
		}
		f.Finished(ids[:2])
		f.Finished(ids)
		if d, err := f.Discover(t.Context()); err != nil || len(d.Splits) != 3 || !strings.HasPrefix(d.Splits[0].ID, "1:") {
			t.Fatal(d, err)
		}
	}
}

func TestPauseOfWaitingSplit(t *testing.T) {
	j := sourcetest.Start(t, hybrid.New[int](single{slice.Splits(phases(0, 3, 4)...)}), sourcetest.Options{Max: 1}, nil)
	j.Read(1)
	j.Pause("0:2", true)
	for !j.Idle() {
		if _, _, err := j.Step(); err != nil {
			t.Fatal(err)
		}
	}
	if got := j.BySplit(); len(got["0:2"]) != 0 || len(j.Records) == 0 {
		t.Fatal(got)
	}
	j.Pause("0:2", false)
	j.ReadAll()
	if len(j.Records) != 12 {
		t.Fatal(j.Records)
	}
}

func TestErrors(t *testing.T) {
	boom := errors.New("boom")
	fails := func(context.Context) (operator.Source[int], error) { return nil, boom }
	none := func(context.Context) (operator.Source[int], error) { return nil, nil }
	for _, c := range []struct {
		src  *hybrid.Source[int]
		want string
	}{
		{hybrid.New[int](nil), "first source is nil"},
		{hybrid.New[int](slice.Splits[int](), fails), "phase 1: boom"},
		{hybrid.New[int](slice.Splits[int](), none), "phase 1 is nil"},
		{hybrid.New[int](slice.Of(1).Unbounded(), none), "phase 0 (slice) has no end, so phase 1 would never begin"},
		{hybrid.New[int](slice.Of(1).Unbounded()).Bounded(), "declared as bounded"},
	} {
		e, err := c.src.Enumerator()
		if err == nil {
			_, err = e.Discover(t.Context())
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
	e, _ := three().Enumerator()
	for _, s := range []string{"", "\xc1", "\x81\xa5phase\x09"} {
		if err := e.Restore([]byte(s)); err == nil {
			t.Errorf("%q was restored", s)
		}
	}
	r, _ := three().Reader(&operator.ReaderContext{Context: t.Context()})
	for _, id := range []string{"", "x", "9:a", "-1:a", "1:"} {
		if err := r.Add(operator.Split{ID: id}); err == nil {
			t.Errorf("split %q was added", id)
		}
	}
}

func FuzzRestore(f *testing.F) {
	e, _ := three().Enumerator()
	if _, err := e.Discover(f.Context()); err != nil {
		f.Fatal(err)
	}
	data, _ := e.Snapshot()
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		e, _ := three().Enumerator()
		if e.Restore(data) != nil {
			return
		}
		e.Finished([]string{"0:0", "1:0", "x"})
		for range 4 {
			if _, err := e.Discover(t.Context()); err != nil {
				return
			}
		}
	})
}
