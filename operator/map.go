package operator

import (
	"fmt"

	"github.com/weirflow/weir/flow"
)

// one is what all operators of one input and one main output have.
type one[In, Out any] struct {
	Base
	out    Output[Out]
	cursor Cursor[In]
}

func (o *one[In, Out]) Outlet(p flow.Outlet) Attacher {
	if p == 0 {
		return &o.out
	}
	return nil
}

func (o *one[In, Out]) Open(ctx *Context) error {
	o.Context = ctx
	o.out.Metrics = ctx.Metrics
	return nil
}

func (o *one[In, Out]) Failing() string { return o.cursor.Failing() }

// enter begins a batch: it counts it and sets the cursor.
func (o *one[In, Out]) enter(b *flow.Batch[In]) {
	o.Metrics.RecordsIn.Add(int64(len(b.Values)))
	o.cursor.Enter(b)
}

// NewMap makes an operator that turns each record into one other.
func NewMap[In, Out any](f func(In) Out) Operator { return &mapper[In, Out]{f: f} }

type mapper[In, Out any] struct {
	one[In, Out]
	f     func(In) Out
	batch flow.Batch[Out]
}

func (m *mapper[In, Out]) Inlet(flow.Port) any { return m }

func (m *mapper[In, Out]) Receive(b *flow.Batch[In]) error {
	m.enter(b)
	n := len(b.Values)
	if cap(m.batch.Values) < n {
		m.batch.Values = make([]Out, n)
	}
	out, f := m.batch.Values[:n], m.f
	for i, v := range b.Values {
		m.cursor.I = i
		out[i] = f(v)
	}
	m.cursor.Leave()
	m.batch.Values, m.batch.Times = out, b.Times
	return m.out.Send(&m.batch)
}

// NewFilter makes an operator that lets pass the records for which keep is true.
func NewFilter[T any](keep func(T) bool) Operator { return &filter[T]{keep: keep} }

type filter[T any] struct {
	one[T, T]
	keep  func(T) bool
	batch flow.Batch[T]
}

func (o *filter[T]) Inlet(flow.Port) any { return o }

func (o *filter[T]) Receive(b *flow.Batch[T]) error {
	o.enter(b)
	o.batch.Truncate()
	timed := len(b.Times) > 0
	for i, v := range b.Values {
		o.cursor.I = i
		if o.keep(v) {
			o.batch.Values = append(o.batch.Values, v)
			if timed {
				o.batch.Times = append(o.batch.Times, b.Times[i])
			}
		}
	}
	o.cursor.Leave()
	if len(o.batch.Values) == 0 {
		return nil
	}
	return o.out.Send(&o.batch)
}

// NewFlatMap makes an operator that turns each record into any number of others.
func NewFlatMap[In, Out any](f func(In, *Emitter[Out])) Operator { return &flatMapper[In, Out]{f: f} }

type flatMapper[In, Out any] struct {
	one[In, Out]
	f    func(In, *Emitter[Out])
	emit Emitter[Out]
}

func (o *flatMapper[In, Out]) Inlet(flow.Port) any { return o }

func (o *flatMapper[In, Out]) Open(ctx *Context) error {
	o.emit.Bind(&o.out, ctx.BatchSize)
	return o.one.Open(ctx)
}

func (o *flatMapper[In, Out]) Receive(b *flow.Batch[In]) error {
	o.enter(b)
	for i, v := range b.Values {
		o.cursor.I = i
		o.emit.At(b.Time(i))
		o.f(v, &o.emit)
	}
	o.cursor.Leave()
	return o.emit.Flush()
}

// NewTryMap makes an operator that turns each record into one other, or refuses
// it: then the policy says what happens to it.
func NewTryMap[In, Out any](f func(In) (Out, error), p BadPolicy) Operator {
	return &tryMapper[In, Out]{f: f, policy: p}
}

type tryMapper[In, Out any] struct {
	one[In, Out]
	f      func(In) (Out, error)
	policy BadPolicy
	bad    badOutput
	seen   int64
	batch  flow.Batch[Out]
}

func (o *tryMapper[In, Out]) Inlet(flow.Port) any { return o }

func (o *tryMapper[In, Out]) Outlet(p flow.Outlet) Attacher {
	if p == DeadLetter {
		return &o.bad.out
	}
	return o.one.Outlet(p)
}

func (o *tryMapper[In, Out]) Receive(b *flow.Batch[In]) error {
	o.enter(b)
	o.batch.Truncate()
	for i, v := range b.Values {
		o.cursor.I = i
		out, err := o.f(v)
		if err != nil {
			rec := BadRecord{Where: fmt.Sprintf("record %d of this subtask's input", o.seen+int64(i)+1),
				Raw: []byte(fmt.Sprintf("%+v", v)), Reason: err.Error(), Time: b.Time(i)}
			if err := o.bad.refuse(o.Context, o.policy, rec, o.seen+int64(i)); err != nil {
				return err
			}
			continue
		}
		o.batch.Append(out, b.Time(i))
	}
	o.seen += int64(len(b.Values))
	o.cursor.Leave()
	if len(o.batch.Values) > 0 {
		if err := o.out.Send(&o.batch); err != nil {
			return err
		}
	}
	return o.bad.flush()
}

// NewTimestamps makes an operator that gives records a new event time.
// Watermarks pass: the new times must not be before the old ones.
func NewTimestamps[T any](f func(T, flow.Time) flow.Time) Operator { return &stamper[T]{f: f} }

type stamper[T any] struct {
	one[T, T]
	f     func(T, flow.Time) flow.Time
	batch flow.Batch[T]
}

func (o *stamper[T]) Inlet(flow.Port) any { return o }

func (o *stamper[T]) Receive(b *flow.Batch[T]) error {
	o.enter(b)
	o.batch.Values = b.Values
	o.batch.Times = o.batch.Times[:0]
	for i, v := range b.Values {
		o.cursor.I = i
		o.batch.Times = append(o.batch.Times, o.f(v, b.Time(i)))
	}
	o.cursor.Leave()
	return o.out.Send(&o.batch)
}
