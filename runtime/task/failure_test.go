package task

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/shuffle"
)

// provoke makes every call happen once.
func provoke(r *rig) {
	r.run()
	if r.Context().Err() != nil {
		return
	}
	r.put(0, 0, 1)
	r.Mail(func() error { r.WakeAt(r.probes[0], 1); r.WakeAt(r.probes[1], 1); return nil })
	r.control(0, 0, flow.Watermark(5), barrier(1))
	time.Sleep(time.Millisecond)
	r.Committed(1)
	synctest.Wait()
	r.control(0, 0, end)
	synctest.Wait()
	r.Finish()
}

// TestFailuresNameTheOperator: in each call of each operator, by an error and by a
// panic. The task ends, closes everything once, and says who it was.
func TestFailuresNameTheOperator(t *testing.T) {
	wrong := errors.New("wrong")
	for _, call := range []string{"open", "receive", "watermark", "barrier", "committed", "time", "end", "close"} {
		for i, name := range []string{"a", "b"} {
			for _, panics := range []bool{false, true} {
				inBubble(t, fmt.Sprintf("%s of %s/panic=%t", call, name, panics), func(t *testing.T) {
					r := newRig(t, "a b", nil, 1)
					p := r.probes[i]
					p.on = func(c string) error {
						if c != call {
							return nil
						}
						if c == "receive" {
							p.failing = "the record in hand"
						}
						if panics {
							panic(wrong)
						}
						return wrong
					}
					provoke(r)
					err := <-r.done
					var f *flow.Failure
					if !errors.As(err, &f) || !errors.Is(err, wrong) {
						t.Fatalf("got %v", err)
					}
					if f.Name != name || f.Operator != flow.OperatorID(name) || f.Task != r.ID() || panics != (f.Stack != "") {
						t.Errorf("operator %q, task %s, stack %t: %v", f.Name, f.Task, f.Stack != "", err)
					}
					if panics && call == "receive" && f.Domain != flow.DomainUser {
						t.Error(f.Domain)
					}
					closes(t, r, call == "open" && name == "a")
				})
			}
		}
	}
}

// closes checks that what was opened is closed once, in reverse.
func closes(t *testing.T, r *rig, onlyA bool) {
	t.Helper()
	var got []string
	for _, l := range strings.Split(r.take(), "; ") {
		if strings.HasSuffix(l, "close") || strings.HasSuffix(l, "closed") {
			got = append(got, l)
		}
	}
	want := []string{"b close", "a close", "state closed"}
	if onlyA {
		want = want[1:]
	}
	if !slices.Equal(got, want) {
		t.Errorf("closed: %q", got)
	}
	if r.Mail(func() error { t.Error("mail to a task that has ended"); return nil }) {
		t.Error("a task that has ended takes mail")
	}
	r.InjectBarrier(flow.Barrier{Epoch: 99})
	if err := r.in[0][0].Send(t.Context(), &flow.Batch[int]{Values: []int{1}}, 1); !errors.Is(err, shuffle.ErrClosed) {
		t.Errorf("its gate is open: %v", err)
	}
	if r.Context().Err() == nil {
		t.Error("its context has not ended")
	}
}

func TestFailuresOfMailAndSources(t *testing.T) {
	inBubble(t, "mail", func(t *testing.T) {
		r := newRig(t, "a b", nil, 1).run()
		r.Mail(func() error { panic("mail") })
		if err := <-r.done; err == nil || !strings.Contains(err.Error(), "panic outside user code: mail") {
			t.Error(err)
		}
		closes(t, r, false)
	})
	// A reader that panicked may be in any state: to ask it where it was must not
	// end the process.
	inBubble(t, "a source that cannot tell its place", func(t *testing.T) {
		f := &fakeSource{fail: fmt.Errorf("%w: of the user", operator.ErrUser)}
		r := newRig(t, "", func(r *rig) operator.Operator { f.j = r.journal; return f }).run()
		err := <-r.done
		if err == nil || !strings.Contains(err.Error(), `operator "source"`) || !strings.Contains(err.Error(), "of the user") ||
			strings.Count(err.Error(), "source at") != 1 {
			t.Error(err)
		}
		if strings.Count(r.take(), "state closed") != 1 {
			t.Error("state was not closed once")
		}
	})
	inBubble(t, "a split that is refused", func(t *testing.T) {
		f := &fakeSource{}
		r := newRig(t, "", func(r *rig) operator.Operator { f.j = r.journal; return f }).run()
		f.fail = fmt.Errorf("%w: no such split", operator.ErrUser)
		r.AddSplits([]operator.Split{{ID: "x"}})
		err := <-r.done
		if err == nil || strings.Count(err.Error(), "source at") != 1 || strings.Count(err.Error(), "operator") != 1 {
			t.Error(err)
		}
	})
}

