package metamorphic

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/weirflow/weir/connector/slice"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/sdk"
)

// build makes an sdk pipeline of a description, for one run.
type build struct {
	p     *Pipeline
	in    *Input
	c     Config
	watch *watch
	rnd   *rand.Rand
	sinks map[ref]*sink
	// open counts the splits whose sentinel was not yet seen; allRead is called at 0.
	open    atomic.Int64
	allRead func()
	life    *life // nil where there is but one
}

// pipeline builds it.
func (b *build) pipeline() *sdk.Pipeline {
	p := sdk.New("metamorphic")
	if b.p.KeyGroups > 0 {
		p.MaxParallelism(b.p.KeyGroups)
	}
	if b.sinks == nil {
		b.sinks = map[ref]*sink{}
	}
	streams := make([][]*sdk.Stream[Record], len(b.p.Nodes))
	for i, n := range b.p.Nodes {
		if n.op == sourceOp {
			streams[i] = one(b.source(p, n))
			continue
		}
		in := make([]*sdk.Stream[Record], len(n.in))
		for j, r := range n.in {
			in[j] = streams[r.node][r.out]
		}
		streams[i] = n.op.build(b, n, in)
	}
	for _, r := range b.p.sinks() {
		s := b.sinks[r]
		if s == nil {
			s = newSink(b.watch, b.p.Nodes[r.node])
			b.sinks[r] = s
		}
		sdk.Write(streams[r.node][r.out], &opened{s, b.life}, b.named(b.p.Nodes[r.node], fmt.Sprint("sink ", r.out))...)
	}
	return p
}

// named are the options of an operator that is part of a node.
func (b *build) named(n *node, part string) []sdk.Option {
	opts := []sdk.Option{sdk.Name(fmt.Sprintf("n%d %s %s", n.id, n.op.name, part))}
	if n.par > 0 {
		opts = append(opts, sdk.Parallelism(n.par))
	}
	if b.c.Chaining && b.rnd.IntN(4) == 0 {
		opts = append(opts, sdk.NoChain())
	}
	return opts
}

// opts are the options of a node's main operator.
func (b *build) opts(n *node) []sdk.Option { return b.named(n, "") }

func (b *build) tryOpts(n *node, policy sdk.TryOption) []sdk.TryOption {
	opts := []sdk.TryOption{policy}
	for _, o := range b.opts(n) {
		opts = append(opts, o.(sdk.CommonOption))
	}
	return opts
}

// yield gives others a turn at records that are chosen by chance.
func (b *build) yield(r Record) {
	if b.c.Yield > 0 && mix(b.c.Seed, uint64(r.Pos), uint64(r.Origin))%uint64(b.c.Yield) == 0 {
		runtime.Gosched()
	}
}

// source builds a source with its input cut into splits.
func (b *build) source(p *sdk.Pipeline, n *node) *sdk.Stream[Record] {
	splits := b.in.splits(n.id, b.c.Splits, b.c.Seed)
	timed := make([][]slice.Record[Record], len(splits))
	for i, rs := range splits {
		for _, r := range rs {
			timed[i] = append(timed[i], slice.Record[Record]{Value: r, Time: sdk.Time(r.Time)})
		}
		if b.c.anyUnbounded() {
			b.open.Add(1)
			timed[i] = append(timed[i], slice.Record[Record]{Value: Record{Time: b.in.far(), Origin: sentinel}, Time: sdk.Time(b.in.far())})
		}
	}
	src := &source{Source: slice.TimedSplits(timed...), c: b.c, life: b.life}
	if b.c.untimed(n.id) {
		src.Source = slice.Splits(plain(timed)...)
	}
	if b.c.unbounded(n.id) {
		src.Unbounded()
	}
	var opts []sdk.SourceOption
	for _, o := range b.opts(n) {
		opts = append(opts, o.(sdk.CommonOption))
	}
	stamp := func(r Record) sdk.Time { return sdk.Time(r.Time) }
	if b.c.Seed%2 == 0 {
		stamp = nil // the source's own times
	}
	if b.c.untimed(n.id) {
		return b.sentinels(n, sdk.Read(p, src, opts...))
	}
	w := sdk.OutOfOrder(time.Duration(b.in.bound())*time.Microsecond, stamp)
	if b.c.Align {
		w = w.WithAlignment("all", 2*time.Millisecond)
	}
	return b.sentinels(n, sdk.ReadTimed(p, src, w, opts...))
}

func plain(timed [][]slice.Record[Record]) [][]Record {
	splits := make([][]Record, len(timed))
	for i, rs := range timed {
		for _, r := range rs {
			splits[i] = append(splits[i], r.Value)
		}
	}
	return splits
}

// sentinels drops the sentinels and counts them.
func (b *build) sentinels(n *node, s *sdk.Stream[Record]) *sdk.Stream[Record] {
	return sdk.Filter(s, func(r Record) bool {
		if r.Origin != sentinel {
			return true
		}
		if b.open.Add(-1) == 0 {
			b.allRead()
		}
		return false
	}, b.named(n, "sentinels")...)
}

// source is a slice source that reads in runs of random length.
type source struct {
	*slice.Source[Record]
	c    Config
	life *life
}

func (s *source) Info() operator.SourceInfo {
	info := s.Source.Info()
	if s.c.OnDemand {
		info.Assign = operator.AssignOnDemand
	}
	return info
}

func (s *source) Reader(ctx *operator.ReaderContext) (operator.Reader[Record], error) {
	r, err := s.Source.Reader(ctx)
	if err == nil && s.life != nil {
		r = &counted{Reader: r, life: s.life, now: ctx.Now}
	}
	if err != nil || !s.c.Uneven {
		return r, err
	}
	return &uneven{r, ctx, rand.New(rand.NewPCG(s.c.Seed, uint64(ctx.Subtask)))}, nil
}

// uneven reads runs of random length, and sometimes says that it has nothing yet,
// and in the same moment that it has.
type uneven struct {
	operator.Reader[Record]
	ctx *operator.ReaderContext
	rnd *rand.Rand
}

func (r *uneven) Read(into *operator.Records[Record], limit int) (operator.Status, error) {
	if r.rnd.IntN(8) == 0 {
		r.ctx.Wake()
		return operator.WaitForWake, nil
	}
	return r.Reader.Read(into, 1+r.rnd.IntN(limit))
}

// counted tells a life of the records that are read. It paces them, so that there are
// some epochs in a life: of every so many records some wait for the next epoch, though
// not for ever.
type counted struct {
	operator.Reader[Record]
	life   *life
	now    func() flow.Time
	read   int64
	waited int
}

func (r *counted) Read(into *operator.Records[Record], limit int) (operator.Status, error) {
	if pace := r.life.pace; pace > 0 && r.read > pace*(1+r.life.epochs.Load()) && r.waited < 100 {
		r.waited++
		return operator.WaitUntil(r.now() + 1000), nil
	}
	st, err := r.Reader.Read(into, limit)
	if err == nil {
		r.read += int64(len(into.Values))
		err = r.life.at(AtRecord, int64(len(into.Values)))
	}
	return st, err
}
