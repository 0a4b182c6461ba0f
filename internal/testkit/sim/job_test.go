package sim

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/sdk"
)

// Work is the job that runs in a simulation: it counts records by key, so that the results of
// each key have to be 1, 2, 3 and so on, each once.
type Work struct {
	Splits, Records, Keys, Parallelism int
	// Every is the time between two records of a split, from Start on.
	Every time.Duration
	Start time.Time
	// Align is how long barriers are aligned before an epoch overtakes.
	Align time.Duration
}

// count is a result.
type count = sdk.KeyValue[int, int64]

// plan builds it for one process.
func (j Work) plan(p *Process, l *ledger) (*graph.Plan, error) {
	b := sdk.New("counting")
	read := sdk.Read(b, &source{j})
	sdk.Write(sdk.Aggregate(sdk.KeyBy(read, func(v int) int { return v % j.Keys }), sdk.Count[int]()), &sink{l, p})
	g, err := b.Graph()
	if err != nil {
		return nil, err
	}
	return graph.Build(g, graph.PlanOptions{Parallelism: j.Parallelism, Chaining: true})
}

// source brings each record when its time has come.
type source struct{ j Work }

func (s *source) Info() operator.SourceInfo {
	return operator.SourceInfo{Kind: "clock", Assign: operator.AssignSpread}
}

func (s *source) Enumerator() (operator.Enumerator, error) { return &enumerator{n: s.j.Splits}, nil }

func (s *source) Reader(ctx *operator.ReaderContext) (operator.Reader[int], error) {
	return &reader{j: s.j, now: ctx.Now}, nil
}

type enumerator struct {
	n    int
	done bool
}

func (e *enumerator) Discover(context.Context) (operator.Discovery, error) {
	d := operator.Discovery{Done: true}
	for i := 0; i < e.n && !e.done; i++ {
		d.Splits = append(d.Splits, operator.Split{ID: strconv.Itoa(i), Data: []byte("0")})
	}
	e.done = true
	return d, nil
}

func (*enumerator) Finished([]string) {}

func (e *enumerator) Snapshot() ([]byte, error) { return strconv.AppendBool(nil, e.done), nil }

func (e *enumerator) Restore(data []byte) (err error) {
	e.done, err = strconv.ParseBool(string(data))
	return err
}

func (*enumerator) Close() error { return nil }

// part is a split that is being read.
type part struct {
	id        string
	split, at int
	paused    bool
}

type reader struct {
	j     Work
	now   func() flow.Time
	parts []*part
	turn  int
}

func (r *reader) Add(s operator.Split) error {
	split, err := strconv.Atoi(s.ID)
	if err != nil {
		return err
	}
	at, err := strconv.Atoi(string(s.Data))
	if err != nil {
		return err
	}
	r.parts = append(r.parts, &part{id: s.ID, split: split, at: at})
	return nil
}

func (r *reader) Read(into *operator.Records[int], limit int) (operator.Status, error) {
	began, first := flow.TimeOf(r.j.Start), flow.Time(0)
	for range r.parts {
		r.turn = (r.turn + 1) % len(r.parts)
		p := r.parts[r.turn]
		if p.paused {
			continue
		}
		next := began.Add(time.Duration(p.at) * r.j.Every)
		if p.at < r.j.Records && next > r.now() {
			if first == 0 || next < first {
				first = next
			}
			continue
		}
		due := int(int64(r.now()-began)/max(1, int64(flow.Span(r.j.Every)))) + 1
		into.Split = p.id
		for ; limit > 0 && p.at < min(due, r.j.Records); limit-- {
			into.Values = append(into.Values, p.split*r.j.Records+p.at)
			p.at++
		}
		if p.at == r.j.Records {
			into.Done = true
			r.parts = slices.Delete(r.parts, r.turn, r.turn+1)
		}
		return operator.More, nil
	}
	if first == 0 {
		return operator.WaitForWake, nil
	}
	return operator.WaitUntil(first), nil
}

func (r *reader) Where() string { return fmt.Sprintf("%d splits", len(r.parts)) }

