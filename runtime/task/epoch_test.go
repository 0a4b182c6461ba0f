package task

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/state"
)

// slowStore is a store whose snapshots are written when the test says so.
type slowStore struct {
	state.Store
	r      *rig
	none   bool   // it has no states
	freeze error  // of Freeze
	broken error  // of Err
	steps  int    // that are to be done
	notify func() // what the task gave
	writes chan func() error
	zs     []*slowSnapshot
}

func (s *slowStore) Err() error      { s.r.Lock(); defer s.r.Unlock(); return s.broken }
func (s *slowStore) Notify(f func()) { s.notify = f }

func (s *slowStore) Step() bool {
	s.r.Lock()
	defer s.r.Unlock()
	if s.steps > 0 {
		s.steps--
		s.r.lines = append(s.r.lines, "step")
	}
	return s.steps > 0
}

func (s *slowStore) Freeze(form state.Form) (state.Snapshot, error) {
	s.r.add("freeze %s", form)
	z := &slowSnapshot{s: s, form: form, closed: make(chan struct{})}
	s.zs = append(s.zs, z)
	return z, s.freeze
}

type slowSnapshot struct {
	s      *slowStore
	form   state.Form
	closed chan struct{}
}

func (z *slowSnapshot) Form() state.Form { return z.form }
func (z *slowSnapshot) Close()           { z.s.r.add("snapshot closed"); close(z.closed) }

func (z *slowSnapshot) States() []state.Stored {
	if z.s.none {
		return nil
	}
	return []state.Stored{{Descriptor: state.Descriptor{Operator: "a", Name: "n", Kind: state.KindValue}, Schema: state.Schema{Kind: state.KindValue}}}
}

// Write ends when the test has sent what it returns, or the snapshot is closed. Its
// context does not end it, so that the task has to close it.
func (z *slowSnapshot) Write(_ context.Context, to state.Files) error {
	z.s.r.add("writing")
	w, err := to.Create("f")
	if err != nil {
		return err
	}
	select {
	case f := <-z.s.writes:
		return errors.Join(f(), w.Close())
	case <-z.closed:
		return errors.New("it was closed")
	}
}

// shelf is Snapshots that keeps names.
type shelf struct{ r *rig }

type shelved struct {
	r *rig
	e flow.Epoch
	f []checkpoint.File
}

func (s shelf) Begin(_ context.Context, e flow.Epoch) SnapshotFiles { return &shelved{r: s.r, e: e} }

func (s *shelved) Create(name string) (io.WriteCloser, error) { return &shelvedFile{s, name}, nil }
func (s *shelved) Link(name, _ string) error                  { return s.add(name) }
func (s *shelved) Done() ([]checkpoint.File, int64, error) {
	return s.f, int64(10 * len(s.f)), s.r.unsafe
}
func (s *shelved) Abort() { s.r.add("files of %d dropped", s.e) }
func (s *shelved) add(name string) error {
	s.f = append(s.f, checkpoint.File{Name: name, Blob: fmt.Sprintf("%d/%s", s.e, name)})
	return nil
}

type shelvedFile struct {
	s    *shelved
	name string
}

func (f *shelvedFile) Write(b []byte) (int, error) { return len(b), nil }
func (f *shelvedFile) Close() error                { return f.s.add(f.name) }

// saving is a rig that saves snapshots.
type saving struct {
	*rig
	store *slowStore
	acked []*checkpoint.TaskSnapshot
}

func newSaving(t *testing.T, names string, source func(*rig) operator.Operator, gates ...int) *saving {
	s := &saving{}
	s.rig = newRigWith(t, names, source, func(r *rig, c *Config) {
		s.store = &slowStore{Store: r.store, r: r, writes: make(chan func() error)}
		c.State = func(context.Context) (state.Store, error) { return s.store, nil }
		c.Snapshots = shelf{r}
		ack := c.Listener.Ack
		c.Listener.Ack = func(e flow.Epoch, p []checkpoint.Committable, z *checkpoint.TaskSnapshot) {
			s.acked = append(s.acked, z)
			ack(e, p, z)
		}
		c.Listener.Decline = func(e flow.Epoch, why string) { r.add("decline %d: %s", e, why) }
	}, gates...)
	s.run()
	s.take()
	return s
}

