package sim

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/internal/node"
	"github.com/weirflow/weir/runtime/executor"
)

// child is an executor of the simulation: goroutines in the place of a process.
type child struct {
	*Process
	w      *world
	h      *host
	alloc  api.Alloc
	ctx    context.Context
	cancel context.CancelCauseFunc
	in     net.Conn
	events net.Conn
	pid    int
	killed time.Time // under w.mu; zero while it was not
	done   chan struct{}
	ended  executor.Ended // after done
}

var (
	errTerm  = errors.New("it was asked to end")
	errInput = errors.New("its agent says no more")
)

// start is executor.Options.Start of a host.
func (h *host) start(_ context.Context, cmd executor.Command) (*executor.Child, error) {
	w := h.w
	in, stdin := net.Pipe()
	events, said := net.Pipe()
	c := &child{w: w, h: h, alloc: cmd.Alloc, in: in, events: said, done: make(chan struct{})}
	c.Process = w.net.NewProcess(h.ip, fmt.Sprintf("%s on %s", cmd.Alloc.ID, h.name))
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	w.begins(c)
	w.side.Go(func() {
		err := c.run()
		w.log.Info("an executor has ended", "name", c.name, "err", err)
		_ = in.Close() // nobody reads it any more
		_ = said.Close()
		c.cancel(errInput)
		w.ends(c)
		c.ended = executor.Ended{}
		switch {
		case c.Dead():
			c.ended = executor.Ended{Code: 137, Signal: "SIGKILL"}
		case err != nil && !errors.Is(err, errTerm):
			c.ended = executor.Ended{Code: 1}
		}
		if !c.Dead() {
			c.Process.Kill(false) // its ports and connections go with it
		}
		close(c.done)
	})
	return &executor.Child{
		PID: c.pid, Input: stdin, Out: nothing{}, Err: nothing{}, Events: events,
		Term: func() { c.cancel(errTerm) },
		Kill: c.kill,
		Wait: func() executor.Ended { <-c.done; return c.ended },
	}, nil
}

// kill is SIGKILL.
func (c *child) kill() {
	c.w.mu.Lock()
	if c.killed.IsZero() {
		c.killed = time.Now()
	}
	c.w.mu.Unlock()
	c.Process.Kill(false)
	c.cancel(errDead)
}

// nothing is the output of a process that prints nothing.
type nothing struct{}

func (nothing) Read([]byte) (int, error)        { return 0, io.EOF }
func (nothing) Close() error                    { return nil }
func (nothing) SetReadDeadline(time.Time) error { return nil }

// run is what sdk.Run does in an executor's process.
func (c *child) run() error {
	in := bufio.NewReader(c.in)
	next := func(v any) error {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return errInput
		}
		return json.Unmarshal(line, v)
	}
	var cfg api.ExecutorConfig
	if err := next(&cfg); err != nil {
		return err
	}
	say := newTeller(c)
	defer say.end()
	plan, err := c.w.work.plan(c.Process, c.w.ledger)
	if err != nil {
		return err
	}
	place, forget := location(reached{c.w.disk, c.Process, &c.h.slow})
	defer forget()
	o := node.Options{Interval: c.w.interval, BatchSize: 16, AlignTimeout: c.w.work.Align, Seed: c.w.seed,
		Log: c.w.log.With("executor", c.name), State: node.State{Location: place, Backend: node.Memory}}
	o.Job = flowJob(cfg.Job.Name)
	m := node.Member{
		Hello: api.Hello{Job: cfg.Job.Name, Alloc: cfg.Alloc.ID, Node: cfg.Node.ID, Term: cfg.Alloc.Term, Slots: cfg.Alloc.Slots, Zone: cfg.Node.Zone},
		Dir:   cfg.Dir, Listen: cfg.Listen, Network: node.Network{Listen: c.Listen, Dial: c.Dial},
		Ready: func(r api.ExecutorReady) {
			c.net.MarkData(r.Data)
			say.tell(api.ExecutorEvent{Ready: &r})
		},
	}
	if cfg.Alloc.Coordinator {
		return c.coordinate(plan, o, m, say, next)
	}
	e, err := node.NewExecutor(plan, o, m)
	if err != nil {
		return err
	}
	where := make(chan node.Address)
	tell := func(a node.Address) {
		select {
		case where <- a:
		case <-c.ctx.Done():
		}
	}
	var heard sync.WaitGroup
	heard.Go(func() {
		if cfg.Coordinator != "" {
			tell(node.Address{Control: cfg.Coordinator, Term: cfg.Alloc.Term})
		}
		for {
			var cmd api.ExecutorCommand
			if err := next(&cmd); err != nil {
				c.cancel(err)
				return
			}
			if cmd.Coordinator != "" {
				tell(node.Address{Control: cmd.Coordinator, Term: cmd.Term})
			}
		}
	})
	err = e.Run(c.ctx, where)
	c.cancel(errInput)
	_ = c.in.Close() // ends who hears
	heard.Wait()
	return err
}

// teller writes events, which must not block who has them.
type teller struct {
	mu   sync.Mutex
	wake *sync.Cond
	all  []api.ExecutorEvent
	over bool
	done chan struct{}
}

func newTeller(c *child) *teller {
	t := &teller{done: make(chan struct{})}
	t.wake = sync.NewCond(&t.mu)
	go func() {
		defer close(t.done)
		out := json.NewEncoder(c.events)
		for {
			t.mu.Lock()
			for len(t.all) == 0 && !t.over {
				t.wake.Wait()
			}
			all := t.all
			t.all = nil
			over := t.over && len(all) == 0
			t.mu.Unlock()
			if over {
				return
			}
			for i := range all {
				if c.Pass(c.ctx) != nil || out.Encode(&all[i]) != nil {
					break // nobody hears it any more
				}
			}
		}
	}()
	return t
}

func (t *teller) tell(e api.ExecutorEvent) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(t.all, e)
	t.wake.Signal()
}

func (t *teller) end() {
	t.mu.Lock()
	t.over = true
	t.wake.Signal()
	t.mu.Unlock()
	<-t.done
}