func (r *reader) Snapshot() (all []operator.Split, err error) {
	for _, p := range r.parts {
		all = append(all, operator.Split{ID: p.id, Data: strconv.AppendInt(nil, int64(p.at), 10)})
	}
	return all, nil
}

func (r *reader) Pause(split string, paused bool) {
	for _, p := range r.parts {
		if p.id == split {
			p.paused = paused
		}
	}
}

func (*reader) Close() error { return nil }

// ledger is where the job's results go: a database of two phases, outside of all hosts.
type ledger struct {
	mu     sync.Mutex
	chunks []*chunk
}

// chunk is what a writer has prepared for an epoch.
type chunk struct {
	epoch     flow.Epoch
	attempt   flow.Attempt
	by        string // the process that wrote it
	results   []count
	committed string // the process that has committed it first
}

// sink is the ledger as one process reaches it.
type sink struct {
	l *ledger
	p *Process
}

func (s *sink) Info() operator.SinkInfo {
	return operator.SinkInfo{Kind: "ledger", Guarantee: graph.ExactlyOnce}
}

func (s *sink) Writer(ctx *operator.WriterContext) (operator.Writer[count], error) {
	return &writer{s: s, ctx: ctx}, nil
}

func (s *sink) Committer(*operator.CommitterContext) (operator.Committer, error) { return s, nil }

// Commit makes what was prepared part of the result. A repeat changes nothing.
func (s *sink) Commit(ctx context.Context, epoch flow.Epoch, prepared [][]byte) error {
	if err := s.p.Pass(ctx); err != nil {
		return err
	}
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	for _, b := range prepared {
		c := s.l.chunks[binary.LittleEndian.Uint64(b)]
		if c.epoch != epoch {
			return fmt.Errorf("what was prepared for epoch %d is committed with %d", c.epoch, epoch)
		}
		if c.committed == "" {
			c.committed = s.p.name
		}
	}
	return nil
}

func (*sink) Close() error { return nil }

type writer struct {
	s    *sink
	ctx  *operator.WriterContext
	open []count
}

func (w *writer) Write(b *flow.Batch[count]) error {
	w.open = append(w.open, b.Values...)
	return nil
}

func (*writer) Idle() error { return nil }

func (w *writer) Prepare(b flow.Barrier) ([]byte, error) {
	if len(w.open) == 0 {
		return nil, nil
	}
	if err := w.s.p.Pass(w.ctx.Context); err != nil {
		return nil, err
	}
	w.s.l.mu.Lock()
	defer w.s.l.mu.Unlock()
	w.s.l.chunks = append(w.s.l.chunks, &chunk{epoch: b.Epoch, attempt: w.ctx.Attempt, by: w.s.p.name, results: w.open})
	w.open = nil
	return binary.LittleEndian.AppendUint64(nil, uint64(len(w.s.l.chunks)-1)), nil
}

func (*writer) Tick(flow.Time) error { return nil }

func (*writer) Close() error { return nil }

// tally counts what was lost and what was committed twice, and says where.
func (l *ledger) tally(j Work) (lost, doubled int, first string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := map[count]*chunk{}
	say := func(format string, args ...any) {
		if first == "" {
			first = fmt.Sprintf(format, args...)
		}
	}
	for _, c := range l.chunks {
		if c.committed == "" {
			continue
		}
		for _, r := range c.results {
			if o := seen[r]; o != nil {
				doubled++
				say("key %d, number %d: committed by %s (written by %s in epoch %d of attempt %v), and by %s (written by %s in epoch %d of attempt %v)",
					r.Key, r.Value, o.committed, o.by, o.epoch, o.attempt, c.committed, c.by, c.epoch, c.attempt)
			}
			seen[r] = c
		}
	}
	all := j.Splits * j.Records
	for key := range j.Keys {
		n := all / j.Keys
		if key < all%j.Keys {
			n++
		}
		for i := range n {
			if seen[count{Key: key, Value: int64(i + 1)}] == nil {
				lost++
				say("key %d, number %d of %d was never committed", key, i+1, n)
			}
			delete(seen, count{Key: key, Value: int64(i + 1)})
		}
	}
	for r := range seen {
		doubled++
		say("key %d has the number %d, which is more than it has records", r.Key, r.Value)
		break
	}
	return lost, doubled, first
}
