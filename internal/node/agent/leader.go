package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/api/rpc"
	"github.com/weirflow/weir/cluster/raft"
	"github.com/weirflow/weir/cluster/registry"
	"github.com/weirflow/weir/scheduler/control"
)

// decides is what the leader needs of raft.
type decides interface {
	Apply(ctx context.Context, c registry.Command, by string) (registry.Result, error)
	Registry() *registry.Registry
	Leading() (term uint64, ok bool)
	Leader() (id, addr string)
}

// leader is a server's part in deciding: it hears agents, and while it leads it carries
// out what scheduler/control says. It implements rpc.Node.
type leader struct {
	raft  decides
	opt   control.Options
	lease time.Duration
	// version is this release; empty lets agents of all releases have work.
	version string
	now     func() time.Time
	log     *slog.Logger
	// rpc finds where another server is dialled.
	rpc func(id string) string
	// dial connects to an agent.
	dial func(ctx context.Context, addr string) (net.Conn, error)
	// open answers what agents read here.
	open func(context.Context, *rpc.Read) (io.ReadCloser, error)

	wake chan struct{} // 1: something was heard that may change a decision
	side sync.WaitGroup
	mu   struct {
		sync.Mutex
		term  uint64
		since time.Time // when this server came to lead
		heard map[api.NodeID]*contact
		// looking are agents whose connections have ended; nil while this server does not lead.
		looking map[api.NodeID]bool
		ctx     context.Context // of looking
	}
}

// contact is what the leader remembers of an agent's reports.
type contact struct {
	at           time.Time
	dead, leaves bool
	told         []api.AllocStatus // the newest that are in the registry
	decided      time.Time         // when they came there
	newest       []api.AllocStatus
	made         *made // the newest orders; nil: none yet
}

// epochsEvery is how often epochs alone are put into the log, for servers that do not lead.
const epochsEvery = 10 * time.Second

func newLeader(r decides, o control.Options) *leader {
	o.EnsureDefaults()
	l := &leader{raft: r, opt: o, lease: o.Lease, now: time.Now, log: slog.New(slog.DiscardHandler), wake: make(chan struct{}, 1),
		rpc: func(string) string { return "" },
		dial: func(ctx context.Context, addr string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", addr)
		}}
	l.mu.heard = map[api.NodeID]*contact{}
	return l
}

