package operator

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/weirflow/weir/flow"
)

func coProcessOf[K comparable, A, B, Out any](t *testing.T, left func(A) K, right func(B) K,
	make func(*Setup[K]) CoProcessor[K, A, B, Out]) Operator {
	t.Helper()
	decl, err := Declare(make)
	if err != nil {
		t.Fatal(err)
	}
	return NewCoProcess(CoProcessConfig[K, A, B, Out]{Left: mustKey(t, left), Right: mustKey(t, right), Make: make, Declared: decl})
}

func TestCoProcessSharesStateAndTimers(t *testing.T) {
	closed := false
	op := coProcessOf(t, func(v int) int { return v / 10 }, func(s string) int { return len(s) },
		func(s *Setup[int]) CoProcessor[int, int, string, string] {
			sum := ValueState[int](s, "sum")
			side := SideOutput[int](s, "keys")
			return CoProcessor[int, int, string, string]{
				Left: func(c *Keyed[int], v int, out *Emitter[string]) {
					old, _ := sum.Get()
					sum.Set(old + v)
					c.SetTimer(c.Time() + 10)
				},
				Right: func(c *Keyed[int], v string, out *Emitter[string]) {
					n, _ := sum.Get()
					out.Emit(fmt.Sprintf("%s:%d", v, n))
					side.Emit(c.Key)
				},
				Timer: func(c *Keyed[int], tm Timer, out *Emitter[string]) {
					n, _ := sum.Get()
					out.Emit(fmt.Sprintf("key %d: %d at %d", c.Key, n, int64(tm.At)))
					sum.Clear()
				},
				Close: func() error { closed = true; return nil },
			}
		})
	var side collector[int]
	d := newDrive[string](t, op)
	if err := op.Outlet(1).Attach(&side); err != nil {
		t.Fatal(err)
	}
	d.open()
	send(d, 0, at(1, 11), at(2, 12), at(3, 25))
	send(d, 1, at(4, "x"), at(5, "yy"), at(6, "zzz"))
	d.watermark(12)
	send(d, 1, at(20, "a"))
	d.watermark(100)
	vals, times := d.out.take()
	want := []string{"x:23", "yy:25", "zzz:0", "key 1: 23 at 11", "key 1: 0 at 12", "a:0", "key 2: 25 at 13"}
	if !slices.Equal(vals, want) {
		t.Errorf("got  %q\nwant %q", vals, want)
	}
	if want := []flow.Time{4, 5, 6, 11, 12, 20, 13}; !slices.Equal(times, want) {
		t.Errorf("times %v, want %v", times, want)
	}
	if !slices.Equal(side.vals, []int{1, 2, 3, 1}) {
		t.Errorf("side output %v", side.vals)
	}
	if err := op.Close(); err != nil || !closed {
		t.Errorf("close: %v, called %t", err, closed)
	}
}

func TestCoProcessNeedsBoth(t *testing.T) {
	id := func(v int) int { return v }
	op := coProcessOf(t, id, id, func(*Setup[int]) CoProcessor[int, int, int, int] { return CoProcessor[int, int, int, int]{} })
	if err := op.Open(newDrive[int](t, op).ctx); err == nil || !strings.Contains(err.Error(), "Left") {
		t.Errorf("got %v", err)
	}
}

type rule struct {
	Name  string
	Limit int // 0 takes the rule back
}

func rulesOperator(t *testing.T, kept **Broadcast, rules **BroadcastState[string, rule]) Operator {
	t.Helper()
	make := func(s *Setup[int]) BroadcastProcessor[int, int, rule, string] {
		st := NewBroadcastState[string, rule](s, "rules")
		if st != nil && rules != nil {
			*rules = st
		}
		return BroadcastProcessor[int, int, rule, string]{
			Each: func(c *Keyed[int], v int, out *Emitter[string]) {
				st.Each(func(name string, r rule) bool {
					if v > r.Limit {
						out.Emit(fmt.Sprintf("%d>%s", v, name))
						c.SetProcessingTimer(50)
					}
					return true
				})
			},
			Broadcast: func(b *Broadcast, r rule, out *Emitter[string]) {
				if kept != nil {
					*kept = b
				}
				if r.Limit == 0 {
					out.Emit(fmt.Sprintf("without %s: %t", r.Name, st.Delete(b, r.Name)))
					return
				}
				st.Set(b, r.Name, r)
			},
			Timer: func(c *Keyed[int], tm Timer, out *Emitter[string]) { out.Emit(fmt.Sprintf("timer %d", c.Key)) },
		}
	}
	decl, err := Declare(make)
	if err != nil {
		t.Fatal(err)
	}
	if len(decl.States) != 1 || decl.States[0].Kind != "broadcast" {
		t.Errorf("declared %+v", decl.States)
	}
	return NewBroadcast(BroadcastConfig[int, int, rule, string]{Key: mustKey(t, func(v int) int { return v }), Make: make, Declared: decl})
}

func TestBroadcastState(t *testing.T) {
	var st *BroadcastState[string, rule]
	op := rulesOperator(t, nil, &st)
	d := newDrive[string](t, op)
	d.ctx.KeyGroups = flow.KeyGroupRange{First: 40, End: 50}
	d.open()
	sendValues(d, 0, 100)
	sendValues(d, 1, rule{"high", 10}, rule{"low", 2})
	sendValues(d, 0, 1, 5, 20)
	sendValues(d, 1, rule{"low", 0}, rule{"none", 0})
	sendValues(d, 0, 5, 21)
	d.clock(60)
	vals, _ := d.out.take()
	want := []string{"5>low", "20>high", "20>low", "without low: true", "without none: false", "21>high", "timer 5", "timer 20", "timer 21"}
	if !slices.Equal(vals, want) {
		t.Errorf("got  %q\nwant %q", vals, want)
	}
	if _, ok := st.Get("high"); !ok || st.Len() != 1 {
		t.Errorf("get high: %t, %d rules", ok, st.Len())
	}
}

func TestBroadcastStateIsWrittenInBroadcastOnly(t *testing.T) {
	var kept *Broadcast
	var st *BroadcastState[string, rule]
	d := newDrive[string](t, rulesOperator(t, &kept, &st)).open()
	sendValues(d, 1, rule{"high", 10})
	defer func() {
		if p := recover(); p == nil || !strings.Contains(fmt.Sprint(p), "outside a call of Broadcast") {
			t.Errorf("panic %v", p)
		}
	}()
	st.Set(kept, "late", rule{})
}
