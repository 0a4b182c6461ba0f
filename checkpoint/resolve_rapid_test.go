package checkpoint

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow"
)

// drawPlan groups operators o0..on into chains. Those not in keep are left out.
func drawPlan(t *rapid.T, maxParallelism int, operators []string, kinds map[string]Exchange) Target {
	p := Target{MaxParallelism: maxParallelism}
	for i, o := range operators {
		op := TargetOperator{ID: flow.OperatorID(o), Source: strings.HasPrefix(o, "source")}
		head := len(p.Chains) == 0 || op.Source || kinds[o] != ExchangeForward || rapid.Bool().Draw(t, "head")
		if !op.Source {
			op.Inputs = []TargetInput{{Port: 0, Index: 0, From: flow.OperatorID(operators[max(0, i-1)]), Exchange: kinds[o]}}
		}
		if head {
			p.Chains = append(p.Chains, TargetChain{ID: flow.ChainID(o), Parallelism: rapid.IntRange(1, min(5, maxParallelism)).Draw(t, "parallelism")})
		}
		c := &p.Chains[len(p.Chains)-1]
		c.Operators = append(c.Operators, op)
	}
	return p
}

// TestResolveDealsAllOut checks on random plans that nothing of a snapshot is lost
// and nothing is doubled, but as its mode says.
func TestResolveDealsAllOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		maxParallelism := rapid.IntRange(1, 40).Draw(t, "max")
		operators := []string{"source0", "o1", "o2", "source3", "o4"}
		kinds := map[string]Exchange{}
		for _, o := range operators {
			kinds[o] = rapid.SampledFrom([]Exchange{ExchangeForward, ExchangeHash, ExchangeRebalance, ExchangeBroadcast}).Draw(t, "kind")
		}
		was := drawPlan(t, maxParallelism, operators, kinds)
		m := manifestOf(was)
		flying := saveAll(t, m, was, kinds)
		if rapid.Bool().Draw(t, "changed") {
			operators = slices.Insert(slices.Clone(operators), 1, "new")
		}
		is := drawPlan(t, maxParallelism, operators, kinds)
		for i := range is.Chains {
			for j := range is.Chains[i].Operators {
				// In-flight records need a gate; the scripts have the refusal.
				if j > 0 && flying[string(is.Chains[i].Operators[j].ID)] {
					t.Skip("fused")
				}
			}
		}
		r, err := Resolve(m, is, ResolveOptions{})
		if err != nil {
			t.Fatal(err)
		}
		checkKeyed(t, m, is, r)
		checkOperators(t, m, is, r)
		checkSources(t, m, r)
		checkFlight(t, m, was, is, r)
	})
}

// saveAll puts something of each sort into a manifest.
func saveAll(t *rapid.T, m *Manifest, p Target, kinds map[string]Exchange) (flying map[string]bool) {
	flying = map[string]bool{}
	for _, c := range p.Chains {
		for j, o := range c.Operators {
			id := string(o.ID)
			tasks := tasksOf(m, p, id)
			if rapid.Bool().Draw(t, "keyed") {
				saveLine(t, m, p, []string{"keyed", id, "a", "b"})
			}
			for _, mode := range []Mode{Split, Union, Broadcast} {
				for s, task := range tasks {
					st := OperatorState{Operator: id, Name: fmt.Sprint("mode", mode), Mode: mode}
					for n := range rapid.IntRange(0, 3).Draw(t, "items") {
						st.Items = append(st.Items, fmt.Appendf(nil, "%s/%d/%d", id, s, n))
					}
					task.Operators = append(task.Operators, st)
				}
			}
			if o.Source {
				source := SourceSnapshot{Operator: id, Done: rapid.Bool().Draw(t, "done"), Assigned: []string{"gone"}}
				n := 0
				split := func() []byte {
					n++
					return AppendSplit(nil, &SavedSplit{ID: fmt.Sprint(n)})
				}
				for _, task := range tasks {
					st := OperatorState{Operator: id, Name: "splits", Mode: Splits}
					for range rapid.IntRange(0, 2).Draw(t, "splits") {
						st.Items = append(st.Items, split())
						source.Assigned = append(source.Assigned, fmt.Sprint(n))
					}
					task.Operators = append(task.Operators, st)
				}
				for range rapid.IntRange(0, 2).Draw(t, "unassigned") {
					source.Unassigned = append(source.Unassigned, split())
				}
				source.Assigned = rapid.Permutation(source.Assigned).Draw(t, "order")
				m.Sources = append(m.Sources, source)
			}
			if j > 0 || o.Source || rapid.Bool().Draw(t, "aligned") {
				continue
			}
			flying[id] = true
			for s, task := range tasks {
				task.InFlight = &File{Blob: task.Task().String()}
				for producer := range 2 {
					n := int64(rapid.IntRange(0, 3).Draw(t, "records"))
					task.Channels = append(task.Channels, Channel{To: id, Exchange: uint8(kinds[id]), Producer: producer,
						Records: n, Offset: task.InFlight.Size, Length: n})
					task.InFlight.Size += n
					task.Books = append(task.Books, Entry{Account: AccountQueued, Operator: id, Producer: producer, Consumer: s,
						Records: n, Sum: Sum{Low: uint64(n)}})
				}
			}
		}
	}
	return flying
}

