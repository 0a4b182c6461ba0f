package checkpoint

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow"
)

// topology draws tasks in a row, each of which reads some of those before it.
func topology(t *rapid.T) (names []string, inputs [][]int) {
	n := rapid.IntRange(1, 7).Draw(t, "tasks")
	for i := range n {
		names = append(names, string(rune('a'+i)))
		var in []int
		if i > 0 {
			in = rapid.SliceOfNDistinct(rapid.IntRange(0, i-1), 0, min(i, 3), rapid.ID[int]).Draw(t, "inputs of "+names[i])
		}
		inputs = append(inputs, in)
	}
	return names, inputs
}

// TestProtocolRandom runs the whole protocol over a random topology, delivers in
// random order, doubles messages, loses those whose loss the protocol is to bear,
// and lets tasks decline. The sim checks what is committed; in the end everything is
// delivered and the job has to complete.
func TestProtocolRandom(t *testing.T) {
	t.Parallel()
	epochs := 0
	run := func(t *rapid.T) {
		names, inputs := topology(t)
		s, err := newSim(names, inputs, Options{
			Timeout: time.Minute, TolerableFailures: 1 << 30,
			Interval:      time.Duration(rapid.IntRange(0, 2).Draw(t, "interval")) * 30 * time.Second,
			MinPause:      time.Duration(rapid.IntRange(0, 1).Draw(t, "pause")) * 10 * time.Second,
			MaxConcurrent: rapid.IntRange(1, 3).Draw(t, "concurrent"),
		})
		if err != nil {
			t.Fatal(err)
		}
		s.log = t.Logf
		check := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		check(s.do(s.co.Start(s.now)))
		pick := func() int { return rapid.IntRange(0, len(s.pool)-1).Draw(t, "message") }
		for range rapid.IntRange(0, 120).Draw(t, "steps") {
			switch rapid.IntRange(0, 12).Draw(t, "step") {
			case 0, 1, 2:
				if ws := s.readable(); len(ws) > 0 {
					check(s.read(ws[rapid.IntRange(0, len(ws)-1).Draw(t, "wire")]))
				}
			case 3, 4, 5:
				if len(s.pool) > 0 {
					check(s.take(pick(), false))
				}
			case 6:
				// Twice. The word of the shell that a commit is done comes once.
				if len(s.pool) > 0 {
					i := pick()
					check(s.take(i, s.pool[i].kind != "committed"))
				}
			case 7:
				if len(s.pool) > 0 {
					i := pick()
					if m := s.pool[i]; m.kind != "committed" && m.kind != "abort" {
						s.log("lost: %s", m)
						s.pool = slices.Delete(s.pool, i, i+1)
					}
				}
			case 8, 9:
				n := s.nodes[rapid.IntRange(0, len(s.nodes)-1).Draw(t, "task")]
				if n.source() {
					s.emit(n)
				}
			case 10:
				check(s.tick(time.Duration(rapid.IntRange(0, 40).Draw(t, "seconds")) * time.Second))
			case 11:
				kind := flow.BarrierKind(rapid.IntRange(0, 1).Draw(t, "kind"))
				acts, err := s.co.Trigger(kind, s.now)
				check(err)
				check(s.do(acts))
			case 12:
				// A decline out of the blue, perhaps after the acknowledgement.
				if e := s.co.next - flow.Epoch(rapid.IntRange(1, 3).Draw(t, "back")); e >= 1 && e < s.co.next {
					n := s.nodes[rapid.IntRange(0, len(s.nodes)-1).Draw(t, "task")]
					s.pool = append(s.pool, &message{kind: "decline", task: n, barrier: flow.Barrier{Epoch: e}, reason: "full"})
				}
			}
		}
		for _, n := range s.nodes {
			if n.source() {
				s.end(n)
			}
		}
		acts, err := s.co.Trigger(flow.BarrierFinal, s.now)
		check(err)
		check(s.do(acts))
		for range 10 {
			check(s.run(nil))
			if s.co.Done() {
				break
			}
			next, ok := s.co.Next()
			if !ok {
				t.Fatalf("nothing more will happen:\n%s", s.co.Describe())
			}
			check(s.tick(max(0, time.Duration(next-s.now)*time.Microsecond)))
		}
		if !s.complete {
			t.Fatalf("not complete:\n%s", s.co.Describe())
		}
		for _, n := range s.nodes {
			if _, aligning := n.aligner.Aligning(); aligning || !n.done || n.prepared.Len() > 0 || len(n.buffer) > 0 {
				t.Fatalf("%s is left: done=%t prepared=%d buffer=%v %s",
					n.id, n.done, n.prepared.Len(), n.buffer, n.aligner.Describe())
			}
		}
		epochs += s.commits
	}
	// A run takes a tenth of a millisecond, and the bad orders are rare.
	for range 30 {
		rapid.Check(t, run)
	}
	t.Logf("%d epochs committed", epochs)
	if epochs < 3000 {
		t.Errorf("only %d epochs were committed; the test does not test much", epochs)
	}
}

