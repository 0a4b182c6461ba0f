package traces

import (
	"context"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// Job tells what happens to a job, as the process sees it that runs the job's scheduler.
type Job struct {
	tracer trace.Tracer
	attrs  []attribute.KeyValue
	parent context.Context //nolint:containedctx // it carries the trace, and ends with nothing

	mu struct {
		sync.Mutex
		attempt         uint64
		start, recovery trace.Span // nil while there is none
		open            map[uint64]*epoch
	}
}

// epoch is one under way.
type epoch struct {
	ctx         context.Context //nolint:containedctx // as above
	whole, part trace.Span
}

// Task is what a task says of an epoch.
type Task struct {
	Name         string // chain/subtask
	Took, Paused time.Duration
	Bytes        int64
}

// Bounds of what is remembered and told.
const (
	maxEpochs = 64
	maxTasks  = 32 // events of one span, the slowest
)

// Job tells of a version of a job, in whose trace its attempts are.
func (t *Tracer) Job(v Version) *Job {
	if t == nil {
		return nil
	}
	j := &Job{tracer: t.tracer, attrs: []attribute.KeyValue{job(v.Job)}, parent: context.Background()}
	if v.Number > 0 {
		j.parent = trace.ContextWithRemoteSpanContext(j.parent, v.span())
	}
	j.mu.open = map[uint64]*epoch{}
	return j
}

func (j *Job) begin(ctx context.Context, name string, more ...attribute.KeyValue) (context.Context, trace.Span) {
	return j.tracer.Start(ctx, name, trace.WithAttributes(j.attrs...), trace.WithAttributes(more...))
}

// Starting tells that tasks are being started.
func (j *Job) Starting() {
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	ctx := j.parent
	if j.mu.recovery != nil {
		ctx = trace.ContextWithSpan(ctx, j.mu.recovery)
	}
	if j.mu.start != nil {
		j.mu.start.End()
	}
	_, j.mu.start = j.begin(ctx, "start")
}

// Restored tells what an attempt starts from; epoch is 0 where it starts anew.
func (j *Job) Restored(attempt, from uint64) {
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.mu.attempt = attempt
	s := j.mu.start
	if s == nil {
		return
	}
	s.SetAttributes(attribute.Int64("weir.attempt", int64(attempt)), attribute.Int64("weir.epoch", int64(from)))
	if from > 0 {
		s.SetName("restore")
	}
	s.AddEvent("restored: the newest checkpoint is known and dealt out")
}

// Running tells that all tasks run.
func (j *Job) Running() {
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.endLocked("")
}

// Failing tells that something has failed.
func (j *Job) Failing(why string) {
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	was := j.mu.recovery
	j.mu.recovery = nil
	j.endLocked(why)
	if j.mu.recovery = was; was == nil {
		_, j.mu.recovery = j.begin(j.parent, "recovery", attribute.Int64("weir.attempt", int64(j.mu.attempt)))
	}
	j.mu.recovery.AddEvent("failed", trace.WithAttributes(attribute.String("weir.cause", clip(why))))
}

// Ended tells that nothing more happens to the job; why is "" unless it has failed.
func (j *Job) Ended(why string) {
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.endLocked(why)
}

// endLocked ends what is under way; why is "" if that is how it should be.
func (j *Job) endLocked(why string) {
	for _, s := range []trace.Span{j.mu.start, j.mu.recovery} {
		if s == nil {
			continue
		}
		if why != "" {
			s.SetStatus(codes.Error, clip(why))
		}
		s.End()
	}
	j.mu.start, j.mu.recovery = nil, nil
	if why != "" {
		for n := range j.mu.open {
			j.closeLocked(n, "the job has failed")
		}
	}
}

// Injected tells that an epoch's barrier goes to the sources.
func (j *Job) Injected(number uint64, kind string) {
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.mu.open) >= maxEpochs {
		return
	}
	e := &epoch{}
	e.ctx, e.whole = j.begin(context.Background(), "checkpoint", attribute.Int64("weir.attempt", int64(j.mu.attempt)),
		attribute.Int64("weir.epoch", int64(number)), attribute.String("weir.kind", kind))
	_, e.part = j.begin(e.ctx, "tasks")
	j.mu.open[number] = e
}

// Acknowledged tells what the tasks have handed over, the slowest first.
func (j *Job) Acknowledged(number uint64, tasks []Task) {
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	e := j.mu.open[number]
	if e == nil {
		return
	}
	var added int64
	for i, t := range tasks {
		added += t.Bytes
		if i < maxTasks {
			e.part.AddEvent("task "+t.Name, trace.WithAttributes(attribute.Int64("weir.took_us", t.Took.Microseconds()),
				attribute.Int64("weir.pause_us", t.Paused.Microseconds()), attribute.Int64("weir.bytes", t.Bytes)))
		}
	}
	e.part.SetAttributes(attribute.Int("weir.tasks", len(tasks)))
	e.whole.SetAttributes(attribute.Int64("weir.bytes", added))
	e.part.End()
	_, e.part = j.begin(e.ctx, "commit")
}

// Committed tells that an epoch is committed.
func (j *Job) Committed(number uint64) {
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closeLocked(number, "")
}

// Aborted tells that an epoch came to nothing.
func (j *Job) Aborted(number uint64, why string) {
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closeLocked(number, "aborted: "+why)
}

func (j *Job) closeLocked(number uint64, why string) {
	e := j.mu.open[number]
	if e == nil {
		return
	}
	delete(j.mu.open, number)
	if why != "" {
		e.part.SetStatus(codes.Error, clip(why))
		e.whole.SetStatus(codes.Error, clip(why))
	}
	e.part.End()
	e.whole.End()
}

// maxText is how much of a cause is told.
const maxText = 1000

func clip(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxText)], "") }
