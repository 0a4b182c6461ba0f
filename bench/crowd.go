package bench

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/api/rpc"
)

// crowd is agents that are nothing but their reports, each with a connection and a goroutine of its
// own: to the leader they are agents that run what they are told to.
type crowd struct {
	cancel  context.CancelFunc
	over    sync.WaitGroup
	reports atomic.Int64
	tasks   atomic.Int64 // that run
	late    latencies

	mu  sync.Mutex
	err error // the first
}

// heartbeat is how often agents report, by default.
const heartbeat = 200 * time.Millisecond

func newCrowd(ctx context.Context, s *Scale, leader string) *crowd {
	ctx, cancel := context.WithCancel(ctx)
	c := &crowd{cancel: cancel}
	for i := range s.Agents {
		c.over.Go(func() {
			// They do not all begin at once, as agents do not.
			select {
			case <-time.After(time.Duration(i) * heartbeat / time.Duration(s.Agents)):
			case <-ctx.Done():
				return
			}
			if err := c.agent(ctx, s.node(i), s.Tasks/s.Jobs, leader); err != nil && ctx.Err() == nil {
				c.mu.Lock()
				if c.err == nil {
					c.err = err
				}
				c.mu.Unlock()
			}
		})
	}
	return c
}

func (c *crowd) stop() {
	c.cancel()
	c.over.Wait()
}

func (c *crowd) failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// agent reports until ctx ends. A report that is refused is sent again: a leader that has just
// come to lead refuses some.
func (c *crowd) agent(ctx context.Context, n api.Node, slots int, leader string) error {
	cl, err := rpc.NewNodeClient(leader, nil, rpc.Options{})
	if err != nil {
		return fmt.Errorf("agent %s: %w", n.ID, err)
	}
	defer cl.Close()
	has := map[api.AllocID]api.AllocStatus{}
	r := &api.Report{Node: n, Wait: heartbeat.Microseconds()}
	for ctx.Err() == nil {
		sent := time.Now()
		r.Seq++
		r.Allocs = slices.SortedFunc(maps.Values(has), func(a, b api.AllocStatus) int { return strings.Compare(string(a.Alloc), string(b.Alloc)) })
		o, err := cl.Report(ctx, r)
		took := time.Since(sent)
		c.reports.Add(1)
		news := false
		switch {
		case err != nil && ctx.Err() == nil:
			r.Seq-- // 1 says that the agent has just started
		case err == nil:
			c.late.add(max(0, took-heartbeat))
			r.Have = o.Sum
			news = c.obey(o, has, slots)
		}
		if left := heartbeat - took; !news && left > 0 {
			select {
			case <-time.After(left):
			case <-ctx.Done():
			}
		}
	}
	return nil
}

// obey has what is ordered, and reports whether that is news.
func (c *crowd) obey(o *api.Orders, has map[api.AllocID]api.AllocStatus, slots int) (news bool) {
	for _, id := range o.Known {
		delete(has, id)
	}
	for _, a := range o.Allocs {
		s, known := has[a.Alloc.ID]
		switch {
		case !known && !a.Alloc.Stop:
			has[a.Alloc.ID] = running(a.Alloc, slots)
			c.tasks.Add(int64(a.Alloc.Slots))
			news = true
		case known && a.Alloc.Stop && !s.State.Ended():
			has[a.Alloc.ID] = api.AllocStatus{Alloc: a.Alloc.ID, State: api.AllocEnded}
			c.tasks.Add(-int64(a.Alloc.Slots))
			news = true
		}
	}
	return news
}

// latencies are the newest of those that were told.
type latencies struct {
	mu   sync.Mutex
	all  []time.Duration
	next int
}

// mostLatencies bounds what is kept.
const mostLatencies = 1 << 17

func (l *latencies) add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.all) < mostLatencies {
		l.all = append(l.all, d)
		return
	}
	l.all[l.next] = d
	l.next = (l.next + 1) % mostLatencies
}

func (l *latencies) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all, l.next = l.all[:0], 0
}

func (l *latencies) quantile(q float64) float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return quantileMS(l.all, q)
}