// written lets the write under way end with err.
func (s *saving) written(err error) { s.store.writes <- func() error { return err } }

// want is rig.want, but for when a write begins: that is beside the task.
func (s *saving) want(want string) {
	s.Helper()
	synctest.Wait()
	apart := func(lines string) (string, int) {
		all := strings.Split(lines, "; ")
		rest := slices.DeleteFunc(slices.Clone(all), func(l string) bool { return l == "writing" })
		return strings.Join(rest, "; "), len(all) - len(rest)
	}
	took := s.take()
	got, n := apart(took)
	if rest, writes := apart(want); got != rest || n != writes {
		s.Errorf("got  %s\nwant %s", took, want)
	}
}

func (s *saving) over(t *testing.T) {
	t.Helper()
	if err := s.end(); err != nil {
		t.Error(err)
	}
	s.take()
}

func TestSnapshotIsWrittenBesideTheTask(t *testing.T) {
	inBubble(t, "one", func(t *testing.T) {
		s := newSaving(t, "a", nil, 1)
		s.put(0, 0, 1, 2)
		s.control(0, 0, barrier(1))
		s.put(0, 0, 3)
		s.want("a receive [1 2]; out [1 2]; a barrier 1; freeze lsm; out checkpoint 1; writing; a receive [3]; out [3]")
		time.Sleep(time.Second)
		s.written(nil)
		s.want("snapshot closed; ack 1 [a@1]")
		z := s.acked[0]
		if z.Took != 1_000_000 || z.Pause != 0 || z.Bytes != 10 || z.Chain != "c" || z.Parallelism != 1 || z.First != 0 || z.End != 8 {
			t.Errorf("%+v", z)
		}
		if k := z.Keyed; k == nil || k.Form != uint8(state.FormLSM) || len(k.Files) != 1 || k.Files[0].Blob != "1/f" ||
			len(k.States) != 1 || k.States[0].Operator != "a" || !strings.Contains(string(k.States[0].Schema), "Kind") {
			t.Errorf("%+v", k)
		}
		s.over(t)
	})
	inBubble(t, "savepoint", func(t *testing.T) {
		s := newSaving(t, "a", nil, 1)
		s.control(0, 0, flow.BarrierControl(flow.Barrier{Epoch: 1, Kind: flow.BarrierSavepoint}))
		s.want("a barrier 1; freeze portable; out savepoint 1; writing")
		s.written(nil)
		s.want("snapshot closed; ack 1 [a@1]")
		s.over(t)
	})
	inBubble(t, "no state", func(t *testing.T) {
		s := newSaving(t, "a", nil, 1)
		s.store.none = true
		s.control(0, 0, barrier(1))
		s.want("a barrier 1; freeze lsm; out checkpoint 1; snapshot closed; ack 1 [a@1]")
		if z := s.acked[0]; z == nil || z.Keyed != nil {
			t.Errorf("%+v", z)
		}
		s.over(t)
	})
	inBubble(t, "two at once", func(t *testing.T) {
		s := newSaving(t, "a", nil, 1)
		s.control(0, 0, barrier(1), barrier(2))
		s.want("a barrier 1; freeze lsm; out checkpoint 1; a barrier 2; freeze lsm; out checkpoint 2; writing")
		s.written(nil)
		s.want("snapshot closed; ack 1 [a@1]; writing")
		s.written(nil)
		s.want("snapshot closed; ack 2 [a@1 a@2]")
		s.control(0, 0, barrier(3))
		s.want("a barrier 3; freeze lsm; out checkpoint 3; writing")
		s.Committed(2)
		s.want("a committed 2")
		s.written(nil)
		s.want("snapshot closed; ack 3 [a@1 a@2 a@3]")
		s.control(0, 0, barrier(4))
		synctest.Wait()
		s.written(nil)
		s.want("a barrier 4; freeze lsm; out checkpoint 4; writing; snapshot closed; ack 4 [a@3 a@4]")
		s.over(t)
	})
}

