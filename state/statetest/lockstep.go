package statetest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/state"
	"github.com/weirflow/weir/state/memory"
)

// Lockstep runs a program with states of all kinds on a store under test and on the
// memory store, and compares every answer. In between it takes snapshots, in the
// store's own form and in the portable one, that are written while the program goes
// on; and it crashes: all stores are dropped, and the last snapshot that was written
// is restored to as many tasks, or to more or fewer. With a store of a tiny budget
// entries come and go all the while.
func Lockstep(t *testing.T, open Open) {
	rapid.Check(t, func(rt *rapid.T) {
		l := &lockstep{T: rt, tb: t, open: open, clock: 1_000_000, stepped: make(chan struct{}, 1)}
		l.max = rapid.SampledFrom([]int{1, 3, 16}).Draw(rt, "max parallelism")
		l.start(rapid.IntRange(1, 2).Draw(rt, "tasks"), nil, nil)
		for range rapid.IntRange(1, 200).Draw(rt, "calls") {
			l.do()
		}
		l.compare()
		l.stop()
	})
}

// tally is an accumulator with parts that are changed in place.
type tally struct {
	Counts map[string]int
	Recent []int64
}

type lockstep struct {
	*rapid.T
	tb    testing.TB
	open  Open
	max   int
	clock flow.Time

	stepped chan struct{} // a store has something to do in Step

	model *program
	tasks []*program
	under *epoch        // being written
	saved []state.Saved // the last snapshot that was written, one for each task
	kept  []state.Saved // the model's
}

// epoch is a snapshot of all tasks on the way.
type epoch struct {
	snaps []state.Snapshot
	saved []state.Saved
	done  chan error
	model state.Saved
}

// program is the states of one task.
type program struct {
	store  state.Store
	cells  *state.Cells[string, int64, tally]
	lists  *state.Lists[string, int]
	maps   *state.Maps[string, int, string]
	timers *state.Timers[string, int64]
	cur    state.Current[string]
	value  state.Value[string]
	list   state.List[int]
	byTTL  state.Map[int, string]
}

func (l *lockstep) program(s state.Store, from []state.Saved) *program {
	p := &program{store: s}
	s.Notify(func() {
		select {
		case l.stepped <- struct{}{}:
		default:
		}
	})
	if from != nil {
		if err := s.Restore(context.Background(), from); err != nil {
			l.Fatal(err)
		}
	}
	ints := state.Options[int]{TTL: state.TTL{After: 50 * time.Microsecond, Update: state.OnReadAndWrite}, Clock: l.now}
	texts := state.Options[string]{TTL: state.TTL{After: 50 * time.Microsecond}, Clock: l.now}
	p.cells = must(state.NewCells[string, int64, tally](s, desc("cells")))
	p.lists = must(state.NewLists[string, int](s, desc("lists")))
	p.maps = must(state.NewMaps[string, int, string](s, desc("maps")))
	p.timers = must(state.NewTimers[string, int64](s, desc("timers")))
	p.value = must(state.NewValue(s, desc("value"), &p.cur, texts))
	p.list = must(state.NewList(s, desc("list"), &p.cur, ints))
	p.byTTL = must(state.NewMap[string, int](s, desc("map"), &p.cur, texts))
	return p
}

func (l *lockstep) now() flow.Time { return l.clock }

// start opens stores, from a snapshot if there is one.
func (l *lockstep) start(tasks int, saved, kept []state.Saved) {
	l.tasks = nil
	for i := range tasks {
		groups := flow.RangeOf(l.max, tasks, i)
		if groups.Len() > 0 {
			l.tasks = append(l.tasks, l.program(l.open(l.tb, l.max, groups), saved))
		}
	}
	l.model = l.program(memory.New(memory.Options{MaxParallelism: l.max}), kept)
}

// stop drops all stores, and what is being written of them.
func (l *lockstep) stop() {
	if l.under != nil {
		for _, z := range l.under.snaps {
			z.Close()
		}
	}
	for _, p := range l.tasks {
		if err := p.store.Close(); err != nil {
			l.Fatal(err)
		}
	}
	if l.under != nil {
		<-l.under.done // with an error or not
		l.under = nil
	}
}

