package operator

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/state"
)

// What a broadcast operator keeps is given back in the same order, and what the
// program does not know is carried along.
func TestBroadcastStateIsKept(t *testing.T) {
	var st *BroadcastState[string, rule]
	d := newDrive[string](t, rulesOperator(t, nil, &st)).open()
	sendValues(d, 1, rule{"a", 10}, rule{"b", 2}, rule{"c", 3}, rule{"b", 0}, rule{"a", 11}, rule{"b", 4})
	kept, err := d.op.(Keeper).Keep()
	if err != nil || len(kept) != 1 || kept[0].Name != "rules" || kept[0].Mode != checkpoint.Broadcast || len(kept[0].Items) != 4 {
		t.Fatalf("%v %+v", err, kept)
	}
	again, _ := d.op.(Keeper).Keep()
	if &again[0].Items[0] != &kept[0].Items[0] {
		t.Error("what has not changed is encoded again")
	}
	foreign := checkpoint.OperatorState{Name: "gone", Mode: checkpoint.Broadcast, Items: [][]byte{{1}}}
	d2 := newDrive[string](t, rulesOperator(t, nil, &st)).open()
	if err := d2.op.(Keeper).Restore([]checkpoint.OperatorState{foreign, kept[0]}); err != nil {
		t.Fatal(err)
	}
	var order []rule
	st.Each(func(_ string, r rule) bool { order = append(order, r); return true })
	if want := []rule{{"a", 11}, {"c", 3}, {"b", 4}}; !slices.Equal(order, want) {
		t.Errorf("restored %v", order)
	}
	if got, _ := d2.op.(Keeper).Keep(); !reflect.DeepEqual(got, []checkpoint.OperatorState{kept[0], foreign}) {
		t.Errorf("kept %+v", got)
	}
	sendValues(d2, 1, rule{"d", 1})
	if got, _ := d2.op.(Keeper).Keep(); len(got[0].Items) != 5 {
		t.Error("a change is not kept")
	}
}

func TestBroadcastStateOfOtherTypes(t *testing.T) {
	declare := func() *Setup[int] { return &Setup[int]{ctx: &Context{}, decl: &Declared{}} }
	was := NewBroadcastState[string, int32](declare(), "n")
	was.set("x", 7)
	kept := was.keep()
	wider := NewBroadcastState[string, int64](declare(), "n")
	if err := wider.restore(kept); err != nil {
		t.Fatal(err)
	}
	if v, ok := wider.Get("x"); v != 7 || !ok {
		t.Error(v, ok)
	}
	if err := NewBroadcastState[string, string](declare(), "n").restore(kept); !errors.Is(err, state.ErrIncompatible) {
		t.Error(err)
	}
	for _, items := range [][][]byte{{{0xc1}}, {kept.Items[0], {0xc1}}, {kept.Items[0], append(slices.Clone(kept.Items[1]), 0)}} {
		o := checkpoint.OperatorState{Mode: checkpoint.Broadcast, Items: items}
		if err := NewBroadcastState[string, int32](declare(), "n").restore(o); !errors.Is(err, state.ErrCorrupt) {
			t.Errorf("%q: %v", items, err)
		}
	}
}

// Many changes do not make the state grow.
func TestBroadcastStateForgetsWhatWasDeleted(t *testing.T) {
	s := NewBroadcastState[int, int](&Setup[int]{ctx: &Context{}, decl: &Declared{}}, "n")
	b := &Broadcast{open: true}
	for i := range 10_000 {
		s.Set(b, i, i)
		if i >= 10 && !s.Delete(b, i-10) {
			t.Fatal(i)
		}
	}
	if s.Len() != 10 || len(s.entries) > 64 {
		t.Errorf("%d entries in %d places", s.Len(), len(s.entries))
	}
	next := 9990
	s.Each(func(u, v int) bool {
		if u != next || v != u {
			t.Errorf("%d: %d", u, v)
		}
		next++
		return true
	})
	if v, ok := s.Get(9995); v != 9995 || !ok {
		t.Error(v, ok)
	}
}

// told is a reader that is told of commits.
type told struct {
	Reader[int]
	at   []Split
	told []flow.Epoch
	pos  [][]Split
}

func (r *told) Add(s Split) error          { r.at = append(r.at, s); return nil }
func (r *told) Snapshot() ([]Split, error) { return slices.Clone(r.at), nil }
func (r *told) Committed(e flow.Epoch, s []Split) error {
	r.told, r.pos = append(r.told, e), append(r.pos, s)
	return nil
}

func TestReadersAreToldOfCommits(t *testing.T) {
	r := &told{}
	s := NewSource(SourceConfig[int]{}).(*source[int])
	s.reader, s.Context = r, newDrive[int](t, s).ctx
	add := func(id string) {
		if err := s.AddSplit(Split{ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	end := func(e flow.Epoch) {
		if _, err := s.Barrier(flow.Barrier{Epoch: e}); err != nil {
			t.Fatal(err)
		}
	}
	add("b")
	end(1)
	add("a")
	end(2)
	end(3) // is aborted
	end(4)
	for _, e := range []flow.Epoch{2, 1, 4, 4, 9} {
		if err := s.Committed(e); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(r.told, []flow.Epoch{2, 4}) || len(r.pos[0]) != 2 || len(s.ended) != 0 {
		t.Errorf("told %v %v, %d left", r.told, r.pos, len(s.ended))
	}
	// What comes behind the stop is not read, and not lost.
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	add("aa")
	splits, err := s.Splits()
	if err != nil || len(splits) != 3 || splits[0].ID != "a" || splits[1].ID != "aa" || splits[2].ID != "b" || len(r.at) != 2 {
		t.Error(splits, err)
	}
}
