package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/api/rpc"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/shuffle/spill"
)

// agents is what the agents of a cluster keep for a job, for one of its processes: outputs
// are written by way of its own agent's store, and read from any.
type agents struct {
	ctx context.Context // of what outputs are written for
	job flow.JobID
	own string // where its own agent is
	tls *tls.Config
	opt rpc.Options
	// patience is how long an agent may not answer before what it has is given up.
	patience time.Duration
	mu       struct {
		sync.Mutex
		clients map[string]*rpc.OutputClient
	}
}

// agentPatience is longer than a process takes to start again, or a network to find another
// way, and short beside running tasks again.
const agentPatience = 3 * time.Second

func newAgents(ctx context.Context, m *Member) *agents {
	a := &agents{ctx: ctx, job: flow.JobID(m.Hello.Job), own: m.Hello.Store, tls: m.AgentTLS, opt: m.RPC, patience: agentPatience}
	a.mu.clients = map[string]*rpc.OutputClient{}
	return a
}

// closeOr ends all connections, and logs what goes wrong with that.
func (a *agents) closeOr(log *slog.Logger) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for addr, c := range a.mu.clients {
		if err := c.Close(); err != nil {
			log.Warn("closing the connection to an agent's outputs", "agent", addr, "err", err)
		}
	}
	clear(a.mu.clients)
}

func (a *agents) client(addr string) (*rpc.OutputClient, error) {
	if addr == "" {
		return nil, errors.New("the agent has told no address of its outputs: is it of an older release?")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.mu.clients[addr]
	if c == nil {
		var err error
		if c, err = rpc.NewOutputClient(addr, a.tls, a.opt); err != nil {
			return nil, err
		}
		a.mu.clients[addr] = c
	}
	return c, nil
}

// patiently calls f until it has reached the agent, for as long as patience lasts.
func (a *agents) patiently(ctx context.Context, addr string, f func(*rpc.OutputClient) error) error {
	until := time.Now().Add(a.patience)
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, 500*time.Millisecond) {
		c, err := a.client(addr)
		if err != nil {
			return err
		}
		err = f(c)
		if !errors.Is(err, rpc.ErrUnreachable) || ctx.Err() != nil || !time.Now().Add(wait).Before(until) {
			return err
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return err
		}
	}
}

func (a *agents) call(ctx context.Context, addr string, q *rpc.OutputCall) (ans rpc.OutputAnswer, err error) {
	q.Job = string(a.job)
	err = a.patiently(ctx, addr, func(c *rpc.OutputClient) (err error) {
		ctx, cancel := context.WithTimeout(ctx, a.patience)
		defer cancel()
		ans, err = c.Call(ctx, q)
		return err
	})
	return ans, err
}

// mine asks the own agent something about an output.
func (a *agents) mine(do string, id spill.ID, bytes int64) (rpc.OutputAnswer, error) {
	ans, err := a.call(a.ctx, a.own, &rpc.OutputCall{Do: do, Output: apiOutput(id), Bytes: bytes})
	if err != nil {
		return ans, fmt.Errorf("the agent's outputs (%s): %w", do, err)
	}
	return ans, nil
}

// Begin is of spill.Host, as those that follow.
func (a *agents) Begin(id spill.ID) (string, error) {
	ans, err := a.mine(rpc.OutputBegin, id, 0)
	return ans.Path, err
}

func (a *agents) Reserve(id spill.ID, bytes int64) error {
	_, err := a.mine(rpc.OutputReserve, id, bytes)
	return err
}

func (a *agents) Done(s spill.Summary) error {
	_, err := a.mine(rpc.OutputDone, s.ID, 0)
	return err
}

// Drop has no error: what an agent does not hear it finds out when the job ends.
func (a *agents) Drop(id spill.ID) { _, _ = a.mine(rpc.OutputDrop, id, 0) }

var _ spill.Host = (*agents)(nil)

// opener opens what lies at an agent.
func (a *agents) opener(addr string) spill.Opener { return agentOutputs{a, addr} }

type agentOutputs struct {
	a    *agents
	addr string
}

