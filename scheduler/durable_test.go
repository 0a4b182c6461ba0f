package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/checkpoint/store"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/scheduler/job"
)

// vault is a Storage whose log is a slice, which several schedulers may share.
type vault struct {
	crew *crew
	*sharedLog
	mine flow.Attempt
	// fail makes a call fail: "claim 2", "commit 3", "savepoint 1", "collect".
	fail map[string]error
	// lost makes a commit count though it answers with fail's error.
	lost bool
}

// sharedLog is what processes have in common.
type sharedLog struct {
	sync.Mutex
	log []*checkpoint.Manifest
	at  flow.Attempt // of the newest claim
}

func newVault() *vault { return &vault{sharedLog: &sharedLog{}, fail: map[string]error{}} }

// other is the same storage, seen by another process.
func (v *vault) other() *vault { return &vault{sharedLog: v.sharedLog, fail: map[string]error{}} }

func (v *vault) note(format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	v.crew.note("%s", what)
	err := v.fail[what]
	if !v.lost {
		delete(v.fail, what)
	}
	return err
}

func (v *vault) newest() *checkpoint.Manifest {
	v.Lock()
	defer v.Unlock()
	if n := len(v.log); n > 0 {
		return v.log[n-1]
	}
	return nil
}

func (v *vault) Claim(_ context.Context, at flow.Attempt, fresh bool) (c Claimed, err error) {
	v.Lock()
	newest := v.at
	if at == 0 {
		at = newest + 1
	}
	v.Unlock()
	if err := v.note("claim %d", at); err != nil {
		return c, err
	}
	if at <= newest {
		return c, fmt.Errorf("%w: %d is not new", store.ErrFenced, at)
	}
	v.Lock()
	v.at, v.mine = at, at
	v.Unlock()
	c.Attempt = at
	if m := v.newest(); m != nil {
		c.Newest = flow.Epoch(m.Epoch)
		if !fresh {
			c.Manifest = m
		}
	}
	return c, nil
}

func (v *vault) Commit(_ context.Context, m *checkpoint.Manifest) error {
	v.Lock()
	at := v.at
	v.Unlock()
	if at != v.mine {
		return fmt.Errorf("%w: %d has", store.ErrFenced, at)
	}
	err := v.note("manifest %d", m.Epoch)
	if err == nil || v.lost {
		again, derr := checkpoint.DecodeManifest(checkpoint.AppendManifest(nil, m))
		if derr != nil {
			return derr
		}
		v.Lock()
		v.log = append(v.log, again)
		v.Unlock()
	}
	return err
}

func (v *vault) Savepoint(_ context.Context, dest string, m *checkpoint.Manifest) error {
	return v.note("savepoint %s %d", dest, m.Epoch)
}

func (v *vault) Collect(context.Context) error { return v.note("collect") }

// keeping makes a crew that keeps its epochs in v and is restarted twice.
func keeping(t *testing.T, v *vault, o setup, more ...func(*Options)) *crew {
	t.Helper()
	c := o.make(t)
	v.crew = c
	c.saves = true
	opt := c.opt
	opt.Storage, opt.Restart = v, job.FixedDelay{Delay: time.Second, MaxFailures: 2}
	opt.Log = slog.New(slog.DiscardHandler)
	for _, f := range more {
		f(&opt)
	}
	s, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	c.Scheduler = s
	return c
}

func retryable(text string) error {
	return &flow.Failure{Domain: flow.DomainExternal, Retryable: true, Message: text}
}

// Whatever fails once, the job comes to its end.
func TestRestartsAfterFailuresAtEachStep(t *testing.T) {
	for _, tc := range []struct {
		name string
		fail string
		lost bool
		told string // in this order
	}{
		{name: "claim of the next attempt", fail: "claim 2", told: "claim 1, claim 2, claim 3"},
		{name: "manifest", fail: "manifest 1", told: "manifest 1, cancel 2, claim 2, deploy 2, nomore 0, manifest 1, commit 1 1, finish"},
		{name: "manifest, answer lost", fail: "manifest 1", lost: true, told: "manifest 1, cancel 2, claim 2, commit 1 1, recover 1"},
	} {
		bubble(t, tc.name, func(t *testing.T) {
			v := newVault()
			v.lost = tc.lost
			c := keeping(t, v, setup{discover: all("a")})
			v.fail[tc.fail] = errors.New("out of order")
			if tc.name == "claim of the next attempt" {
				v.fail["manifest 1"] = errors.New("out of order")
			}
			if err := c.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			inOrder(t, c, tc.told)
			if m := v.newest(); m == nil || flow.BarrierKind(m.Kind) != flow.BarrierFinal {
				t.Errorf("the newest manifest is %+v", m)
			}
		})
	}
	// A sink that cannot commit for a while is tried without a restart, and with one after that.
	for name, failures := range map[string]int{"commit, for a moment": 3, "commit, for long": 12} {
		bubble(t, name, func(t *testing.T) {
			v := newVault()
			n := 0
			c := keeping(t, v, setup{discover: all("a"), commit: func(context.Context, flow.Epoch) error {
				if n++; n <= failures {
					return retryable("no route")
				}
				return nil
			}})
			if err := c.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			told := c.take()
			if restarted := strings.Contains(told, "claim 2"); restarted != (failures > 10) {
				t.Error(told)
			}
			// The manifest was written before: the final epoch is not run again.
			if strings.Count(told, "barrier") != 1 {
				t.Error(told)
			}
		})
	}
}