// lead decides until ctx ends, which is when this server no longer leads.
func (l *leader) lead(ctx context.Context, term uint64) {
	l.mu.Lock()
	l.mu.term, l.mu.since = term, l.now()
	// What was told to another leader is not known here to be decided.
	l.mu.heard = map[api.NodeID]*contact{}
	l.mu.Unlock()
	defer l.looks(ctx)()
	l.log.Info("leading", "term", term)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var reasons time.Time // when those that are nothing but reasons were decided last
	for ctx.Err() == nil {
		v := l.raft.Registry().View()
		changed := l.raft.Registry().Watch(v.Index())
		now := l.now()
		d := control.Decide(control.From(v, l.heardOf(v, now), now.UnixMicro(), l.version), l.opt)
		due := now.Sub(reasons) >= reasonsEvery
		err := l.carryOut(ctx, &d, v.Index(), due)
		if err != nil && ctx.Err() == nil {
			l.log.Debug("a decision was not carried out", "err", err)
		}
		wait := time.Minute
		if d.Next > 0 {
			wait = time.Duration(d.Next-l.now().UnixMicro()) * time.Microsecond
		}
		switch {
		case due:
			reasons = now
		case slices.ContainsFunc(d.Jobs, func(j control.JobChange) bool { return j.Minor }):
			wait = min(wait, reasonsEvery)
		}
		if err != nil {
			wait = min(wait, retryEvery)
		}
		timer.Reset(max(wait, time.Millisecond))
		select {
		case <-changed:
		case <-l.wake:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
}

const (
	// reasonsEvery is how often reasons alone are put into the log.
	reasonsEvery = 2 * time.Second
	// retryEvery is how soon a decision is made again of which a command was refused.
	retryEvery = 100 * time.Millisecond
)

// heardOf is what is known of agents beside the registry: all are heard of since this server
// leads. Times are taken by the monotonic clock: when somebody sets the other one, nobody was
// silent for longer.
func (l *leader) heardOf(v *registry.View, now time.Time) map[api.NodeID]control.Heard {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := map[api.NodeID]control.Heard{}
	for _, n := range v.Nodes() {
		h, at := control.Heard{}, l.mu.since
		if c := l.mu.heard[n.Info.ID]; c != nil {
			h.Dead, h.Leaves = c.dead, c.leaves
			if c.at.After(at) {
				at = c.at
			}
		}
		h.At = now.Add(-now.Sub(at)).UnixMicro()
		all[n.Info.ID] = h
	}
	return all
}

// carryOut puts a decision into the log, command by command. One that is refused is left out:
// it is decided again on what there is then, and others need not wait for it.
func (l *leader) carryOut(ctx context.Context, d *control.Decision, at uint64, reasons bool) error {
	var refused error
	for _, c := range d.Commands(at, reasons) {
		switch _, err := l.raft.Apply(ctx, c, ""); {
		case err == nil:
		case errors.Is(err, registry.ErrConflict), errors.Is(err, registry.ErrRefused), errors.Is(err, registry.ErrNotFound), errors.Is(err, registry.ErrLimit):
			refused = err
		default:
			return err
		}
	}
	return refused
}

// Report takes what an agent tells, and answers with what it is to have.
func (l *leader) Report(ctx context.Context, r *api.Report) (*api.Orders, error) {
	if r.Node.ID == "" {
		return nil, errors.New("a report of an agent without an id")
	}
	term, ok := l.raft.Leading()
	l.mu.Lock()
	ok = ok && l.mu.term == term
	l.mu.Unlock()
	if !ok {
		id, _ := l.raft.Leader()
		if id == "" {
			return nil, errors.New("nobody leads just now")
		}
		return &api.Orders{Seq: r.Seq, Leader: l.rpc(id)}, nil
	}
	if err := l.take(ctx, r); err != nil {
		return nil, err
	}
	o := l.orders(r)
	if o.Sum == r.Have && r.Wait > 0 {
		o = l.next(ctx, r)
	}
	// Whoever leads no longer gives no lease.
	if now, ok := l.raft.Leading(); !ok || now != term {
		return nil, errors.New("this server leads no longer")
	}
	o.Seq, o.Lease = r.Seq, l.lease.Microseconds()
	return o, nil
}

// take notes that an agent was heard, and decides what it tells that is new.
func (l *leader) take(ctx context.Context, r *api.Report) error {
	now := l.now()
	n := l.raft.Registry().View().Node(r.Node.ID)
	// An agent that does not count its lives says by its first report that it has begun one, if
	// that comes to whoever leads.
	fresh := r.Life == 0 && r.Seq == 1
	if n == nil || fresh || r.Life != 0 && r.Life != n.Life || n.Gone() || !same(&n.Info, &r.Node) {
		if _, err := l.raft.Apply(ctx, &registry.RegisterNode{Node: r.Node, Fresh: fresh, Life: r.Life}, string(r.Node.ID)); err != nil {
			return err
		}
	}
	l.mu.Lock()
	c := l.mu.heard[r.Node.ID]
	if c == nil {
		c = &contact{}
		l.mu.heard[r.Node.ID] = c
	}
	news := c.at.IsZero() || c.dead || c.leaves != r.Leaving
	c.at, c.dead, c.leaves = now, false, r.Leaving
	c.newest = r.Allocs
	told := slices.EqualFunc(c.told, r.Allocs, func(a, b api.AllocStatus) bool { return sameStatus(&a, &b) }) &&
		(now.Sub(c.decided) < epochsEvery || reflect.DeepEqual(c.told, r.Allocs))
	l.mu.Unlock()
	// What was asked of a job that has ended meanwhile is answered by what it said before.
	if err := l.answers(ctx, r); err != nil {
		return err
	}
	if !told {
		if _, err := l.raft.Apply(ctx, &registry.UpdateAllocs{Node: r.Node.ID, Statuses: r.Allocs}, string(r.Node.ID)); err != nil {
			return err
		}
		l.mu.Lock()
		c.told, c.decided = r.Allocs, now
		l.mu.Unlock()
	}
	if news {
		l.nudge()
	}
	return nil
}

// answers decides what came of savepoints that were asked for.
func (l *leader) answers(ctx context.Context, r *api.Report) error {
	if len(r.Answers) == 0 {
		return nil
	}
	for _, j := range l.raft.Registry().View().Jobs() {
		for _, a := range r.Answers {
			if a.ID == 0 || j.Save.Request != a.ID {
				continue
			}
			epoch, where := j.Report.Epoch, ""
			if _, err := fmt.Sscanf(a.Answer, api.SavepointAnswer, &epoch, &where); err != nil {
				epoch = j.Report.Epoch // one that says it in other words
			}
			c := &registry.AddSavepoint{Job: j.Name, Request: a.ID, Error: a.Error,
				Savepoint: registry.Savepoint{Where: cmp.Or(j.Save.Where, a.Answer), Time: l.now().UnixMicro(), Version: j.Spec().Version,
					Epoch: epoch, Attempt: j.Report.Attempt}}
			if _, err := l.raft.Apply(ctx, c, string(r.Node.ID)); err != nil && !errors.Is(err, registry.ErrRefused) {
				return err
			}
		}
	}
	return nil
}

// next waits for other orders than the agent has, as long as it lets.
func (l *leader) next(ctx context.Context, r *api.Report) *api.Orders {
	ctx, cancel := context.WithTimeout(ctx, min(time.Duration(r.Wait)*time.Microsecond, l.lease/3))
	defer cancel()
	o := l.orders(r)
	for o.Sum == r.Have {
		select {
		case <-l.raft.Registry().Watch(o.Index):
			o = l.orders(r)
		case <-ctx.Done():
			return o
		}
	}
	return o
}

// orders are what the agent is to have, as it is decided. All agents ask after each change, of
// which most concern few: what was made is kept for as long as it holds.
func (l *leader) orders(r *api.Report) *api.Orders {
	v := l.raft.Registry().View()
	l.mu.Lock()
	c := l.mu.heard[r.Node.ID]
	var kept *made
	if c != nil {
		kept = c.made
	}
	l.mu.Unlock()
	if kept == nil || !v.Still(kept.mark) {
		kept = makeOrders(v, r.Node.ID)
		if c != nil {
			l.mu.Lock()
			c.made = kept
			l.mu.Unlock()
		}
	}
	o := kept.orders
	o.Index = v.Index()
	for _, s := range r.Allocs {
		if !s.State.Ended() {
			continue
		}
		if a := v.Alloc(s.Alloc); a == nil || !a.Live() {
			o.Known = append(o.Known, s.Alloc)
		}
	}
	for _, name := range r.Outputs {
		if j := v.Job(name); j == nil || j.Status.Ended() {
			o.Clear = append(o.Clear, name)
		}
	}
	if len(o.Known) > 0 || len(o.Clear) > 0 {
		o.Sum = sum(&o)
	}
	return &o
}

// made are orders without Known and Clear, for as long as the mark holds. They are not changed.
type made struct {
	mark   *registry.Mark
	orders api.Orders
}

func makeOrders(v *registry.View, id api.NodeID) *made {
	m := &made{mark: v.Mark(id)}
	o := &m.orders
	jobs := map[string]*registry.Job{}
	for _, a := range v.AllocsOn(id) {
		j := jobs[a.Alloc.Job]
		if j == nil {
			if j = v.Job(a.Alloc.Job); j == nil {
				continue
			}
			jobs[j.Name] = j
		}
		as := api.Assignment{Alloc: a.Alloc, Job: specNow(j, a.Alloc.Version), Wish: j.Wish, Savepoint: j.Save.Where, Term: j.Term}
		as.Coordinator = coordinatorOf(v, j)
		o.Allocs = append(o.Allocs, as)
		if a.Alloc.Coordinator && a.Alloc.Term == j.Term && j.Save.Request != 0 {
			switch j.Wish {
			case api.WishRun:
				o.Requests = append(o.Requests, api.Request{ID: j.Save.Request, Alloc: a.Alloc.ID, Savepoint: j.Save.Where})
			case api.WishSave:
				o.Allocs[len(o.Allocs)-1].Save = j.Save.Request
			}
		}
	}
	o.Sum = sum(o)
	return m
}

// specOf is the job's specification in a version; the newest where that is forgotten.
func specOf(j *registry.Job, version uint64) *api.JobSpec {
	for i := range j.Versions {
		if s := &j.Versions[i].Spec; s.Version == version {
			return s
		}
	}
	return j.Spec()
}

// specNow is the job's specification in a version, with the parallelism that is wanted of it
// now.
func specNow(j *registry.Job, version uint64) api.JobSpec {
	s := *specOf(j, version)
	if p := j.Scale.Parallelism; p > 0 && version == j.Spec().Version {
		s.Parallelism = p
	}
	return s
}

// coordinatorOf is where the job's newest coordinator is dialled, empty while it does not
// listen.
func coordinatorOf(v *registry.View, j *registry.Job) string { return v.Control(j.Name) }

// Open reads a program from this server.
func (l *leader) Open(ctx context.Context, q *rpc.Read) (io.ReadCloser, error) {
	if l.open == nil || *q == (rpc.Read{}) {
		return nil, errors.New("there is nothing to read")
	}
	return l.open(ctx, q)
}

// reported is what a job's coordinator has said last, if this server leads and it is newer than
// what was decided of it: epochs alone are not.
func (l *leader) reported(v *registry.View, j *registry.Job) api.JobReport {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range v.AllocsOf(j.Name) {
		c := l.mu.heard[a.Alloc.Node]
		if c == nil || !a.Alloc.Coordinator || a.Alloc.Term != j.Term {
			continue
		}
		for i := range c.newest {
			if r := c.newest[i].Job; r != nil && c.newest[i].Alloc == a.Alloc.ID && r.Attempt >= j.Report.Attempt && r.Epoch > j.Report.Epoch {
				return *r
			}
		}
	}
	return j.Report
}

// seen is when an agent was heard of last, in microseconds since 1970; 0 where this server
// does not know: it does not lead, or has not heard of it.
func (l *leader) seen(id api.NodeID) int64 {
	term, ok := l.raft.Leading()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !ok || l.mu.term != term {
		return 0 // what it has heard is of a term that is over
	}
	if c := l.mu.heard[id]; c != nil {
		return c.at.UnixMicro()
	}
	return 0
}

var (
	_ decides   = (*raft.Node)(nil)
	_ rpc.Node  = (*leader)(nil)
	_ rpc.Loser = (*leader)(nil)
)
