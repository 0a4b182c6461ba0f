package batch

import (
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
)

// NewReduce is a reduce in batch mode: it sends what the records of each key have come to,
// once. f need not be associative, so that nothing is folded in front of the exchange.
func NewReduce[K comparable, T any](key operator.Key[T, K], f func(acc, v T) T) *operator.BatchImpl {
	return folding(key, func(p *Part[T], fresh bool, v *T, t flow.Time) {
		p.At = stampOf(t)
		if fresh {
			p.Acc = *v
		} else {
			p.Acc = f(p.Acc, *v)
		}
	}, func(_ K, p *Part[T]) (T, flow.Time) { return p.Acc, timeOf(p.At) })
}

// folding is an operator that folds the records of each key in their order.
func folding[K comparable, In, A, Out any](key operator.Key[In, K], add func(acc *A, fresh bool, v *In, t flow.Time),
	result func(k K, acc *A) (Out, flow.Time)) *operator.BatchImpl {
	return &operator.BatchImpl{New: func() operator.Operator {
		return &folder[K, In, A, Out]{base: base[In, Out]{hash: key.Hash}, key: key.Of, add: add, result: result}
	}}
}

type folder[K comparable, In, A, Out any] struct {
	base[In, Out]
	key     func(In) K
	add     func(acc *A, fresh bool, v *In, t flow.Time)
	result  func(k K, acc *A) (Out, flow.Time)
	groups  *Folder[K, In, A]
	results operator.Cursor[operator.KeyValue[K, A]]
}

func (o *folder[K, In, A, Out]) Inlet(flow.Port) any { return o }

// Open makes the groups.
func (o *folder[K, In, A, Out]) Open(ctx *operator.Context) (err error) {
	o.open(ctx, o.emit)
	o.groups, err = NewFolder(FolderOptions[K, In, A]{Key: o.key, Add: o.add,
		Memory: ctx.Batch.Memory, FS: ctx.Batch.FS, Dir: ctx.Batch.Dir})
	return err
}

// Receive folds what it can, and keeps the rest.
func (o *folder[K, In, A, Out]) Receive(b *flow.Batch[In]) error {
	hashes := o.enter(b)
	ctx := o.Task.Context()
	for i := range b.Values {
		o.cursor.I = i
		if err := o.groups.Add(ctx, hashes[i], &b.Values[i], b.Time(i)); err != nil {
			return err
		}
	}
	o.cursor.Leave()
	return nil
}

func (o *folder[K, In, A, Out]) emit() error {
	o.cursor.EnterNote(note("the folding of records that were on disk"))
	err := o.groups.Emit(o.Task.Context(), func(b *flow.Batch[operator.KeyValue[K, A]]) error {
		o.batch.Truncate()
		o.results.Enter(b)
		for i := range b.Values {
			o.results.I = i
			out, t := o.result(b.Values[i].Key, &b.Values[i].Value)
			o.batch.Append(out, t)
		}
		o.results.Leave()
		err := o.out.Send(&o.batch)
		o.batch.Reset()
		return err
	})
	o.cursor.LeaveNote()
	return err
}

// Failing tells the record or group in hand.
func (o *folder[K, In, A, Out]) Failing() string {
	if s := o.results.Failing(); s != "" {
		return s
	}
	return o.cursor.Failing()
}

// Close removes the files.
func (o *folder[K, In, A, Out]) Close() error {
	if o.groups == nil {
		return nil
	}
	return o.groups.Close()
}
