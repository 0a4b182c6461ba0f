package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weirflow/weir/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tape is a worker and a scheduler that note what they are told.
type tape struct {
	mu    sync.Mutex
	heard []string
	more  chan struct{}
	// deploy, where set, answers Deploy.
	deploy func(*api.Deploy) error
}

func newTape() *tape { return &tape{more: make(chan struct{}, 1)} }

func (t *tape) note(m any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.heard = append(t.heard, strings.TrimPrefix(fmt.Sprintf("%T%+v", m, m), "*api."))
	select {
	case t.more <- struct{}{}:
	default:
	}
}

// wait waits until so much was heard.
func (t *tape) wait(tt *testing.T, n int) []string {
	tt.Helper()
	for {
		t.mu.Lock()
		heard := t.heard
		t.mu.Unlock()
		if len(heard) >= n {
			return heard
		}
		select {
		case <-t.more:
		case <-time.After(20 * time.Second):
			tt.Fatalf("%d messages came of %d", len(heard), n)
		}
	}
}

func (t *tape) Deploy(m *api.Deploy) error {
	t.note(m)
	if t.deploy != nil {
		return t.deploy(m)
	}
	return nil
}
func (t *tape) InjectBarrier(m *api.InjectBarrier)     { t.note(m) }
func (t *tape) AbortEpoch(m *api.AbortEpoch)           { t.note(m) }
func (t *tape) Committed(m *api.Committed)             { t.note(m) }
func (t *tape) AddSplits(m *api.AddSplits)             { t.note(m) }
func (t *tape) NoMoreSplits(m *api.NoMoreSplits)       { t.note(m) }
func (t *tape) NoSplitYet(m *api.NoSplitYet)           { t.note(m) }
func (t *tape) Align(m *api.Align)                     { t.note(m) }
func (t *tape) StopSources(m *api.StopSources)         { t.note(m) }
func (t *tape) FinishTasks(m *api.FinishTasks)         { t.note(m) }
func (t *tape) CancelTasks(m *api.CancelTasks)         { t.note(m) }
func (t *tape) TaskState(m *api.TaskState)             { t.note(m) }
func (t *tape) Ack(m *api.Ack)                         { t.note(m) }
func (t *tape) Decline(m *api.Decline)                 { t.note(m) }
func (t *tape) RequestSplit(m *api.RequestSplit)       { t.note(m) }
func (t *tape) FinishedSplit(m *api.FinishedSplit)     { t.note(m) }
func (t *tape) SourceWatermark(m *api.SourceWatermark) { t.note(m) }

// coordinator is a server on loopback.
type coordinator struct {
	*Server
	addr   string
	heard  *tape
	joined chan *Executor
	left   chan error
}

var identity = Identity{Job: "j", Term: 3, Fingerprint: "f"}

func hello() api.Hello { return api.Hello{Job: "j", Term: 3, Fingerprint: "f", Alloc: "a", Slots: 2} }

