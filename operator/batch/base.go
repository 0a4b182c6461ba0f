package batch

import (
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
)

// base is what the operators here share: they take records of In at port 0, and send Out
// when all of them have come.
type base[In, Out any] struct {
	operator.Base
	out    operator.Output[Out]
	cursor operator.Cursor[In]
	hash   operator.HashFunc[In]
	hashes []flow.Hash
	batch  flow.Batch[Out]
	// finish sends the results; it is called once.
	finish   func() error
	finished bool
}

func (b *base[In, Out]) open(ctx *operator.Context, finish func() error) {
	b.Context, b.finish = ctx, finish
	b.out.Metrics = ctx.Metrics
}

// Outlet returns the results.
func (b *base[In, Out]) Outlet(o flow.Outlet) operator.Attacher {
	if o == 0 {
		return &b.out
	}
	return nil
}

// enter begins a batch.
func (b *base[In, Out]) enter(in *flow.Batch[In]) []flow.Hash {
	b.Metrics.RecordsIn.Add(int64(len(in.Values)))
	b.hashes = b.hashes[:0]
	hashes := operator.HashesOf(in, b.hash, b.hashes)
	if len(in.Hashes) != len(in.Values) {
		b.hashes = hashes
	}
	b.cursor.Enter(in)
	return hashes
}

// Failing tells the record in hand.
func (b *base[In, Out]) Failing() string { return b.cursor.Failing() }

// Watermark sends the results at the end of time. Until then event time stands still
// for the operators behind, as what they are sent may have any.
func (b *base[In, Out]) Watermark(t flow.Time) (flow.Time, error) {
	if t < flow.MaxTime {
		return flow.MinTime, nil
	}
	return t, b.end()
}

// EndInput sends the results of an input that was ended before its time.
func (b *base[In, Out]) EndInput(flow.Port) error { return b.end() }

func (b *base[In, Out]) end() error {
	if b.finished {
		return nil
	}
	b.finished = true
	return b.finish()
}

// note describes what is done with records that are not in hand any more.
func note(what string) func() string { return func() string { return what } }