// What was found and not given to a task before the barrier is found again.
func TestSourcesGoOnWhereTheyWere(t *testing.T) {
	bubble(t, "cut", func(t *testing.T) {
		v := newVault()
		c := keeping(t, v, setup{discover: func(_ context.Context, call int) (operator.Discovery, error) {
			if call > 1 {
				return operator.Discovery{}, nil
			}
			return operator.Discovery{Splits: splits("a", "b", "c")}, nil
		}, interval: time.Second})
		c.hold["split"] = true
		done := c.begin(t)
		c.read(api.Task{Chain: "src"}, "a") // b is given, c is not
		synctest.Wait()
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		m := v.newest()
		if m == nil || len(m.Sources) != 1 || len(m.Sources[0].Unassigned) != 1 || m.Sources[0].Done {
			t.Fatalf("%+v", m)
		}
		// The enumerator was told of a; b is with a reader, whose snapshot here is empty: it
		// counts as read.
		if got := m.Sources[0].Assigned; !slices.Equal(got, []string{"b"}) {
			t.Errorf("assigned: %v", got)
		}
		c.take()
		c.state(api.Failed, &api.Failure{Operator: "src", Retryable: true, Message: "gone"}, api.Task{Chain: "src"})
		time.Sleep(time.Second + time.Millisecond)
		inOrder(t, c, "cancel 1, enumerator closed, claim 2, commit 1 1, recover 1, restore discovered, finished b, deploy 2, split c to 0")
		c.Cancel()
		<-done
	})
}

// Of two processes only the newer one commits.
func TestFenced(t *testing.T) {
	bubble(t, "zombie", func(t *testing.T) {
		v := newVault()
		old := keeping(t, v, setup{discover: all("a"), interval: time.Second})
		old.hold["split"] = true
		done := old.begin(t)
		time.Sleep(1500 * time.Millisecond)
		w := v.other()
		c := keeping(t, w, setup{discover: all("b")})
		c.hold["split"] = true
		next := c.begin(t)
		inOrder(t, c, "claim 2, commit 1 1, recover 1, deploy 2")
		old.take()
		time.Sleep(time.Second) // the zombie's next epoch
		err := <-done
		wantFailure(t, err, "", "another process has taken over this job")
		if told := old.take(); strings.Contains(told, "commit 2") || strings.Contains(told, "claim") {
			t.Error(told)
		}
		c.Cancel()
		<-next
	})
}

