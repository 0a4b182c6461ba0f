package sim

import (
	"fmt"
	"slices"
	"syscall"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/cluster/registry"
)

// step is something to do at a time.
type step struct {
	at time.Duration
	do func() error
}

// suffer carries out the faults of a schedule, each to its end.
func (w *world) suffer(s *Schedule) error {
	began := time.Now()
	var todo []step
	for i, f := range s.Faults {
		todo = append(todo, step{f.At, func() error {
			w.log.Info("FAULT", "number", i, "what", f.String())
			end, err := w.begin(f)
			if err != nil || end == nil {
				return err
			}
			todo = append(todo, step{f.At + f.For, func() error {
				w.log.Info("FAULT ends", "number", i, "what", f.String())
				return end()
			}})
			return nil
		}})
	}
	for len(todo) > 0 {
		slices.SortStableFunc(todo, func(a, b step) int { return int(a.at - b.at) })
		next := todo[0]
		todo = todo[1:]
		time.Sleep(time.Until(began.Add(next.at)))
		synctest.Wait()
		if err := next.do(); err != nil {
			return err
		}
	}
	return nil
}

// hostAt is the one that a fault means.
func (w *world) hostAt(n int) *host {
	switch n {
	case 0:
		for _, h := range w.hosts {
			if h.leads() {
				return h
			}
		}
		return w.hosts[0]
	case -1:
		if c := w.coordinator(); c != nil {
			return c.h
		}
		return w.hosts[len(w.hosts)-1]
	}
	return w.hosts[n-1]
}

// coordinator is the newest that lives.
func (w *world) coordinator() (newest *child) {
	for _, c := range w.childrenOf(nil) {
		if c.alloc.Coordinator && (newest == nil || c.alloc.Term > newest.alloc.Term) {
			newest = c
		}
	}
	return newest
}

// executor is one of those that live, if there is any.
func (w *world) executor(n int) *child {
	all := w.childrenOf(nil)
	if len(all) == 0 {
		return nil
	}
	return all[n%len(all)]
}

// begin lets a fault begin, and says how it ends.
func (w *world) begin(f Fault) (end func() error, err error) {
	switch f.Kind {
	case CutOff, OneWay, Deaf:
		h := w.hostAt(f.A)
		return w.cut(func(from, to *host) bool {
			return from == h && f.Kind != Deaf || to == h && f.Kind != OneWay
		}, f.Class), nil
	case Apart:
		a, b := w.hostAt(f.A), w.hostAt(f.B)
		return w.cut(func(from, to *host) bool { return from == a && to == b || from == b && to == a }, f.Class), nil
	case Resets:
		a, b := w.hostAt(f.A), w.hostAt(f.B)
		w.net.Reset(a.ip, b.ip, f.Class)
		w.net.Reset(b.ip, a.ip, f.Class)
		return nil, nil
	case Slows, Loses:
		h := w.hostAt(f.A)
		set := func(on bool) {
			for _, o := range w.hosts {
				switch {
				case o == h:
				case f.Kind == Slows && on:
					w.net.Slow(h.ip, o.ip, 150*time.Millisecond)
				case f.Kind == Slows:
					w.net.Slow(h.ip, o.ip, 0)
				case on:
					w.net.Lose(h.ip, o.ip, 0.3)
				default:
					w.net.Lose(h.ip, o.ip, 0)
				}
			}
		}
		set(true)
		return func() error { set(false); return nil }, nil
	case Crash, Power:
		return w.crash(w.hostAt(f.A), f.Kind == Power)
	case Restart:
		return w.restart(w.hostAt(f.A)), nil
	case Drain:
		h := w.hostAt(f.A)
		w.wish(&registry.SetNodeStatus{Node: h.id(), Status: api.NodeDraining, Reason: "sim"})
		return func() error {
			w.wish(&registry.SetNodeStatus{Node: h.id(), Status: api.NodeReady, Reason: "sim"})
			return nil
		}, nil
	case KillExec, KillCoord:
		c := w.executor(f.A)
		if f.Kind == KillCoord {
			c = w.coordinator()
		}
		if c != nil {
			c.kill()
		}
		return nil, nil
	case StopExec, StopCoord:
		c := w.executor(f.A)
		if f.Kind == StopCoord {
			c = w.coordinator()
		}
		if c == nil {
			return nil, nil
		}
		c.Pause(true)
		return func() error { c.Pause(false); return nil }, nil
	case StopAgent, StopHost:
		return w.stop(w.hostAt(f.A), f.Kind == StopHost), nil
	case Jump:
		h := w.hostAt(f.A)
		w.mu.Lock()
		defer w.mu.Unlock()
		h.jumped += f.For
		return nil, nil
	case SlowDisk:
		h := w.hostAt(f.A)
		was := h.slow.Swap(int64(700 * time.Millisecond))
		return func() error { h.slow.Store(was); return nil }, nil
	}
	return nil, fmt.Errorf("sim: nobody knows the fault %q", f.Kind)
}