func serve(t *testing.T, opt Options) *coordinator {
	t.Helper()
	c := &coordinator{heard: newTape(), joined: make(chan *Executor, 10), left: make(chan error, 10)}
	c.Server = NewServer(ServerOptions{Options: opt, Identity: identity,
		Join: func(e *Executor) (api.Scheduler, error) { c.joined <- e; return c.heard, nil },
		Left: func(_ *Executor, err error) { c.left <- err }})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.addr = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- c.Serve(l) }()
	t.Cleanup(func() {
		c.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return c
}

// run runs a link until the test ends.
func run(t *testing.T, l *Link, w api.Worker) (ended chan error) {
	t.Helper()
	ended = make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() {
		defer close(over)
		ended <- l.Run(ctx, w)
	}()
	t.Cleanup(func() { cancel(); <-over })
	return ended
}

func within(t *testing.T, c <-chan error) error {
	t.Helper()
	select {
	case err := <-c:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("it did not end")
		return nil
	}
}

func TestOrder(t *testing.T) {
	c := serve(t, Options{Ping: 5 * time.Millisecond, Patience: 10 * time.Second})
	l, err := Dial(t.Context(), c.addr, nil, hello(), Options{Ping: 5 * time.Millisecond, Patience: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	w := newTape()
	ended := run(t, l, w)
	e := <-c.joined
	if e.Hello.Slots != 2 || e.Err() != nil {
		t.Fatal(e.Hello, e.Err())
	}
	const n = 500
	if err := e.Deploy(&api.Deploy{Attempt: 1}); err != nil {
		t.Fatal(err)
	}
	for i := range uint64(n) {
		e.Committed(&api.Committed{Attempt: 1, Epoch: i})
		l.Ack(&api.Ack{Attempt: 1, Epoch: i, Snapshot: make([]byte, 1000)})
	}
	for i, m := range w.wait(t, n+1)[1:] {
		if want := fmt.Sprintf("Committed&{Attempt:1 Epoch:%d}", i); m != want {
			t.Fatalf("%s, not %s", m, want)
		}
	}
	for i, m := range c.heard.wait(t, n) {
		if want := fmt.Sprintf("Ack&{Attempt:1 Task:{Chain: Subtask:0} Epoch:%d ", i); !strings.HasPrefix(m, want) {
			t.Fatalf("%s, not %s", m[:80], want)
		}
	}
	c.Over("all is done")
	if err := within(t, ended); !errors.Is(err, ErrOver) || !strings.Contains(err.Error(), "all is done") {
		t.Error(err)
	}
	if err := within(t, c.left); !errors.Is(err, ErrOver) {
		t.Error(err)
	}
	if _, err := Dial(t.Context(), c.addr, nil, hello(), Options{}); !errors.Is(err, ErrOver) {
		t.Error(err)
	}
}

// TestAtOnce sends to an executor from within Join: it is welcomed before.
func TestAtOnce(t *testing.T) {
	s := NewServer(ServerOptions{Identity: identity, Join: func(e *Executor) (api.Scheduler, error) {
		return newTape(), e.Deploy(&api.Deploy{Attempt: 7})
	}})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	l, err := Dial(t.Context(), listener.Addr().String(), nil, hello(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := newTape()
	ended := run(t, l, w)
	if m := w.wait(t, 1)[0]; !strings.HasPrefix(m, "Deploy&{Job: Attempt:7") {
		t.Error(m)
	}
	s.Close()
	within(t, ended)
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestRefused(t *testing.T) {
	c := serve(t, Options{})
	for _, x := range []struct {
		change func(*api.Hello)
		is     error
		want   string
	}{
		{func(h *api.Hello) { h.Job = "k" }, ErrRefused, `coordinator of job "j", not of "k"`},
		{func(h *api.Hello) { h.Term = 2 }, ErrTerm, "is of term 3, the executor knows of 2"},
		{func(h *api.Hello) { h.Term = 4 }, ErrTerm, "is of term 3, and there is one of term 4"},
		{func(h *api.Hello) { h.Fingerprint = "g" }, ErrRefused, "builds another graph: its fingerprint is g, that of the coordinator's is f"},
		{func(h *api.Hello) { h.Alloc = "" }, ErrRefused, "has no name"},
		{func(h *api.Hello) { h.Slots = -1 }, ErrRefused, "-1 slots"},
	} {
		h := hello()
		x.change(&h)
		if _, err := Dial(t.Context(), c.addr, nil, h, Options{}); !errors.Is(err, x.is) || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%+v: %v, not %q", h, err, x.want)
		}
	}
	if len(c.joined) > 0 {
		t.Error("one has joined")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := Dial(t.Context(), l.Addr().String(), nil, hello(), Options{}); err == nil || errors.Is(err, ErrRefused) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(io.ErrNoProgress)
	if _, err := Dial(ctx, c.addr, nil, hello(), Options{}); !errors.Is(err, io.ErrNoProgress) {
		t.Error(err)
	}
}

// TestEnds lets each side end, and wants the other to see it.
func TestEnds(t *testing.T) {
	c := serve(t, Options{})
	dial := func() (*Link, *Executor, chan error) {
		l, err := Dial(t.Context(), c.addr, nil, hello(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		w := newTape()
		w.deploy = func(*api.Deploy) error { return errors.New("no room") }
		return l, <-c.joined, run(t, l, w)
	}
	l, e, ended := dial()
	l.Close()
	if err := within(t, c.left); !errors.Is(err, errEnded) || e.Err() == nil {
		t.Error(err)
	}
	within(t, ended)
	_, e, ended = dial()
	e.Close("it is too old")
	if err := within(t, ended); err == nil || !strings.Contains(err.Error(), "it is too old") {
		t.Error(err)
	}
	within(t, c.left)
	_, e, ended = dial()
	if err := e.Deploy(&api.Deploy{}); err != nil {
		t.Error(err)
	}
	if err := within(t, ended); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Error(err)
	}
	within(t, c.left)
	_, _, ended = dial()
	c.Close()
	if err := within(t, ended); err == nil {
		t.Error(err)
	}
	within(t, c.left)
}

// TestSilence has the network swallow everything from some moment on.
func TestSilence(t *testing.T) {
	opt := Options{Ping: 10 * time.Millisecond, Patience: 300 * time.Millisecond}
	c := serve(t, opt)
	net := swallow(t, c.addr)
	l, err := Dial(t.Context(), net.addr, nil, hello(), opt)
	if err != nil {
		t.Fatal(err)
	}
	ended := run(t, l, newTape())
	<-c.joined
	net.dead()
	if err := within(t, ended); !errors.Is(err, ErrSilent) {
		t.Error(err)
	}
	if err := within(t, c.left); !errors.Is(err, ErrSilent) {
		t.Error(err)
	}
}

// TestBehind sends more than a peer takes.
func TestBehind(t *testing.T) {
	c := serve(t, Options{MaxQueue: 1 << 20, MaxMessage: 2 << 20, Patience: time.Minute})
	net := swallow(t, c.addr)
	l, err := Dial(t.Context(), net.addr, nil, hello(), Options{Patience: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	run(t, l, newTape())
	e := <-c.joined
	net.dead()
	for e.Err() == nil {
		e.AddSplits(&api.AddSplits{Splits: []api.Split{{Data: make([]byte, 100_000)}}})
	}
	if err := within(t, c.left); !errors.Is(err, ErrBehind) {
		t.Error(err)
	}
	l, err = Dial(t.Context(), c.addr, nil, hello(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	run(t, l, newTape())
	(<-c.joined).AddSplits(&api.AddSplits{Splits: []api.Split{{Data: make([]byte, 3<<20)}}})
	if err := within(t, c.left); err == nil || !strings.Contains(err.Error(), "larger than the 2097152 that are allowed") {
		t.Error(err)
	}
}

// network is a proxy that can stop passing things on, without ending the connections.
type network struct {
	addr string
	once sync.Once
	cut  chan struct{}
}

func (n *network) dead() { n.once.Do(func() { close(n.cut) }) }

func swallow(t *testing.T, to string) *network {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &network{addr: l.Addr().String(), cut: make(chan struct{})}
	var side sync.WaitGroup
	var conns []net.Conn
	side.Go(func() {
		a, err := l.Accept()
		if err != nil {
			return
		}
		b, err := net.Dial("tcp", to)
		if err != nil {
			a.Close()
			return
		}
		conns = append(conns, a, b)
		for _, p := range [][2]net.Conn{{a, b}, {b, a}} {
			side.Go(func() {
				buf := make([]byte, 64<<10)
				for {
					n2, err := p[0].Read(buf)
					if err != nil {
						return
					}
					select {
					case <-n.cut:
						return
					default:
					}
					if _, err := p[1].Write(buf[:n2]); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		<-n.cut
		for _, c := range conns {
			c.Close()
		}
		side.Wait()
	})
	return n
}