func TestStartedAgain(t *testing.T) {
	bubble(t, "finished", func(t *testing.T) {
		v := newVault()
		c := keeping(t, v, setup{discover: all("a")})
		if err := c.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		var r Restored
		w := v.other()
		c = keeping(t, w, setup{discover: all("a")}, func(o *Options) {
			o.Listener.Restored = func(got Restored) { r = got }
		})
		if err := c.run(t.Context()); err != nil || !r.Finished {
			t.Error(err, r)
		}
		// What the sinks published may be gone by now: it is not committed again.
		wantTold(t, c, "claim 2, recover 2, committer closed")
		w = v.other()
		c = keeping(t, w, setup{discover: all("a")}, func(o *Options) { o.Fresh = true })
		if err := c.run(t.Context()); err != nil {
			t.Error(err)
		}
		inOrder(t, c, "claim 3, recover 2, deploy 2, split a to 0, barrier 3, manifest 3, commit 3 1, manifest 4, finish")
	})
	bubble(t, "from a savepoint", func(t *testing.T) {
		v := newVault()
		c := keeping(t, v, setup{discover: all("a"), interval: time.Second})
		c.hold["split"] = true
		done := c.begin(t)
		e, err := c.Savepoint(t.Context(), "there")
		if err != nil || e != 1 {
			t.Error(e, err)
		}
		inOrder(t, c, "barrier 1, manifest 1, commit 1 1, savepoint there 1")
		c.Suspend("")
		if err := <-done; !errors.Is(err, ErrStopped) {
			t.Error(err)
		}
		inOrder(t, c, "barrier 2, manifest 2, commit 2 1, manifest 3, cancel 2")
		saved := published(v.log[0])
		other := newVault()
		var r Restored
		c = keeping(t, other, setup{discover: all("a")}, func(o *Options) {
			o.From = saved
			o.Listener.Restored = func(got Restored) { r = got }
		})
		if err := c.run(t.Context()); err != nil || !r.Savepoint || r.Epoch != 1 {
			t.Error(err, r)
		}
		inOrder(t, c, "claim 1, recover 1, deploy 2, barrier 2, manifest 2, commit 2 1")
	})
}

// A savepoint whose epoch is aborted is tried again, but not for ever; the job goes on.
func TestSavepointAborted(t *testing.T) {
	bubble(t, "declined", func(t *testing.T) {
		v := newVault()
		c := keeping(t, v, setup{discover: all("a")})
		c.hold["split"], c.hold["barrier"] = true, true
		done := c.begin(t)
		failed := make(chan error, 1)
		go func() {
			_, err := c.Savepoint(t.Context(), "there")
			failed <- err
		}()
		for e := uint64(1); e <= 3; e++ {
			synctest.Wait()
			c.Decline(&api.Decline{Attempt: 1, Task: api.Task{Chain: "sink"}, Epoch: e, Reason: "disk full"})
		}
		if err := <-failed; err == nil || !strings.Contains(err.Error(), "disk full") {
			t.Error(err)
		}
		c.hold["barrier"] = false
		c.read(api.Task{Chain: "src"}, "a")
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := c.Savepoint(t.Context(), "there"); !errors.Is(err, ErrOver) {
			t.Error(err)
		}
	})
}

// State that the program has no operator for stops the job before a task is deployed,
// and no restart is tried.
func TestRestoreRefused(t *testing.T) {
	bubble(t, "dropped state", func(t *testing.T) {
		v := newVault()
		c := keeping(t, v, setup{discover: all("a")})
		if err := c.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		v.newest().Tasks[0].Operators = append(v.newest().Tasks[0].Operators,
			checkpoint.OperatorState{Operator: "gone", Name: "list", Mode: checkpoint.Union, Items: [][]byte{{1}}})
		c = keeping(t, v.other(), setup{discover: all("a")})
		wantFailure(t, c.run(t.Context()), "", "--allow-dropped-state")
		if told := c.take(); strings.Contains(told, "deploy") || strings.Contains(told, "claim 3") {
			t.Error(told)
		}
	})
}

func TestBudgeted(t *testing.T) {
	var now flow.Time
	p := &Budgeted{Delays: job.Exponential{MaxFailures: 10}, Most: 2, Window: time.Minute, Now: func() flow.Time { return now }}
	external := &flow.Failure{Domain: flow.DomainExternal, Retryable: true, Message: "no route"}
	user := func(record string) *flow.Failure {
		return &flow.Failure{Operator: "op", Domain: flow.DomainUser, Message: "bad; at " + record, Record: record}
	}
	decide := func(f *flow.Failure, want bool, why string) {
		t.Helper()
		if d := p.Decide(1, f); d.Restart != want || !strings.Contains(d.Why, why) || why == "" && d.Why != "" {
			t.Errorf("%s: %+v", f, d)
		}
	}
	decide(user("record 1"), true, "")
	decide(user("record 2"), true, "")
	decide(external, false, "restarted 2 times within 1m0s")
	now = now.Add(time.Minute)
	decide(external, true, "")
	decide(user("record 2"), false, "the same record")
	decide(&flow.Failure{Domain: flow.DomainUser, Message: "no such state"}, false, "")
	decide(&flow.Failure{Domain: flow.DomainUser, Message: "bad", Record: "x", Cause: operator.ErrBadRecord}, false, "")
	decide(&flow.Failure{Message: "a bug"}, false, "")
	if d := p.Decide(11, external); d.Restart || !strings.Contains(d.Why, "11 attempts") {
		t.Errorf("%+v", d)
	}
}
