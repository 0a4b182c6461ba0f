package agent

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/api/rpc"
	"github.com/weirflow/weir/cluster/certs"
	"github.com/weirflow/weir/cluster/registry"
	"github.com/weirflow/weir/web"
)

// maxLogs is how many logs of a job are read at a time.
const maxLogs = 64

// Logs reads the logs of the job's executors, each where it is: one after the other, or,
// where it follows them, side by side.
func (b *backend) Logs(ctx context.Context, name string, q web.LogQuery, emit func(api.LogLine) error) error {
	v := b.view()
	if v.Job(name) == nil {
		return noJob(name)
	}
	var of []*registry.Alloc
	for _, a := range v.AllocsOf(name) {
		if q.Alloc == "" || a.Alloc.ID == q.Alloc {
			of = append(of, a)
		}
	}
	if len(of) == 0 {
		if q.Alloc != "" {
			return api.Errorf(api.CodeNotFound, "job %q has no executor %q", name, q.Alloc).WithHint("weir job status %s lists them", name)
		}
		return nil
	}
	of = of[max(0, len(of)-maxLogs):]
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines := make(chan api.LogLine)
	read := func(a *registry.Alloc) error {
		r, err := b.a.openAt(ctx, v, a, &rpc.Read{Log: a.Alloc.ID, Tail: q.Tail, Follow: q.Follow && a.Live()})
		if err != nil {
			return err
		}
		defer r.Close()
		return scan(r, func(l api.LogLine) error {
			if l.Alloc = a.Alloc.ID; q.Stream != "" && l.Stream != q.Stream {
				return nil
			}
			select {
			case lines <- l:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}
	var side sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	got := 0
	note := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			got++
		} else {
			errs = append(errs, err)
		}
	}
	side.Go(func() {
		defer close(lines)
		var each sync.WaitGroup
		for _, a := range of {
			if q.Follow {
				each.Go(func() { note(read(a)) })
			} else {
				note(read(a))
			}
		}
		each.Wait()
	})
	var refused error
	for l := range lines {
		if refused == nil {
			if refused = emit(l); refused != nil {
				cancel()
			}
		}
	}
	side.Wait()
	switch {
	case refused != nil:
		return refused
	case got == 0 && len(errs) > 0 && ctx.Err() == nil:
		return api.Errorf(api.CodeNotFound, "the logs of job %q: %v", name, errors.Join(errs...))
	}
	return ctx.Err()
}

// scan reads lines as executor.Manager gives them: time, stream, text.
func scan(r io.Reader, f func(api.LogLine) error) error {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 64<<10), 1<<20)
	for s.Scan() {
		at, rest, _ := strings.Cut(s.Text(), " ")
		stream, text, _ := strings.Cut(rest, " ")
		l := api.LogLine{Stream: "stderr", Text: text}
		if strings.EqualFold(stream, "O") {
			l.Stream = "stdout"
		}
		if t, err := time.Parse(time.RFC3339Nano, at); err == nil {
			l.Time = t.UnixMicro()
		}
		if err := f(l); err != nil {
			return err
		}
	}
	return s.Err()
}

// openAt reads something of an allocation at its agent.
func (a *Agent) openAt(ctx context.Context, v *registry.View, x *registry.Alloc, q *rpc.Read) (io.ReadCloser, error) {
	n := v.Node(x.Alloc.Node)
	if n == nil {
		return nil, errors.New("its agent is not known any more")
	}
	return a.openNode(ctx, n.Info.ID, n.Info.RPC, q)
}

// openNode reads something of an agent, at its address.
func (a *Agent) openNode(ctx context.Context, id api.NodeID, addr string, q *rpc.Read) (io.ReadCloser, error) {
	if id == a.node.ID {
		return a.read(ctx, q)
	}
	c, err := rpc.NewNodeClient(addr, a.clientTLS(certs.Server, certs.Agent), rpc.Options{Dial: a.o.Host.Dial})
	if err != nil {
		return nil, err
	}
	r, err := c.Open(ctx, q)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return &fetched{r, c}, nil
}

// askTimeout is how long an executor may take to answer.
const askTimeout = 5 * time.Second

// askAt asks an executor something, at its agent.
func (a *Agent) askAt(ctx context.Context, v *registry.View, x *registry.Alloc, what string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	r, err := a.openAt(ctx, v, x, &rpc.Read{Ask: what, Of: x.Alloc.ID})
	if err != nil {
		return "", err
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, 1<<20))
	return string(text), err
}

// asked are questions of this agent that wait for an answer. Their numbers have the highest
// bit, which those that servers decide have not.
type asked struct {
	mu   sync.Mutex
	last uint64
	wait map[uint64]chan api.Answer
}

const own = 1 << 63

// ask asks an executor of this agent. It returns the number of the question with the answer.
func (a *Agent) ask(ctx context.Context, id api.AllocID, what string, within time.Duration) (uint64, string, error) {
	c := make(chan api.Answer, 1)
	a.asked.mu.Lock()
	a.asked.last++
	number := a.asked.last | own
	if a.asked.wait == nil {
		a.asked.wait = map[uint64]chan api.Answer{}
	}
	a.asked.wait[number] = c
	a.asked.mu.Unlock()
	defer func() {
		a.asked.mu.Lock()
		delete(a.asked.wait, number)
		a.asked.mu.Unlock()
	}()
	a.executors.Ask(api.Request{ID: number, Alloc: id, Ask: what})
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case x := <-c:
		if x.Error != "" {
			return number, "", errors.New(x.Error)
		}
		return number, x.Answer, nil
	case <-timer.C:
		return number, "", errors.New("the executor does not answer")
	case <-ctx.Done():
		return number, "", context.Cause(ctx)
	}
}

// answer takes what an executor has answered, to whoever asked.
func (a *Agent) answer(x api.Answer) {
	if x.ID&own == 0 {
		a.link.answered(x)
		return
	}
	a.asked.mu.Lock()
	c := a.asked.wait[x.ID]
	a.asked.mu.Unlock()
	if c != nil {
		select {
		case c <- x:
		default:
		}
	}
}