// checkKeyed: every key group of every state goes to the one task that owns it.
func checkKeyed(t *rapid.T, m *Manifest, is Target, r *Restore) {
	type cell struct {
		op string
		g  int
	}
	want, got := map[cell]int{}, map[cell]int{}
	for _, s := range m.Tasks {
		if s.Keyed != nil {
			for _, st := range s.Keyed.States {
				for g := int(s.First); g < int(s.End); g++ {
					want[cell{st.Operator, g}] = 1
				}
			}
		}
	}
	for _, c := range is.Chains {
		for s := range c.Parallelism {
			groups := flow.RangeOf(is.MaxParallelism, c.Parallelism, s)
			task := r.Tasks[flow.TaskID{Chain: c.ID, Subtask: s}]
			for _, k := range task.Keyed {
				ops := map[string]bool{}
				for _, st := range k.Keyed.States {
					if k.Operators == nil || slices.Contains(k.Operators, st.Operator) {
						ops[st.Operator] = true
					}
				}
				for op := range ops {
					if !slices.ContainsFunc(c.Operators, func(o TargetOperator) bool { return string(o.ID) == op }) {
						t.Fatalf("%s/%d takes the state of %s", c.ID, s, op)
					}
					for g := max(k.First, uint16(groups.First)); g < min(k.End, uint16(groups.End)); g++ {
						got[cell{op, int(g)}]++
					}
				}
			}
			if task.InPlace(groups) && (len(task.Keyed) != 1 || task.Keyed[0].Operators != nil) {
				t.Fatalf("%s/%d in place: %+v", c.ID, s, task.Keyed)
			}
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("key groups by operator: %v, want %v", got, want)
	}
}

func checkOperators(t *rapid.T, m *Manifest, is Target, r *Restore) {
	type state struct {
		op, name string
	}
	was := map[state]*stateOf{}
	for _, s := range m.Tasks {
		for _, o := range s.Operators {
			k := state{o.Operator, o.Name}
			if was[k] == nil {
				was[k] = &stateOf{mode: o.Mode}
			}
			was[k].parts = append(was[k].parts, o.Items)
		}
	}
	for k, w := range was {
		if w.mode == Splits {
			continue
		}
		var parts [][][]byte
		for _, c := range is.Chains {
			if !slices.ContainsFunc(c.Operators, func(o TargetOperator) bool { return string(o.ID) == k.op }) {
				continue
			}
			for s := range c.Parallelism {
				var items [][]byte
				for _, o := range r.Tasks[flow.TaskID{Chain: c.ID, Subtask: s}].Operators {
					if o.Operator == k.op && o.Name == k.name {
						items = append(items, o.Items...)
					}
				}
				parts = append(parts, items)
			}
		}
		for i, p := range parts {
			switch {
			case w.mode == Union:
				wantItems(t, p, slices.Concat(w.parts...))
			case w.mode == Broadcast && len(parts) != len(w.parts):
				wantItems(t, p, w.parts[0])
			case len(parts) == len(w.parts):
				wantItems(t, p, w.parts[i])
			}
		}
		if all := slices.Concat(w.parts...); w.mode == Split && len(parts) != len(w.parts) {
			for i := range all { // round robin, in order
				if got := parts[i%len(parts)][i/len(parts)]; string(got) != string(all[i]) {
					t.Fatalf("item %d of %v is %s", i, k, got)
				}
			}
			wantCount(t, len(slices.Concat(parts...)), len(all))
		}
	}
}

func wantItems(t *rapid.T, got, want [][]byte) {
	if fmt.Sprintf("%s", got) != fmt.Sprintf("%s", want) {
		t.Fatalf("items %s, want %s", got, want)
	}
}

func wantCount(t *rapid.T, got, want int) {
	if got != want {
		t.Fatalf("%d items, want %d", got, want)
	}
}

func splitID(t *rapid.T, b []byte) string {
	sp, err := DecodeSplit(b)
	if err != nil {
		t.Fatal(err)
	}
	return sp.ID
}

func checkSources(t *rapid.T, m *Manifest, r *Restore) {
	for _, s := range m.Sources {
		var want [][]byte
		for _, task := range m.Tasks {
			for _, o := range task.Operators {
				if o.Mode == Splits && o.Operator == s.Operator {
					want = append(want, o.Items...)
				}
			}
		}
		got := r.Sources[flow.OperatorID(s.Operator)]
		// Those of the readers are in the order in which they were found.
		slices.SortFunc(want, func(a, b []byte) int {
			return slices.Index(s.Assigned, splitID(t, a)) - slices.Index(s.Assigned, splitID(t, b))
		})
		wantItems(t, got.Splits, append(want, s.Unassigned...))
		if got.Done != s.Done || fmt.Sprint(got.Finished) != "[gone]" {
			t.Fatalf("%+v of %+v", got, s)
		}
	}
}

// checkFlight: records that were under way, which are their channel and their number
// here, go to the task of their key group, to one task, or to all.
func checkFlight(t *rapid.T, m *Manifest, was, is Target, r *Restore) {
	replayed := map[string]tally{}
	for i := range m.Tasks {
		s := &m.Tasks[i]
		for _, ch := range s.Channels {
			var c *TargetChain
			for j := range is.Chains {
				if string(is.Chains[j].Operators[0].ID) == ch.To {
					c = &is.Chains[j]
				}
			}
			var takers []int
			covered := map[flow.KeyGroup]int{}
			for sub := range c.Parallelism {
				groups := flow.RangeOf(is.MaxParallelism, c.Parallelism, sub)
				for _, f := range r.Tasks[flow.TaskID{Chain: c.ID, Subtask: sub}].Channels {
					if f.Channel != ch || f.File.Blob != s.InFlight.Blob {
						continue
					}
					takers = append(takers, sub)
					for g := s.KeyGroups().First; g < s.KeyGroups().End; g++ {
						if !f.Filter || groups.Contains(g) {
							covered[g]++
							if !groups.Contains(g) && ch.Exchange == uint8(ExchangeHash) {
								t.Fatalf("%s/%d takes key group %d", c.ID, sub, g)
							}
						}
					}
				}
			}
			times := 1
			switch same := s.Parallelism == c.Parallelism; {
			case ch.Records == 0:
				times = 0
				wantCount(t, len(takers), 0)
			case Exchange(ch.Exchange) == ExchangeHash:
				for g := s.KeyGroups().First; g < s.KeyGroups().End; g++ {
					wantCount(t, covered[g], 1)
				}
			case Exchange(ch.Exchange) == ExchangeBroadcast && !same:
				times = 0
				if s.Subtask == 0 {
					times = c.Parallelism
				}
				wantCount(t, len(takers), times)
			case same:
				if !slices.Equal(takers, []int{s.Subtask}) {
					t.Fatalf("channel %+v of %s goes to %d", ch, s.Task(), takers)
				}
			default:
				wantCount(t, len(takers), 1)
			}
			sum := replayed[ch.To]
			for range times {
				sum.add(tally{ch.Records, Sum{Low: uint64(ch.Records)}})
			}
			replayed[ch.To] = sum
		}
	}
	for _, e := range r.Replay {
		if got := (tally{e.Records, e.Sum}); got != replayed[e.Operator] {
			t.Fatalf("%+v, want %+v", e, replayed[e.Operator])
		}
		delete(replayed, e.Operator)
	}
	for op, n := range replayed {
		if n.records > 0 {
			t.Fatalf("nothing said of %d records replayed to %s", n.records, op)
		}
	}
}