// cut cuts links, by whom they join.
func (w *world) cut(which func(from, to *host) bool, c Class) (heal func() error) {
	var healed []func()
	for _, from := range w.hosts {
		for _, to := range w.hosts {
			if from != to && which(from, to) {
				w.net.Cut(from.ip, to.ip, c)
				healed = append(healed, func() { w.net.Heal(from.ip, to.ip, c) })
			}
		}
	}
	return func() error {
		for _, f := range healed {
			f()
		}
		return nil
	}
}

// crash ends an agent, which starts again when the fault ends.
func (w *world) crash(h *host, silent bool) (restart func() error, err error) {
	if h.down() {
		return nil, nil
	}
	if silent {
		w.net.Dark(h.ip, true)
	}
	if err := h.crash(silent); err != nil {
		return nil, err
	}
	w.mu.Lock()
	dead := h.proc
	w.mu.Unlock()
	return func() error {
		if silent {
			w.net.Dark(h.ip, false)
			// A host that is back knows nothing of old connections.
			w.net.each(func(c *conn) bool { return c.out.from.host == h.ip || c.out.to.host == h.ip }, syscall.ECONNRESET)
			dead.Bury()
		}
		if !h.down() {
			return nil
		}
		return h.boot()
	}, nil
}

// wish is what a user wants, who gives up where nobody hears it. It waits for nothing.
func (w *world) wish(c registry.Command) {
	w.side.Go(func() {
		if err := w.decide(c); err != nil {
			w.log.Info("a wish was not heard", "err", err)
		}
	})
}

// restart ends an agent in order, and starts it again when the fault ends.
func (w *world) restart(h *host) (again func() error) {
	if h.down() {
		return nil
	}
	w.mu.Lock()
	p, cancel, over := h.proc, h.cancel, h.over
	w.mu.Unlock()
	cancel()
	return func() error {
		<-over
		w.mu.Lock()
		same := h.proc == p
		w.mu.Unlock()
		if !same || !h.down() {
			return nil
		}
		return h.boot()
	}
}

// stop has an agent stand still, or all that is on its host.
func (w *world) stop(h *host, all bool) (resume func() error) {
	if h.down() {
		return nil
	}
	w.mu.Lock()
	p := h.proc
	h.excused = true
	w.mu.Unlock()
	stopped := []*Process{p}
	if all {
		for _, c := range w.childrenOf(h) {
			stopped = append(stopped, c.Process)
		}
	}
	h.freeze(true)
	for _, p := range stopped {
		p.Pause(true)
	}
	return func() error {
		h.freeze(false)
		for _, p := range stopped {
			p.Pause(false)
		}
		// It finds its lease over, and needs a moment.
		time.AfterFunc(time.Second, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			h.excused = false
		})
		return nil
	}
}

// die ends an executor with its agent.
func (c *child) die(silent bool) {
	if !silent {
		c.kill()
		return
	}
	c.w.mu.Lock()
	if c.killed.IsZero() {
		c.killed = time.Now()
	}
	c.w.mu.Unlock()
	c.Process.Kill(true)
	c.cancel(errDead)
}
