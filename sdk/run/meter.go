package run

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/internal/obs"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/scheduler"
	"github.com/weirflow/weir/scheduler/job"
)

// view is what people and programs are shown of a job: the state of one instant.
type view struct {
	Job     string
	State   string
	Elapsed time.Duration
	Epochs  int64 // committed by this run
	Epoch   int64 // the newest that was committed, 0 for none
	// Restored is the epoch that the run started from, 0 for none; Savepoint says that
	// it was a savepoint.
	Restored  int64
	Savepoint bool
	Restarts  int64
	Bad       int64 // of all operators
	Late      int64
	Ports     []port // sources, then sinks, in the order of the graph
}

// port is where records come in or go out: a source or a sink.
type port struct {
	Source   bool
	Operator flow.OperatorID
	Name     string
	Records  int64
	Bytes    int64
	Bad      int64
	// RecordRate and ByteRate are of a second: of late while the job runs, of the
	// whole run at its end.
	RecordRate float64
	ByteRate   float64
	// Bounded says that the source's size is known: Done of Total is read.
	Bounded     bool
	Done, Total int64
	ETA         time.Duration // 0: not known
	// Lag is how far event time is behind the clock; 0 where there is none.
	Watermark flow.Time
	Lag       time.Duration
}

// share is how much of a bounded source is read, from 0 to 1.
func (p *port) share() float64 {
	if p.Total <= 0 {
		return 0
	}
	return min(1, float64(p.Done)/float64(p.Total))
}

// meter watches a run. Its listener is called by the scheduler, its take by one
// goroutine.
type meter struct {
	job      string
	started  time.Time
	registry *obs.Registry
	ports    []*metered
	byID     map[flow.OperatorID]*metered

	state     atomic.Int32 // a job.State
	epochs    atomic.Int64
	epoch     atomic.Int64
	restored  atomic.Int64
	savepoint atomic.Bool
	restarts  atomic.Int64
}

// metered is a port with what its rates are computed from.
type metered struct {
	port
	unbounded bool
	found     atomic.Int64 // sizes of all splits
	complete  atomic.Bool  // there will be no more splits

	at                          time.Time
	records, bytes, done        int64
	recordRate, byteRate, speed float64
}

// newMeter makes the meter of a plan that is about to run. It puts itself between
// the plan's enumerators and the scheduler: the size of a source is the sum of all
// its splits, of which a task knows only its own.
func newMeter(plan *graph.Plan, now time.Time) *meter {
	m := &meter{job: plan.Graph.Name, started: now, registry: &obs.Registry{}, byID: map[flow.OperatorID]*metered{}}
	var sinks []*metered
	for _, o := range plan.Graph.Operators {
		p := &metered{port: port{Operator: o.ID, Name: o.Name, Source: o.Kind == graph.KindSource}, unbounded: o.Unbounded, at: now}
		switch o.Kind {
		case graph.KindSource:
			m.ports = append(m.ports, p)
			p.follow(o)
		case graph.KindSink:
			sinks = append(sinks, p)
		default:
			continue
		}
		m.byID[o.ID] = p
	}
	m.ports = append(m.ports, sinks...)
	return m
}

// follow counts the splits that the source's enumerator finds.
func (p *metered) follow(o *graph.Operator) {
	given, ok := o.Impl.(*operator.Impl)
	if !ok || given.Source == nil || given.Source.Enumerator == nil {
		return
	}
	counted, source := *given, *given.Source
	source.Enumerator = func() (operator.Enumerator, error) {
		en, err := given.Source.Enumerator()
		if err != nil {
			return nil, err
		}
		return &countingEnumerator{Enumerator: en, port: p}, nil
	}
	counted.Source = &source
	o.Impl = &counted
}

type countingEnumerator struct {
	operator.Enumerator
	port *metered
}

func (c *countingEnumerator) Discover(ctx context.Context) (operator.Discovery, error) {
	d, err := c.Enumerator.Discover(ctx)
	for i := range d.Splits {
		c.port.found.Add(d.Splits[i].Size)
	}
	if err == nil && d.Done {
		c.port.complete.Store(true)
	}
	return d, err
}