// of is the task of a key, with the key in hand, there and in the model.
func (l *lockstep) of(k string) *program {
	h := hashOf(k)
	g := flow.KeyGroupOf(h, l.max)
	l.model.cur = state.Current[string]{Hash: h, Key: k}
	for _, p := range l.tasks {
		if p.store.KeyGroups().Contains(g) {
			p.cur = l.model.cur
			return p
		}
	}
	panic("statetest: no task has the key group")
}

func (l *lockstep) do() {
	l.clock += flow.Time(rapid.SampledFrom([]int{0, 0, 0, 1, 20, 51}).Draw(l.T, "time"))
	k := rapid.SampledFrom([]string{"", "a", "b", "c", "d", "e", "f", "a longer key that is kept elsewhere"}).Draw(l.T, "k")
	n := rapid.IntRange(0, 30).Draw(l.T, "n")
	p, m := l.of(k), l.model
	h := hashOf(k)
	op := rapid.SampledFrom([]string{"cell", "cell", "cell", "cell delete", "list", "list set", "map", "map", "map delete", "map clear",
		"map fill", "timer", "timer", "timer delete", "fire", "ttl", "ttl", "ttl clear", "step", "step", "step", "barrier", "crash"}).Draw(l.T, "call")
	switch op {
	case "cell":
		a, fresh := p.cells.Ref(h, k, int64(n%3))
		b, want := m.cells.Ref(h, k, int64(n%3))
		l.same(op, fresh, want)
		l.same(op, show(a), show(b))
		change(a, n)
		change(b, n)
		return // what is lent is not compared anew below: it was changed
	case "cell delete":
		l.same(op, p.cells.Delete(h, k, int64(n%3)), m.cells.Delete(h, k, int64(n%3)))
	case "list":
		p.lists.Append(h, k, n, n+1)
		m.lists.Append(h, k, n, n+1)
	case "list set":
		p.lists.Set(h, k, p.lists.Get(h, k)[min(len(p.lists.Get(h, k)), n/8):])
		m.lists.Set(h, k, m.lists.Get(h, k)[min(len(m.lists.Get(h, k)), n/8):])
	case "map":
		p.maps.Put(h, k, n, fmt.Sprint(l.clock))
		m.maps.Put(h, k, n, fmt.Sprint(l.clock))
	case "map fill":
		for i := range 300 {
			p.maps.Put(h, k, i, "filled")
			m.maps.Put(h, k, i, "filled")
		}
	case "map delete":
		l.same(op, p.maps.Delete(h, k, n), m.maps.Delete(h, k, n))
	case "map clear":
		p.maps.Clear(h, k)
		m.maps.Clear(h, k)
	case "timer":
		at := l.clock + flow.Time(n*n)
		p.timers.Add(h, k, int64(n%2), at)
		m.timers.Add(h, k, int64(n%2), at)
	case "timer delete":
		at := l.clock + flow.Time(n)
		l.same(op, p.timers.Delete(h, k, 0, at), m.timers.Delete(h, k, 0, at))
	case "fire":
		l.fire(l.clock + flow.Time(n*10))
	case "ttl":
		for _, p := range []*program{p, m} {
			p.value.Set(fmt.Sprint(n))
			p.list.Append(n)
			p.byTTL.Set(n, "x")
		}
	case "ttl clear":
		for _, p := range []*program{p, m} {
			p.value.Clear()
			p.list.Clear()
			p.byTTL.Delete(n)
		}
	case "step":
		for _, p := range l.tasks {
			for range n {
				p.store.Step()
			}
		}
	case "barrier":
		l.finish()
		l.barrier(rapid.SampledFrom([]state.Form{state.FormLSM, state.FormPortable}).Draw(l.T, "form"))
	case "crash":
		if rapid.Bool().Draw(l.T, "finish first") {
			l.finish()
		}
		l.stop()
		l.start(rapid.IntRange(1, 4).Draw(l.T, "tasks"), l.saved, l.kept)
		return
	}
	l.look(p, k, n)
}

func change(t *tally, n int) {
	if t.Counts == nil {
		t.Counts = map[string]int{}
	}
	t.Counts[fmt.Sprint(n%4)] += n
	if len(t.Recent) > 3 {
		copy(t.Recent, t.Recent[1:])
		t.Recent[len(t.Recent)-1] = int64(n)
	} else {
		t.Recent = append(t.Recent, int64(n))
	}
}