// An epoch is given up in each state that it can be in; what sinks have prepared for
// it goes with the next.
func TestAbort(t *testing.T) {
	inBubble(t, "while it is aligned", func(t *testing.T) {
		s := newSaving(t, "a", nil, 2)
		s.control(0, 0, barrier(1))
		s.AbortEpoch(1)
		s.control(0, 1, barrier(1))
		s.want("")
		s.over(t)
	})
	inBubble(t, "while it is written", func(t *testing.T) {
		s := newSaving(t, "a", nil, 1)
		s.control(0, 0, barrier(1))
		s.want("a barrier 1; freeze lsm; out checkpoint 1; writing")
		s.AbortEpoch(1)
		s.want("snapshot closed; files of 1 dropped")
		s.AbortEpoch(1)
		s.control(0, 0, barrier(2))
		s.want("a barrier 2; freeze lsm; out checkpoint 2; writing")
		s.written(nil)
		s.want("snapshot closed; ack 2 [a@1 a@2]")
		s.over(t)
	})
	inBubble(t, "while it waits for another", func(t *testing.T) {
		s := newSaving(t, "a", nil, 1)
		s.control(0, 0, barrier(1), barrier(2), barrier(3))
		s.want("a barrier 1; freeze lsm; out checkpoint 1; a barrier 2; freeze lsm; out checkpoint 2; a barrier 3; freeze lsm; out checkpoint 3; writing")
		s.AbortEpoch(2)
		s.want("snapshot closed")
		s.written(nil)
		s.want("snapshot closed; ack 1 [a@1]; writing")
		s.written(nil)
		s.want("snapshot closed; ack 3 [a@1 a@2 a@3]")
		s.over(t)
	})
	inBubble(t, "when it is over", func(t *testing.T) {
		s := newSaving(t, "a", nil, 1)
		s.control(0, 0, barrier(1))
		synctest.Wait()
		s.written(nil)
		s.want("a barrier 1; freeze lsm; out checkpoint 1; writing; snapshot closed; ack 1 [a@1]")
		s.AbortEpoch(1)
		s.want("")
		s.over(t)
	})
}

func TestWritesThatFail(t *testing.T) {
	full := errors.New("disk full")
	inBubble(t, "the epoch is declined", func(t *testing.T) {
		s := newSaving(t, "a", nil, 1)
		s.control(0, 0, barrier(1))
		synctest.Wait()
		s.take()
		s.written(full)
		s.want("files of 1 dropped; snapshot closed; decline 1: task c/0: saving its snapshot: disk full")
		s.control(0, 0, barrier(2))
		synctest.Wait()
		s.written(nil)
		s.want("a barrier 2; freeze lsm; out checkpoint 2; writing; snapshot closed; ack 2 [a@1 a@2]")
		s.over(t)
	})
	inBubble(t, "the store is broken", func(t *testing.T) {
		s := newSaving(t, "a", nil, 1)
		s.control(0, 0, barrier(1))
		synctest.Wait()
		s.store.writes <- func() error {
			s.Lock()
			defer s.Unlock()
			s.store.broken = full
			return full
		}
		var f *flow.Failure
		if err := <-s.done; !errors.As(err, &f) || !errors.Is(err, full) || f.Domain != flow.DomainExternal || !f.Retryable {
			t.Error(err)
		}
		if got := s.take(); strings.Contains(got, "decline") || strings.Contains(got, "ack") {
			t.Error(got)
		}
	})
	inBubble(t, "a panic", func(t *testing.T) {
		s := newSaving(t, "a", nil, 1)
		s.control(0, 0, barrier(1))
		synctest.Wait()
		s.store.writes <- func() error { panic("broken") }
		var f *flow.Failure
		if err := <-s.done; !errors.As(err, &f) || f.Stack == "" || !strings.Contains(err.Error(), "panic while epoch 1 was saved: broken") {
			t.Error(err)
		}
	})
	inBubble(t, "freezing", func(t *testing.T) {
		s := newSaving(t, "a", nil, 1)
		s.store.freeze = full
		s.control(0, 0, barrier(1))
		if err := <-s.done; err == nil || !strings.Contains(err.Error(), "keyed state: freezing it for epoch 1: disk full") {
			t.Error(err)
		}
	})
	inBubble(t, "the task ends", func(t *testing.T) {
		s := newSaving(t, "a", nil, 1)
		s.control(0, 0, barrier(1), barrier(2))
		synctest.Wait()
		s.take()
		s.Cancel()
		if err := <-s.done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		got := s.take()
		if strings.Count(got, "snapshot closed") != 2 || !strings.HasSuffix(got, "a close; state closed") || strings.Contains(got, "ack") {
			t.Error(got)
		}
	})
}