// listener tells the meter what happens to the job.
func (m *meter) listener() scheduler.Listener {
	return scheduler.Listener{
		State: func(s job.State, _ *flow.Failure) { m.state.Store(int32(s)) },
		Committed: func(b flow.Barrier) {
			m.epochs.Add(1)
			m.epoch.Store(int64(b.Epoch))
		},
		Restored:   m.begin,
		Restarting: func(flow.Attempt, time.Duration, *flow.Failure) { m.restarts.Add(1) },
	}
}

// begin starts an attempt: what is left of the sources is what it starts from, and
// what it finds.
func (m *meter) begin(r scheduler.Restored) {
	if m.restarts.Load() == 0 {
		m.restored.Store(int64(r.Epoch))
		m.savepoint.Store(r.Savepoint)
	}
	for _, p := range m.ports {
		left := r.Sources[p.Operator]
		p.found.Store(left.Remaining)
		p.complete.Store(left.Complete)
	}
}

// take reads all counters. final makes the rates those of the whole run.
func (m *meter) take(now time.Time, final bool) view {
	v := view{Job: m.job, State: job.State(m.state.Load()).String(), Elapsed: now.Sub(m.started), Epochs: m.epochs.Load(),
		Epoch: m.epoch.Load(), Restored: m.restored.Load(), Savepoint: m.savepoint.Load(), Restarts: m.restarts.Load()}
	for _, p := range m.ports {
		p.Records, p.Bytes, p.Bad, p.Done = 0, 0, 0, 0
		p.Watermark, p.Lag = flow.MaxTime, 0
	}
	for _, o := range m.registry.Operators() {
		bad := o.Bad.Load()
		v.Bad += bad
		v.Late += o.Late.Load()
		p := m.byID[flow.OperatorID(o.ID)]
		if p == nil {
			continue
		}
		p.Records += o.RecordsIn.Load()
		p.Bytes += o.Bytes.Load()
		p.Done += o.Done.Load()
		p.Bad += bad
		if w := o.Watermark.Load(); w != math.MinInt64 {
			p.Watermark = min(p.Watermark, flow.Time(w))
		}
	}
	for _, p := range m.ports {
		p.rate(now, m.started, final)
		v.Ports = append(v.Ports, p.port)
	}
	return v
}

// smoothing is the time over which rates are averaged.
const smoothing = 2 * time.Second

func (p *metered) rate(now, started time.Time, final bool) {
	if p.Watermark == flow.MaxTime {
		p.Watermark = flow.MinTime
	} else if p.Source {
		p.Lag = now.Sub(p.Watermark.Std())
	}
	p.Total, p.Bounded = p.found.Load(), p.Source && !p.unbounded && p.complete.Load() && p.found.Load() > 0
	if final {
		if s := now.Sub(started).Seconds(); s > 0 {
			p.RecordRate, p.ByteRate = float64(p.Records)/s, float64(p.Bytes)/s
		}
		p.ETA = 0
		return
	}
	d := now.Sub(p.at)
	if d <= 0 {
		return
	}
	weight := 1 - math.Exp(-d.Seconds()/smoothing.Seconds())
	if p.records == 0 && p.recordRate == 0 {
		weight = 1 // the first look has nothing to be smoothed with
	}
	mix := func(rate *float64, grown int64) {
		*rate += weight * (float64(grown)/d.Seconds() - *rate)
	}
	mix(&p.recordRate, p.Records-p.records)
	mix(&p.byteRate, p.Bytes-p.bytes)
	mix(&p.speed, p.Done-p.done)
	p.at, p.records, p.bytes, p.done = now, p.Records, p.Bytes, p.Done
	p.RecordRate, p.ByteRate, p.ETA = p.recordRate, p.byteRate, 0
	if p.Bounded && p.speed > 0 && p.Done < p.Total {
		// A stalled source has no known end; more than a few days is as good as none.
		if s := float64(p.Total-p.Done) / p.speed; s < (99 * time.Hour).Seconds() {
			p.ETA = time.Duration(s * float64(time.Second))
		}
	}
}
