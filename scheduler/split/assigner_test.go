package split

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"
)

// TestScripts runs the scripts in testdata: one command a line, and the state at the end.
func TestScripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			var a *Assigner
			datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
				var out strings.Builder
				switch d.Cmd {
				case "on-demand", "spread":
					n := 0
					d.ScanArgs(t, "n", &n)
					policy := OnDemand
					if d.Cmd == "spread" {
						policy = Spread
					}
					a = New(policy, n)
				case "do":
				default:
					d.Fatalf(t, "unknown command %s", d.Cmd)
				}
				for line := range strings.Lines(d.Input) {
					fmt.Fprintf(&out, "%s:", strings.TrimSpace(line))
					for i, act := range command(t, d, a, strings.Fields(line)) {
						if i > 0 {
							out.WriteByte(',')
						}
						fmt.Fprintf(&out, " %s", act)
					}
					out.WriteByte('\n')
				}
				return out.String() + a.Describe() + "\n"
			})
		})
	}
}

func command(t *testing.T, d *datadriven.TestData, a *Assigner, f []string) []Action {
	subtask := 0
	if len(f) > 1 && f[0] != "found" {
		if _, err := fmt.Sscan(f[1], &subtask); err != nil {
			d.Fatalf(t, "%q is no subtask", f[1])
		}
	}
	switch f[0] {
	case "found":
		var ids []ID
		for _, s := range f[1:] {
			ids = append(ids, ID(s))
		}
		return a.Found(ids...)
	case "register":
		return a.Register(subtask)
	case "request":
		return a.Request(subtask)
	case "finished":
		return a.Finished(subtask, ID(f[2]))
	case "lost":
		return a.SubtaskLost(subtask)
	case "no-more":
		return a.NoMore()
	}
	d.Fatalf(t, "unknown line %v", f)
	return nil
}

// TestRandom keeps a model of who reads what, made of the actions alone, and
// checks that each split is read by one live subtask at a time and none is
// lost; in the end all are finished and all subtasks know it.
func TestRandom(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 4).Draw(t, "subtasks")
		policy := Policy(rapid.IntRange(0, 1).Draw(t, "policy"))
		a := New(policy, n)
		live, told, asked := make([]bool, n), make([]bool, n), make([]bool, n)
		owner := map[ID]int{}
		finished := map[ID]bool{}
		found := map[ID]bool{}
		noMore := false
		do := func(acts []Action) {
			t.Helper()
			for _, act := range acts {
				t.Logf("  %s", act)
				switch act := act.(type) {
				case Assign:
					if o, owned := owner[act.Split]; owned {
						t.Fatalf("%s: %d has it", act, o)
					}
					if !live[act.Subtask] || finished[act.Split] || !found[act.Split] {
						t.Fatalf("%s: live=%t finished=%t", act, live[act.Subtask], finished[act.Split])
					}
					if policy == OnDemand && !asked[act.Subtask] {
						t.Fatalf("%s: it did not ask", act)
					}
					asked[act.Subtask] = false
					owner[act.Split] = act.Subtask
				case NoMore:
					if told[act.Subtask] || !live[act.Subtask] || !noMore || len(finished) != len(found) {
						t.Fatalf("%s: told=%t live=%t said=%t %d of %d finished", act,
							told[act.Subtask], live[act.Subtask], noMore, len(finished), len(found))
					}
					told[act.Subtask] = true
				}
			}
			// What the assigner thinks is what it said.
			for id := range found {
				o, owned := owner[id]
				if got, ok := a.Owner(id); ok != owned || got != o {
					t.Fatalf("%s: owner %d %t, was said to be %d %t", id, got, ok, o, owned)
				}
			}
			if len(a.Queued())+len(owner)+len(finished) != len(found) {
				t.Fatalf("lost one: %s", a.Describe())
			}
			if f, done := a.Progress(); f != len(found) || done != len(finished) {
				t.Fatalf("progress %d %d", f, done)
			}
			// Nothing waits that need not.
			all := !slices.Contains(live, false)
			if q := len(a.Queued()); q > 0 && (policy == Spread && all || policy == OnDemand && slices.Contains(asked, true)) {
				t.Fatalf("%d splits wait for nothing: %s", q, a.Describe())
			}
		}
		lose := func(i int) {
			for id, o := range owner {
				if o == i {
					delete(owner, id)
				}
			}
			live[i], told[i], asked[i] = false, false, false
			do(a.SubtaskLost(i))
		}
		for range rapid.IntRange(0, 80).Draw(t, "steps") {
			i := rapid.IntRange(0, n-1).Draw(t, "subtask")
			id := ID(rune('a' + rapid.IntRange(0, 11).Draw(t, "split")))
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0, 1:
				t.Logf("found %s", id)
				found[id] = found[id] || !noMore
				if !found[id] {
					delete(found, id)
				}
				do(a.Found(id, id))
			case 2, 3:
				t.Logf("register %d", i)
				live[i] = true
				do(a.Register(i))
			case 4, 5:
				t.Logf("request %d", i)
				asked[i] = asked[i] || live[i] && !told[i]
				do(a.Request(i))
			case 6, 7:
				t.Logf("finished %d %s", i, id)
				if o, ok := owner[id]; ok && o == i {
					delete(owner, id)
					finished[id] = true
				}
				do(a.Finished(i, id))
			case 8:
				t.Logf("lost %d", i)
				lose(i)
			case 9:
				if rapid.IntRange(0, 5).Draw(t, "no more") == 0 {
					t.Logf("no more")
					noMore = true
					do(a.NoMore())
				}
			}
		}
		// To the end, with every subtask there.
		noMore = true
		do(a.NoMore())
		for i := range n {
			live[i] = true
			do(a.Register(i))
		}
		for range len(found) {
			for i := range n {
				asked[i] = asked[i] || !told[i]
				do(a.Request(i))
				for _, id := range a.Owned(i) {
					delete(owner, id)
					finished[id] = true
					do(a.Finished(i, id))
				}
			}
		}
		if !a.Done() || slices.Contains(told, false) || len(finished) != len(found) {
			t.Fatalf("not done: told=%v %s", told, a.Describe())
		}
	})
}