// TestAlignerRandom feeds an aligner anything at all.
func TestAlignerRandom(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 4).Draw(t, "channels")
		a := NewAligner(n)
		last := flow.Epoch(0)
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			e := flow.Epoch(rapid.IntRange(1, 8).Draw(t, "epoch"))
			ch := rapid.IntRange(0, n-1).Draw(t, "channel")
			blocked := false
			for i := range n {
				blocked = blocked || a.Blocked(i)
			}
			var d Decision
			if rapid.IntRange(0, 4).Draw(t, "abort") == 0 {
				d = a.Abort(e)
			} else {
				d = a.Barrier(ch, flow.Barrier{Epoch: e})
			}
			if d.Unblock && !blocked {
				t.Fatalf("unblock, and nothing was blocked: %s", d)
			}
			current, aligning := a.Aligning()
			count := 0
			for i := range n {
				if a.Blocked(i) {
					count++
				}
			}
			switch {
			case aligning && (count == 0 || count == n):
				t.Fatalf("aligning with %d of %d blocked: %s", count, n, a.Describe())
			case !aligning && count > 0:
				t.Fatalf("blocked for nothing: %s", a.Describe())
			case aligning && current.Epoch <= a.Last():
				t.Fatalf("aligning an epoch that is over: %s", a.Describe())
			case d.Verdict == Wait && !a.Blocked(ch):
				t.Fatalf("waiting and not blocked: %s", a.Describe())
			case a.Last() < last:
				t.Fatalf("last goes back: %s", a.Describe())
			case d.Verdict == Aligned && (d.Barrier.Epoch != a.Last() || a.Last() == last):
				t.Fatalf("aligned %s after %d: %s", d.Barrier, last, a.Describe())
			}
			last = a.Last()
		}
	})
}

func TestPrepared(t *testing.T) {
	var p Prepared
	p.Add(Committable{Epoch: 1}, Committable{Epoch: 2})
	p.Add(Committable{Epoch: 2}, Committable{Epoch: 4})
	for e, want := range []int{0, 1, 3, 3, 4} {
		if got := len(p.For(flow.Epoch(e))); got != want {
			t.Errorf("for epoch %d: %d, want %d", e, got, want)
		}
	}
	ack := p.For(2)
	p.Committed(1)
	p.Committed(1)
	p.Committed(3)
	if p.Len() != 1 || p.For(4)[0].Epoch != 4 {
		t.Errorf("left: %v", p.For(4))
	}
	if len(ack) != 3 || ack[0].Epoch != 1 {
		t.Errorf("an acknowledgement changed: %v", ack)
	}
	defer func() {
		if recover() == nil {
			t.Error("an epoch that goes back did not panic")
		}
	}()
	p.Add(Committable{Epoch: 3})
}

func TestStrings(t *testing.T) {
	if s := Verdict(9).String(); s != "verdict(9)" {
		t.Error(s)
	}
	var many []flow.TaskID
	for i := range 10 {
		many = append(many, flow.TaskID{Chain: "m", Subtask: i})
	}
	if s := joinTasks(many); s != "m/0 m/1 m/2 m/3 m/4 m/5 m/6 m/7 and 2 more" {
		t.Error(s)
	}
}

func BenchmarkAligner(b *testing.B) {
	a := NewAligner(16)
	b.ReportAllocs()
	for e := flow.Epoch(1); b.Loop(); e++ {
		for ch := range 16 {
			a.Barrier(ch, flow.Barrier{Epoch: e})
		}
	}
}
