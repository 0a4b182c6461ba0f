package agent

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/api/rpc"
	"github.com/weirflow/weir/runtime/lease"
)

// runs is what a link needs of executor.Manager.
type runs interface {
	Apply([]api.Assignment) error
	Ask(api.Request)
	Statuses() []api.AllocStatus
	Known([]api.AllocID)
	Kill(ctx context.Context, why string) error
}

// linkOptions configure a link.
type linkOptions struct {
	Node api.Node
	// Life counts the agent's starts.
	Life  uint64
	Lease lease.Options
	Runs  runs
	// Servers are where servers may be asked; they may change.
	Servers func() []string
	TLS     *tls.Config
	// Dial connects to a server. Default: TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	Log  *slog.Logger
	// Outputs are the jobs that have outputs here. Default: none.
	Outputs func() []string
	// Wanted is told of the orders that are obeyed.
	Wanted func(*api.Orders)
	// Reported is told of each report how long it took. Default: nobody.
	Reported func(took time.Duration, err error)
	// Clock never goes back. Default: lease.Clock.
	Clock func() time.Duration
}

// link tells the leader what this agent has, and obeys it. run is its goroutine.
type link struct {
	opt   linkOptions
	kick  chan struct{} // 1: there is news
	heard chan answer
	ended chan struct{} // closed when no executor lives, after a kill
	quit  chan struct{} // no more orders are to be obeyed
	left  chan struct{} // closed when the leader has heard that this agent leaves
	once  sync.Once
	side  sync.WaitGroup
	held  atomic.Bool // that there is a lease, for who watches

	mu struct {
		sync.Mutex
		answers []api.Answer // not told yet
		leaving bool
	}

	// of run:
	deaf     bool // orders are not obeyed
	lease    *lease.Lease
	seq      uint64
	have     uint64 // Sum of the orders that are obeyed
	index    uint64 // and their Index
	tenure   uint64
	client   *rpc.NodeClient
	addr     string
	tried    int
	underWay int
}

// answer is what came of one report.
type answer struct {
	seq    uint64
	told   []api.Answer
	left   bool // the report has said so
	orders *api.Orders
	from   string
	err    error
}

// outstanding is how many reports may be under way: one that waits, and news.
const outstanding = 3

func newLink(o linkOptions) (*link, error) {
	o.Lease.EnsureDefaults()
	if o.Clock == nil {
		o.Clock = lease.Clock
	}
	if o.Reported == nil {
		o.Reported = func(time.Duration, error) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Outputs == nil {
		o.Outputs = func() []string { return nil }
	}
	held, err := lease.New(o.Lease)
	if err != nil {
		return nil, err
	}
	return &link{opt: o, kick: make(chan struct{}, 1), quit: make(chan struct{}), left: make(chan struct{}), heard: make(chan answer, outstanding), lease: held}, nil
}

// holds reports whether there is a lease.
func (l *link) holds() bool { return l.held.Load() }

// news has a report sent soon: something has changed.
func (l *link) news() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// answered keeps what came of a request until the leader knows it.
func (l *link) answered(a api.Answer) {
	l.mu.Lock()
	l.mu.answers = append(l.mu.answers, a)
	l.mu.Unlock()
	l.news()
}

// run reports and obeys until ctx ends. It returns when all that it has started is gone.
func (l *link) run(ctx context.Context) {
	calls, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		l.side.Wait()
		l.forget()
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		news := false
		select {
		case <-timer.C:
		case <-l.kick:
			news = true
		case a := <-l.heard:
			l.underWay--
			l.take(a)
		case <-l.quit:
			l.deaf = true
		case <-l.ended:
			l.ended = nil
			l.lease.Stopped(l.opt.Clock())
		case <-ctx.Done():
		}
		act := l.lease.Poll(l.opt.Clock())
		if act.Stop {
			l.kill(calls, act.Reason)
		}
		l.held.Store(l.lease.State(l.opt.Clock()) == lease.Held)
		if act.Report || news {
			l.report(calls)
		}
		timer.Reset(max(l.lease.Next()-l.opt.Clock(), time.Millisecond))
	}
}

// obeyNoMore has no more orders obeyed, once it has returned. The leader, who does not know yet
// that this agent leaves, would have it start others for executors that are ended.
func (l *link) obeyNoMore(ctx context.Context) {
	select {
	case l.quit <- struct{}{}:
	case <-ctx.Done():
	}
}