// TestSpreadBalance: whatever is found at whatever time, with all there the subtasks
// differ by one split at most as long as none finishes.
func TestSpreadBalance(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(t, "subtasks")
		a := New(Spread, n)
		next := 0
		for i := range n {
			a.Register(i)
		}
		for range rapid.IntRange(1, 10).Draw(t, "rounds") {
			for range rapid.IntRange(0, 10).Draw(t, "found") {
				a.Found(ID(fmt.Sprint(next)))
				next++
			}
			if rapid.Bool().Draw(t, "lost") {
				i := rapid.IntRange(0, n-1).Draw(t, "subtask")
				before := len(a.Owned(i))
				a.SubtaskLost(i)
				a.Register(i)
				if got := len(a.Owned(i)); got != before {
					t.Fatalf("a subtask that came back has %d splits instead of %d", got, before)
				}
			}
			least, most := next, 0
			for i := range n {
				least, most = min(least, len(a.Owned(i))), max(most, len(a.Owned(i)))
			}
			if most-least > 1 {
				t.Fatalf("not balanced: %s", a.Describe())
			}
		}
	})
}

func TestNewPanics(t *testing.T) {
	for _, f := range []func(){func() { New(OnDemand, 0) }, func() { New(Policy(7), 1) }} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		}()
	}
}

func BenchmarkOnDemand(b *testing.B) {
	b.ReportAllocs()
	const n = 4
	a := New(OnDemand, n)
	for i := range n {
		a.Register(i)
	}
	ids := make([]ID, b.N)
	for i := range ids {
		ids[i] = ID(fmt.Sprint(i))
	}
	b.ResetTimer()
	a.Found(ids...)
	for i := range ids {
		a.Request(i % n)
		a.Finished(i%n, ids[i])
	}
	if !slices.Equal(a.Queued(), []ID{}) {
		b.Fatal("left over")
	}
}