// The store gets its steps: between batches, when there is nothing to do, and when
// there is no credit.
func TestStoreSteps(t *testing.T) {
	steps := func(s *saving, n int) {
		s.Lock()
		s.store.steps = n
		s.Unlock()
	}
	inBubble(t, "idle", func(t *testing.T) {
		s := newSaving(t, "a", nil, 1)
		steps(s, 3)
		s.want("")
		s.store.notify()
		s.want("step; step; step")
		steps(s, 2)
		s.put(0, 0, 1) // without being told, since state has grown
		s.want("a receive [1]; out [1]; step; step")
		steps(s, 2)
		s.control(0, 0, barrier(1)) // asks by itself
		s.want("a barrier 1; freeze lsm; out checkpoint 1; writing; step; step")
		s.written(nil)
		s.over(t)
	})
	inBubble(t, "no credit", func(t *testing.T) {
		s := newSaving(t, "a", nil, 1)
		s.tape.setDry(true)
		steps(s, 2)
		s.store.notify()
		s.want("step; step")
		s.tape.setDry(false)
		s.over(t)
	})
	inBubble(t, "busy", func(t *testing.T) {
		f := &fakeSource{}
		s := newSaving(t, "a", func(r *rig) operator.Operator { f.j = r.journal; return f })
		steps(s, 2)
		for range 3 {
			f.pulls = append(f.pulls, operator.Pulled{Worked: true, Watermark: flow.MinTime})
		}
		s.Mail(func() error { s.store.notify(); return nil })
		s.Wake()
		s.want("pull; a receive [1]; out [1]; step; step; pull; a receive [1]; out [1]; pull; a receive [1]; out [1]; pull")
		s.over(t)
	})
	inBubble(t, "an error", func(t *testing.T) {
		s := newSaving(t, "a", nil, 1)
		s.Lock()
		s.store.broken = fmt.Errorf("%w: a bit", state.ErrCorrupt)
		s.Unlock()
		s.store.notify()
		var f *flow.Failure
		if err := <-s.done; !errors.As(err, &f) || f.Retryable || !errors.Is(err, state.ErrCorrupt) {
			t.Error(err)
		}
	})
}

// remembers is a probe that keeps something.
type remembers struct {
	*probe
	kept []checkpoint.OperatorState
	fail error
}

func (k *remembers) Keep() ([]checkpoint.OperatorState, error) {
	k.j.add("%s keep", k.name)
	return slices.Clone(k.kept), k.fail
}

func (k *remembers) Restore(o []checkpoint.OperatorState) error {
	for _, o := range o {
		k.j.add("%s restore %s %s", k.name, o.Name, o.Items[0])
	}
	return k.fail
}