// leave tells the leader that this agent ends on purpose. It returns when that was heard, or
// with ctx.
func (l *link) leave(ctx context.Context) {
	l.mu.Lock()
	l.mu.leaving = true
	l.mu.Unlock()
	l.news()
	select {
	case <-l.left:
	case <-ctx.Done():
	}
}

// kill ends all executors, beside the loop.
func (l *link) kill(ctx context.Context, why string) {
	l.opt.Log.Warn("ending all executors", "why", why)
	l.have, l.index = 0, 0
	done := make(chan struct{})
	l.ended = done
	l.side.Go(func() {
		defer close(done)
		// Without an end the lease stays over: nothing is started while something may live.
		for l.opt.Runs.Kill(ctx, why) != nil && ctx.Err() == nil {
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
}

// report sends one to the server that answered last, or to the next.
func (l *link) report(ctx context.Context) {
	if l.underWay >= outstanding {
		return
	}
	if l.client == nil && !l.dial() {
		l.seq++
		l.lease.Sent(l.opt.Clock(), l.seq)
		return
	}
	l.mu.Lock()
	answers, leaving := slices.Clone(l.mu.answers), l.mu.leaving
	l.mu.Unlock()
	l.seq++
	r := &api.Report{Seq: l.seq, Life: l.opt.Life, Node: l.opt.Node, Leaving: leaving, Allocs: l.opt.Runs.Statuses(), Answers: answers, Outputs: l.opt.Outputs(),
		Have: l.have, Wait: l.opt.Lease.Every.Microseconds()}
	l.lease.Sent(l.opt.Clock(), l.seq)
	client, from := l.client, l.addr
	l.underWay++
	l.side.Go(func() {
		// The next report goes out meanwhile; one that takes longer gives no lease.
		ctx, cancel := context.WithTimeout(ctx, l.opt.Lease.Every+2*l.opt.Lease.Margin)
		defer cancel()
		sent := time.Now()
		o, err := client.Report(ctx, r)
		l.opt.Reported(time.Since(sent), err)
		l.heard <- answer{r.Seq, answers, leaving, o, from, err}
	})
}

// dial takes the next server.
func (l *link) dial() bool {
	all := l.opt.Servers()
	if len(all) == 0 {
		return false
	}
	addr := all[l.tried%len(all)]
	l.tried++
	return l.connect(addr)
}

func (l *link) connect(addr string) bool {
	l.forget()
	c, err := rpc.NewNodeClient(addr, l.opt.TLS, rpc.Options{Dial: l.opt.Dial})
	if err != nil {
		l.opt.Log.Warn("a server cannot be dialled", "server", addr, "err", err)
		return false
	}
	l.client, l.addr = c, addr
	return true
}

func (l *link) forget() {
	if l.client != nil {
		_ = l.client.Close() // calls that are under way end with an error, which is heard
		l.client = nil
	}
}

// take obeys what came of a report.
func (l *link) take(a answer) {
	now := l.opt.Clock()
	switch {
	case a.err != nil:
		l.opt.Log.Debug("no orders", "server", a.from, "err", a.err)
		if a.from == l.addr {
			l.forget() // the next report goes to another
		}
		return
	case a.orders.Leader != "":
		if a.from == l.addr && a.orders.Leader != a.from && l.connect(a.orders.Leader) {
			l.news()
		}
		return
	case !l.lease.Answered(now, a.seq, time.Duration(a.orders.Lease)*time.Microsecond):
		return
	}
	if t := l.lease.Tenure(); t != l.tenure {
		l.tenure, l.have, l.index = t, 0, 0
	}
	l.told(a.told)
	if a.left {
		l.once.Do(func() { close(l.left) })
	}
	l.opt.Runs.Known(a.orders.Known)
	if l.deaf || a.orders.Index < l.index || a.orders.Sum == l.have || l.lease.State(now) != lease.Held {
		return
	}
	if err := l.opt.Runs.Apply(a.orders.Allocs); err != nil {
		l.opt.Log.Error("orders cannot be obeyed", "err", err)
		return
	}
	l.have, l.index = a.orders.Sum, a.orders.Index
	for _, r := range a.orders.Requests {
		l.opt.Runs.Ask(r)
	}
	if l.opt.Wanted != nil {
		l.opt.Wanted(a.orders)
	}
}

// told forgets answers that the leader has.
func (l *link) told(answers []api.Answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.answers = slices.DeleteFunc(l.mu.answers, func(a api.Answer) bool { return slices.Contains(answers, a) })
}