func TestCancel(t *testing.T) {
	for _, call := range []string{"open", "receive", "watermark", "barrier", "close"} {
		inBubble(t, "in "+call, func(t *testing.T) {
			r := newRig(t, "a b", nil, 1)
			r.probes[1].on = func(c string) error {
				if c == call {
					r.Cancel()
					if c != "close" {
						<-r.Context().Done()
						return context.Cause(r.Context())
					}
				}
				return nil
			}
			provoke(r)
			err := <-r.done
			if finished := call == "close"; finished != (err == nil) || err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			closes(t, r, false)
		})
	}
	inBubble(t, "before it runs", func(t *testing.T) {
		r := newRig(t, "a b", nil, 1)
		r.Cancel()
		r.run()
		if err := <-r.done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		closes(t, r, false)
	})
	// The consumer has failed: the task waits for its own end.
	inBubble(t, "after its consumer has gone", func(t *testing.T) {
		r := newRig(t, "a b", nil, 1)
		r.probes[1].on = func(c string) error {
			if c == "receive" {
				return fmt.Errorf("sending: %w", shuffle.ErrClosed)
			}
			return nil
		}
		r.run()
		r.put(0, 0, 1)
		synctest.Wait()
		select {
		case err := <-r.done:
			t.Fatalf("it did not wait: %v", err)
		default:
		}
		r.Cancel()
		if err := <-r.done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		closes(t, r, false)
	})
}

func TestYield(t *testing.T) {
	// Two pieces of mail are there. The first waits for what the second does.
	inBubble(t, "in mail", func(t *testing.T) {
		r := newRig(t, "a", nil, 1).run()
		second := false
		r.Mail(func() error {
			r.Mail(func() error { return r.Yield(func() bool { return second }) })
			r.Mail(func() error { second = true; r.add("second"); return nil })
			return nil
		})
		r.Mail(func() error { r.add("third"); return nil })
		synctest.Wait()
		if got := r.take(); !strings.HasSuffix(got, "third; second") {
			t.Error(got)
		}
		if err := r.end(); err != nil {
			t.Error(err)
		}
	})
	// An operator that waits in the middle of a barrier gets mail, and no barrier.
	inBubble(t, "in a barrier", func(t *testing.T) {
		r := newRig(t, "a", nil, 1)
		ready := false
		r.probes[0].on = func(c string) error {
			if c == "barrier" {
				return r.Yield(func() bool { return ready })
			}
			return nil
		}
		r.run()
		r.take()
		r.control(0, 0, barrier(1))
		r.want("a barrier 1")
		r.Committed(1)
		r.Finish()
		r.Mail(func() error { r.add("mail"); return nil })
		r.want("mail")
		r.Mail(func() error { ready = true; return nil })
		r.want("out checkpoint 1; ack 1 [a@1]; a committed 1; a close; state closed")
		if err := <-r.done; err != nil {
			t.Error(err)
		}
	})
	inBubble(t, "cancelled", func(t *testing.T) {
		r := newRig(t, "a", nil, 1).run()
		r.Mail(func() error { return r.Yield(func() bool { return false }) })
		synctest.Wait()
		r.Cancel()
		if err := <-r.done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	inBubble(t, "bad mail", func(t *testing.T) {
		r := newRig(t, "a", nil, 1).run()
		r.Mail(func() error { return r.Yield(func() bool { return false }) })
		r.Mail(func() error { return errors.New("bad mail") })
		if err := <-r.done; err == nil || !strings.Contains(err.Error(), "bad mail") {
			t.Error(err)
		}
	})
}

func TestMailboxKeepsOrderAndForgets(t *testing.T) {
	var m mailbox
	next, got := 0, 0
	for range 1000 {
		for range 3 {
			n := next
			next++
			m.put(func() error {
				if n != got {
					t.Fatalf("%d instead of %d", n, got)
				}
				got++
				return nil
			})
		}
		for range 2 {
			if err := m.take()(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 1000 { // it is never empty, and must not remember what it gave
		m.put(func() error { return nil })
		m.take()
	}
	if c := len(m.mu.queue); c > 2*1000+200 {
		t.Errorf("%d of 1000 places", c)
	}
	for m.take() != nil {
	}
	if m.pending() {
		t.Error("an empty box is pending")
	}
}