func (o agentOutputs) OpenRange(ctx context.Context, id spill.ID, r spill.Range) (io.ReadCloser, error) {
	q := &rpc.OutputCall{Job: string(o.a.job), Output: apiOutput(id), First: r.First, End: r.End}
	var stream io.ReadCloser
	err := o.a.patiently(ctx, o.addr, func(c *rpc.OutputClient) (err error) {
		stream, err = c.Open(ctx, q)
		return err
	})
	if errors.Is(err, rpc.ErrUnreachable) {
		return nil, fmt.Errorf("%w: %s: %w", spill.ErrUnreachable, o.addr, err)
	}
	if err != nil {
		return nil, fmt.Errorf("at the agent %s: %w", o.addr, err)
	}
	return &interrupted{stream, ctx, o}, nil
}

// interrupted is a stream of an agent. When it breaks, the agent is asked whether it is
// still there.
type interrupted struct {
	io.ReadCloser
	ctx context.Context
	of  agentOutputs
}

func (s *interrupted) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if err == nil || !errors.Is(err, rpc.ErrUnreachable) || s.ctx.Err() != nil {
		return n, err
	}
	if s.of.a.Probe(s.ctx, s.of.addr) != nil {
		return n, fmt.Errorf("%w: %s: %w", spill.ErrUnreachable, s.of.addr, err)
	}
	return n, fmt.Errorf("%w: %s: %w", spill.ErrInterrupted, s.of.addr, err)
}

// Probe says why an agent does not answer, nil if it does.
func (a *agents) Probe(ctx context.Context, addr string) error {
	_, err := a.call(ctx, addr, &rpc.OutputCall{Do: rpc.OutputPing})
	return err
}

// remove removes an output that nobody needs.
func (a *agents) remove(ctx context.Context, x api.Output) error {
	_, err := a.call(ctx, x.Node, &rpc.OutputCall{Do: rpc.OutputRemove, Output: x})
	return err
}

// stores is agents as the scheduler sees them.
type stores struct{ *agents }

func (s stores) Drop(ctx context.Context, x api.Output) error { return s.remove(ctx, x) }

func (s stores) Clear(ctx context.Context, addr string) error {
	_, err := s.call(ctx, addr, &rpc.OutputCall{Do: rpc.OutputClear})
	return err
}

func apiOutput(id spill.ID) api.Output {
	return api.Output{Edge: api.Edge{To: string(id.Exchange.To), Port: int(id.Exchange.Port), Index: id.Exchange.Index},
		Producer: id.Producer, Attempt: uint64(id.Attempt)}
}

// Serve answers executors out of an agent's store.
func Serve(s *spill.Store) rpc.Outputs { return served{s} }

type served struct{ s *spill.Store }

// Call does what an executor asks for.
func (v served) Call(_ context.Context, q *rpc.OutputCall) (a rpc.OutputAnswer, err error) {
	if q.Job == "" {
		return a, errors.New("a call for outputs of no job")
	}
	id := outputID(flow.JobID(q.Job), q.Output)
	switch q.Do {
	case rpc.OutputPing:
	case rpc.OutputBegin:
		a.Path, err = v.s.Begin(id)
	case rpc.OutputReserve:
		if q.Bytes < 0 {
			return a, fmt.Errorf("%d bytes to reserve", q.Bytes)
		}
		err = v.s.Reserve(id, q.Bytes)
	case rpc.OutputDone:
		err = v.s.DoneFile(id)
	case rpc.OutputDrop:
		v.s.Drop(id)
	case rpc.OutputRemove:
		err = v.s.Remove(id)
	case rpc.OutputClear:
		err = v.s.RemoveJob(id.Job)
	default:
		err = fmt.Errorf("%.40q is not known to this release: update the agent", q.Do)
	}
	return a, err
}

// Open reads sub-partitions of an output.
func (v served) Open(ctx context.Context, q *rpc.OutputCall) (io.ReadCloser, error) {
	return v.s.OpenRange(ctx, outputID(flow.JobID(q.Job), q.Output), spill.Range{First: q.First, End: q.End})
}
