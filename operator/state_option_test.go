package operator

import (
	"strings"
	"testing"
	"time"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/state"
)

// TestExpireAfter counts records by key in a state that forgets, by the task's clock.
func TestExpireAfter(t *testing.T) {
	mk := func(s *Setup[int]) Processor[int, int, int] {
		n := ReducingState(s, "n", func(a, b int) int { return a + b }, ExpireAfter(time.Second))
		seen := MapState[int, bool](s, "seen", ExpireAfterAccess(time.Second))
		last := ListState[int](s, "last", ExpireAfter(time.Second))
		return Processor[int, int, int]{Each: func(c *Keyed[int], v int, out *Emitter[int]) {
			n.Add(1)
			seen.Set(v, true)
			last.Append(v)
			sum, _ := n.Get()
			out.Emit(sum*100 + seen.Len()*10 + len(last.Get()))
		}}
	}
	decl, err := Declare(mk)
	if err != nil {
		t.Fatal(err)
	}
	d := newDrive[int](t, NewProcess(ProcessConfig[int, int, int]{Key: mustKey(t, func(v int) int { return v % 2 }), Make: mk, Declared: decl})).open()
	sendValues(d, 0, 2, 4, 3)
	d.clock(flow.Span(900 * time.Millisecond))
	sendValues(d, 0, 2)
	d.clock(flow.Span(1100 * time.Millisecond))
	sendValues(d, 0, 2, 3)
	d.clock(flow.Span(3 * time.Second))
	sendValues(d, 0, 2)
	want := []int{111, 222, 111, 323, 414, 111, 111}
	got, _ := d.out.take()
	for i := range want {
		if i >= len(got) || got[i] != want[i] {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
}

func TestStateOptionsAreRefused(t *testing.T) {
	for want, opts := range map[string][]StateOption{
		"two options":       {ExpireAfter(time.Second), ExpireAfterAccess(time.Second)},
		"after no time":     {ExpireAfter(0)},
		"at least":          {ExpireAfter(-time.Second)},
		"an option is nil":  {nil},
		"another type":      {MigrateFrom(func(string) string { return "" })},
		"older type":        {MigrateFrom(func(chan int) int { return 0 })},
		"cannot be encoded": {MigrateFrom(func(func()) int { return 0 })},
	} {
		_, err := Declare(func(s *Setup[int]) state.Value[int] { return ValueState[int](s, "count", opts...) })
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `"count"`) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