func TestOperatorStateIsKept(t *testing.T) {
	inBubble(t, "splits", func(t *testing.T) {
		f := &fakeSource{splits: []operator.Split{{ID: "x", Data: []byte("at 3"), Size: 7}}}
		s := newSaving(t, "", func(r *rig) operator.Operator { f.j = r.journal; return f })
		s.store.none = true
		s.InjectBarrier(flow.Barrier{Epoch: 1})
		synctest.Wait()
		want := []checkpoint.OperatorState{{Operator: "source", Name: "splits", Mode: checkpoint.Splits,
			Items: [][]byte{checkpoint.AppendSplit(nil, &checkpoint.SavedSplit{ID: "x", Data: []byte("at 3"), Size: 7})}}}
		if len(s.acked) != 1 || !reflect.DeepEqual(s.acked[0].Operators, want) {
			t.Errorf("%+v", s.acked)
		}
		s.over(t)
	})
	k := &remembers{kept: []checkpoint.OperatorState{{Name: "k", Mode: checkpoint.Split, Items: [][]byte{[]byte("1")}}}}
	head := func(r *rig) operator.Operator {
		k.probe = &probe{name: "source", j: r.journal}
		return k
	}
	inBubble(t, "kept", func(t *testing.T) {
		s := newSaving(t, "b", head, 1)
		s.store.none = true
		s.control(0, 0, barrier(1))
		s.want("source barrier 1; b barrier 1; source keep; freeze lsm; out checkpoint 1; snapshot closed; ack 1 [source@1 b@1]")
		if got := s.acked[0].Operators; len(got) != 1 || got[0].Operator != "source" || got[0].Name != "k" {
			t.Errorf("%+v", got)
		}
		s.over(t)
	})
	restore := func(t *testing.T, of string) *rig {
		return newRigWith(t, "b", head, func(r *rig, c *Config) {
			c.Restored = 4
			c.Restore = &checkpoint.TaskRestore{Epoch: 4, Operators: []checkpoint.OperatorState{
				{Operator: of, Name: "k", Mode: checkpoint.Split, Items: [][]byte{[]byte("1")}},
				{Operator: "source", Name: "splits", Mode: checkpoint.Splits, Items: [][]byte{[]byte("s")}},
				{Operator: of, Name: "l", Mode: checkpoint.Union, Items: [][]byte{[]byte("2")}}}}
		}, 1)
	}
	inBubble(t, "restored", func(t *testing.T) {
		r := restore(t, "source")
		r.put(0, 0, 1)
		r.run()
		r.want("source open; b open; source restore k 1; source restore l 2; running; source time 0; b time 0; source receive [1]; b receive [1]; out [1]")
		if k.Restored != 4 {
			t.Errorf("restored from %d", k.Restored)
		}
		if err := r.end(); err != nil {
			t.Error(err)
		}
	})
	inBubble(t, "cannot be restored", func(t *testing.T) {
		r := restore(t, "source")
		k.fail = fmt.Errorf("%w: x", state.ErrIncompatible)
		r.run()
		k.fail = nil
		var f *flow.Failure
		if err := <-r.done; !errors.As(err, &f) || f.Domain != flow.DomainUser || f.Name != "source" || !strings.Contains(f.Text(), "restoring what it kept in epoch 4") {
			t.Error(err)
		}
		if got := r.take(); strings.Contains(got, "running") {
			t.Error(got)
		}
	})
	inBubble(t, "of one that keeps nothing", func(t *testing.T) {
		r := restore(t, "b").run()
		if err := <-r.done; err == nil || !strings.Contains(err.Error(), `epoch 4 holds state "k" of it, and it keeps none`) {
			t.Error(err)
		}
	})
}

func TestStateThatDoesNotOpen(t *testing.T) {
	inBubble(t, "incompatible", func(t *testing.T) {
		r := newRigWith(t, "a", nil, func(r *rig, c *Config) {
			c.State = func(context.Context) (state.Store, error) {
				return nil, fmt.Errorf("%w: int64 to string", state.ErrIncompatible)
			}
		}, 1).run()
		var f *flow.Failure
		if err := <-r.done; !errors.As(err, &f) || f.Domain != flow.DomainUser || f.Retryable {
			t.Error(err)
		}
		r.want("")
	})
	inBubble(t, "cancelled", func(t *testing.T) {
		r := newRigWith(t, "a", nil, func(r *rig, c *Config) {
			c.State = func(ctx context.Context) (state.Store, error) { <-ctx.Done(); return nil, ctx.Err() }
		}, 1).run()
		r.Cancel()
		if err := <-r.done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestBooks(t *testing.T) {
	inBubble(t, "of a task", func(t *testing.T) {
		s := newSaving(t, "a b", nil, 2)
		s.cfg.Inputs[0].Edge, s.gates[0].Edge = flow.EdgeID{To: "a"}, flow.EdgeID{To: "a"}
		s.store.none = true
		s.put(0, 0, 1, 2)
		s.put(0, 1, 3)
		s.control(0, 0, barrier(1))
		s.control(0, 1, barrier(1))
		synctest.Wait()
		var got []string
		for _, e := range s.acked[0].Books {
			if e.Account == checkpoint.AccountReceived {
				got = append(got, fmt.Sprintf("%s %d→%d: %d", e.Operator, e.Producer, e.Consumer, e.Records))
			}
		}
		if want := []string{"a 0→0: 2", "a 1→0: 1"}; !slices.Equal(got, want) {
			t.Errorf("got %q", got)
		}
		s.over(t)
	})
}
