package batch

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/scheduler/job"
)

// world runs what a machine says, and loses as much of it as it can.
type world struct {
	t         *rapid.T
	m         *Machine
	deployed  map[flow.Attempt]Deploy
	live      map[flow.Attempt]bool
	executors map[Executor]Node
	slots     map[Executor]int
	last      Executor
	there     map[flow.Attempt]Node // outputs that can be read
	due       []Wait
	commit    bool
	end       *End
}

func (w *world) do(acts []Action) {
	for _, a := range acts {
		switch a := a.(type) {
		case Deploy:
			w.deploy(a)
		case Cancel:
			if !w.live[a.Attempt] {
				w.t.Fatalf("%s: it has ended", a)
			}
		case Drop:
			delete(w.there, a.Attempt)
		case Wait:
			w.due = append(w.due, a)
		case Commit:
			w.commit = true
		case End:
			w.end = &a
		case Again, Lost:
		}
	}
	w.check()
}

func (w *world) deploy(d Deploy) {
	if _, ok := w.executors[d.On]; !ok {
		w.t.Fatalf("%s: that executor is gone", d)
	}
	used := 1
	for at := range w.live {
		o := w.deployed[at]
		if o.On == d.On {
			used++
		}
		if o.Unit == d.Unit {
			w.t.Fatalf("%s: attempt %d of it has not ended", d, at)
		}
	}
	if used > w.slots[d.On] {
		w.t.Fatalf("%s: its %d slots are taken", d, w.slots[d.On])
	}
	w.deployed[d.Attempt], w.live[d.Attempt] = d, true
}

// check wants that what is finished has read what counts: the first invariant.
func (w *world) check() {
	count := map[flow.TaskID]flow.Attempt{}
	for _, at := range w.m.Finished() {
		count[w.deployed[at].Unit] = at
	}
	for at := range w.live {
		if w.m.Current(at) {
			count[w.deployed[at].Unit] = at
		}
	}
	for _, at := range count {
		d := w.deployed[at]
		for _, in := range d.Inputs {
			c := w.m.byID[d.Unit.Chain]
			for i := range c.inputs {
				if c.inputs[i].edge != in.Edge {
					continue
				}
				from := flow.TaskID{Chain: c.inputs[i].from.id, Subtask: in.Producer}
				if count[from] != in.Attempt {
					w.t.Fatalf("%s has read attempt %d of %s, and attempt %d counts", d.Unit, in.Attempt, from, count[from])
				}
			}
		}
	}
}

// lost is an input of a running attempt that is not there, if there is one.
func (w *world) lost(at flow.Attempt) (Source, bool) {
	for _, in := range w.deployed[at].Inputs {
		if w.there[in.Attempt] == "" {
			return in, true
		}
	}
	return Source{}, false
}

// finish ends an attempt as it would end if nothing else happened.
func (w *world) finish(at flow.Attempt) {
	d := w.deployed[at]
	delete(w.live, at)
	if !w.m.Current(at) {
		w.do(w.m.Cancelled(at))
		return
	}
	if in, lost := w.lost(at); lost {
		gone := true
		for _, n := range w.there {
			gone = gone && n != in.Node
		}
		w.do(w.m.LostInput(at, in, gone, outside("not there")))
		return
	}
	w.there[at] = w.executors[d.On]
	w.do(w.m.Done(at, int64(at)))
}

func outside(what string) *flow.Failure {
	return &flow.Failure{Domain: flow.DomainExternal, Retryable: true, Message: what}
}

func (w *world) join() {
	w.last++
	w.executors[w.last] = Node(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(w.t, "node"))
	w.slots[w.last] = rapid.IntRange(1, 3).Draw(w.t, "slots")
	w.do(w.m.Join(w.last, w.executors[w.last], w.slots[w.last]))
}