// look compares what both sides say of a key.
func (l *lockstep) look(p *program, k string, n int) {
	m, h := l.model, hashOf(k)
	l.same("cell", show(p.cells.Find(h, k, int64(n%3))), show(m.cells.Find(h, k, int64(n%3))))
	l.same("list", p.lists.Get(h, k), m.lists.Get(h, k))
	a, okA := p.maps.Get(h, k, n)
	b, okB := m.maps.Get(h, k, n)
	l.same("entry", fmt.Sprint(a, okA), fmt.Sprint(b, okB))
	if n%4 == 0 {
		l.same("map", entries(p, k), entries(m, k))
		l.same("map's length", p.maps.Len(h, k), m.maps.Len(h, k))
	}
	l.same("value", fmt.Sprint(p.value.Get()), fmt.Sprint(m.value.Get()))
	if n%2 == 0 {
		l.same("expiring list", p.list.Get(), m.list.Get())
	}
	l.same("expiring map's length", p.byTTL.Len(), m.byTTL.Len())
	if err := p.store.Err(); err != nil {
		l.Fatal(err)
	}
}

func entries(p *program, k string) map[int]string {
	all := map[int]string{}
	p.maps.Each(hashOf(k), k, func(u int, v string) bool { all[u] = v; return true })
	return all
}

func show(t *tally) string {
	if t == nil {
		return "nothing"
	}
	return fmt.Sprint(*t)
}

func (l *lockstep) same(what string, got, want any) {
	if a, b := fmt.Sprint(got), fmt.Sprint(want); a != b {
		l.Fatalf("%s: %s, and in memory %s", what, a, b)
	}
}

// fire lets timers come due, on all tasks.
func (l *lockstep) fire(upTo flow.Time) {
	due := func(ps ...*program) (all []string) {
		for _, p := range ps {
			last := flow.MinTime
			for {
				_, k, n, at, ok := p.timers.Pop(upTo)
				if !ok {
					break
				}
				if at < last || at > upTo {
					l.Fatalf("a timer of %d after one of %d, up to %d", at, last, upTo)
				}
				last = at
				all = append(all, fmt.Sprint(at, n, k))
			}
		}
		slices.Sort(all)
		return all
	}
	l.same("timers", due(l.tasks...), due(l.model))
}

// barrier freezes all tasks and has them written, while the program goes on.
func (l *lockstep) barrier(form state.Form) {
	e := &epoch{done: make(chan error, 1)}
	for _, p := range l.tasks {
		z, err := p.store.Freeze(form)
		if err != nil {
			l.Fatal(err)
		}
		e.snaps = append(e.snaps, z)
		e.saved = append(e.saved, state.Saved{Form: z.Form(), KeyGroups: p.store.KeyGroups(), Files: &Kept{}})
	}
	e.model = must(Save(l.model.store, state.FormPortable))
	l.under = e
	go func() {
		var err error
		for i, z := range e.snaps {
			if w := z.Write(context.Background(), e.saved[i].Files.(*Kept)); w != nil && err == nil {
				err = w
			}
		}
		e.done <- err
	}()
}

// finish waits for what is being written.
func (l *lockstep) finish() {
	if l.under == nil {
		return
	}
	e := l.under
	l.under = nil
	for wait := true; wait; {
		for _, p := range l.tasks {
			for p.store.Step() {
			}
		}
		select {
		case err := <-e.done:
			if err != nil {
				l.Fatal(err)
			}
			wait = false
		case <-l.stepped:
		}
	}
	for _, z := range e.snaps {
		z.Close()
	}
	l.saved, l.kept = e.saved, []state.Saved{e.model}
}

// compare looks at everything.
func (l *lockstep) compare() {
	cells := func(ps ...*program) map[string]string {
		all := map[string]string{}
		for _, p := range ps {
			p.cells.Each(func(_ flow.Hash, k string, n int64, v *tally) bool { all[fmt.Sprint(k, n)] = show(v); return true })
			p.lists.Each(func(_ flow.Hash, k string, v []int) bool { all["list "+k] = fmt.Sprint(v); return true })
			p.maps.EachKey(func(_ flow.Hash, k string) bool { all["map "+k] = fmt.Sprint(entries(p, k)); return true })
		}
		return all
	}
	if got, want := cells(l.tasks...), cells(l.model); !maps.Equal(got, want) {
		l.Fatalf("at the end\n%v, and in memory\n%v", got, want)
	}
	l.fire(flow.MaxTime)
	for _, p := range l.tasks {
		if err := p.store.Err(); err != nil {
			l.Fatal(err)
		}
	}
}