func TestLosses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var plan strings.Builder
		n := rapid.IntRange(1, 4).Draw(t, "chains")
		for i := range n {
			p := rapid.IntRange(1, 3).Draw(t, "parallelism")
			fmt.Fprintf(&plan, "c%d %d", i, p)
			if i > 0 {
				fmt.Fprintf(&plan, " c%d/rebalance", rapid.IntRange(0, i-1).Draw(t, "from"))
			}
			if i > 1 && rapid.Bool().Draw(t, "join") {
				fmt.Fprintf(&plan, " c%d", rapid.IntRange(0, i-1).Draw(t, "from"))
			}
			fmt.Fprintln(&plan)
		}
		p := rapid.IntRange(1, 3).Draw(t, "parallelism")
		fmt.Fprintf(&plan, "before %d c0\nsink %d before/forward c%d\n", p, p, n-1)
		w := &world{t: t, deployed: map[flow.Attempt]Deploy{}, live: map[flow.Attempt]bool{}, executors: map[Executor]Node{},
			slots: map[Executor]int{}, there: map[flow.Attempt]Node{}}
		w.m = New(planOf(t, plan.String()), Options{First: 1, Restart: job.FixedDelay{}})
		for range rapid.IntRange(0, 60).Draw(t, "events") {
			if w.commit {
				break
			}
			live := slices.Sorted(maps.Keys(w.live))
			switch e := rapid.IntRange(0, 9).Draw(t, "event"); {
			case len(w.executors) == 0 || e == 0:
				w.join()
			case e == 1:
				id := rapid.SampledFrom(slices.Sorted(maps.Keys(w.executors))).Draw(t, "leaves")
				for _, at := range live {
					if w.deployed[at].On == id {
						delete(w.live, at)
					}
				}
				delete(w.executors, id)
				w.do(w.m.Leave(id, outside("gone")))
			case e == 2:
				node := Node(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "loses"))
				maps.DeleteFunc(w.there, func(_ flow.Attempt, n Node) bool { return n == node })
				if rapid.Bool().Draw(t, "told") {
					w.do(w.m.NodeLost(node, outside("gone")))
				}
			case e == 3 && len(w.there) > 0:
				delete(w.there, rapid.SampledFrom(slices.Sorted(maps.Keys(w.there))).Draw(t, "damaged"))
			case e == 4 && len(live) > 0:
				at := rapid.SampledFrom(live).Draw(t, "fails")
				delete(w.live, at)
				w.do(w.m.Failed(at, outside("failed")))
			case len(live) > 0:
				w.finish(rapid.SampledFrom(live).Draw(t, "ends"))
			}
		}
		// From here on nothing is lost any more: it comes to its end, and nothing that was
		// there and counted runs again.
		if len(w.executors) == 0 && !w.commit {
			w.join()
		}
		for steps := 0; !w.commit; steps++ {
			live := slices.Sorted(maps.Keys(w.live))
			if len(live) == 0 || steps > 500 {
				t.Fatalf("after %d steps nothing runs, and the job is not at its end: %+v", steps, w.m.Progress())
			}
			kept := map[flow.Attempt]bool{}
			lost := false
			for _, at := range w.m.Finished() {
				kept[at] = true
				// Sinks have no output that could be missed.
				lost = lost || w.there[at] == "" && len(w.m.byID[w.deployed[at].Unit.Chain].consumers) > 0
			}
			w.finish(live[0])
			if !lost {
				for _, at := range w.m.Finished() {
					delete(kept, at)
				}
				if len(kept) > 0 {
					t.Fatalf("%v have run, and nothing of theirs or before them was lost, and they run again", kept)
				}
			}
		}
		w.do(w.m.Committed())
		if w.end == nil || w.end.Cause != nil || len(w.m.Finished()) != w.m.Progress().Finished {
			t.Fatal("the job has not ended")
		}
	})
}

// TestSplits wants each split to be read by the attempts that count, once, whatever runs
// again.
func TestSplits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parallelism := rapid.IntRange(1, 3).Draw(t, "parallelism")
		s := NewSplits(parallelism, rapid.Bool().Draw(t, "spread"))
		has := make([][]string, parallelism)
		const (
			away = iota
			runs
			finished
		)
		state, ended := make([]int, parallelism), make([]bool, parallelism)
		take := func(ds []Deal) {
			for _, d := range ds {
				if state[d.Subtask] != runs || ended[d.Subtask] {
					t.Fatalf("%s, which does not run", d)
				}
				has[d.Subtask] = append(has[d.Subtask], d.Splits...)
				ended[d.Subtask] = d.End
			}
		}
		found := 0
		find := func() {
			found++
			take(s.Found(fmt.Sprint(found), fmt.Sprint(max(1, found-1))))
		}
		step := func(n int, wild bool) {
			switch {
			case state[n] == away || wild && state[n] == finished:
				state[n], ended[n], has[n] = runs, false, nil
				take(s.Begin(n))
			case ended[n]:
				state[n] = finished
				s.Gone(n, true)
			case wild && rapid.Bool().Draw(t, "fails"):
				state[n] = away
				s.Gone(n, false)
			default:
				take(s.Ask(n))
			}
		}
		for range rapid.IntRange(0, 40).Draw(t, "events") {
			n := rapid.IntRange(-1, parallelism-1).Draw(t, "subtask")
			if n < 0 {
				find()
			} else {
				step(n, true)
			}
		}
		take(s.NoMore())
		for range 4 * (found + 3) {
			for n := range parallelism {
				if state[n] != finished {
					step(n, false)
				}
			}
		}
		read := map[string]int{}
		for n := range parallelism {
			if state[n] != finished {
				t.Fatalf("%d is not finished", n)
			}
			for _, id := range has[n] {
				read[id]++
			}
		}
		for i := range found {
			if id := fmt.Sprint(i + 1); read[id] != 1 {
				t.Fatalf("split %s of %d was read %d times", id, found, read[id])
			}
		}
	})
}
