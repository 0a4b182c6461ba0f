package batch

import (
	"context"
	"errors"
	"fmt"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
)

// side is a keyed port of a [Sorting] operator.
type side interface {
	// inlet is the receiver of the port; open says where it passes records on to.
	inlet() any
	open(s *sorting, to any, memory int) error
	// sort ends the input. next then moves on to the records of the next hash; false
	// at the end.
	sort(ctx context.Context) error
	next(ctx context.Context) (flow.Hash, bool, error)
	// give hands over the records of the hash, drain all that are left.
	give(ctx context.Context) error
	drain(ctx context.Context) error
	failing() string
	close() error
}

// Side describes a keyed port: NewSide makes it.
type Side struct{ make func() side }

// NewSide is a port that takes records of T, and the hashes of their keys.
func NewSide[T any](hash operator.HashFunc[T]) Side {
	return Side{func() side { return &sortedSide[T]{hash: hash} }}
}

// NewSorted is an operator of states by key, or of several inputs, in batch mode: the
// records of its first ports are collected, and given to inner when all have come, those
// of one key after the other. So its state is used in one place at a time, and the records of a key
// keep the order in which they came. The watermark then jumps to the end of time. Of
// several ports, the first one's records of a key come first.
//
// What comes at other ports, which are behind the keyed ones, is passed on at once: a
// broadcast is known before the first record of a key.
func NewSorted(inner func() operator.Operator, others int, sides ...Side) *operator.BatchImpl {
	return &operator.BatchImpl{New: func() operator.Operator {
		s := &sorting{Operator: inner(), others: others}
		for _, d := range sides {
			s.sides = append(s.sides, d.make())
		}
		return s
	}}
}

// sorting runs an operator on sorted input.
type sorting struct {
	operator.Operator // inner
	sides             []side
	others            int // ports that are not sorted
	ctx               *operator.Context
	ended             []flow.Port // which inner was not told yet
	done              bool        // inner has all records
	at                side        // in hand
}

// innerTask is the task as inner sees it: what it asks for itself is asked for sorting.
type innerTask struct {
	operator.Task
	s *sorting
}

func (t innerTask) WakeAt(_ operator.Operator, at flow.Time) { t.Task.WakeAt(t.s, at) }
func (t innerTask) Advance(_ operator.Operator, at flow.Time) error {
	return t.Task.Advance(t.s, at)
}

// Open opens the operator and what sorts its input.
func (s *sorting) Open(ctx *operator.Context) error {
	s.ctx = ctx
	inner := *ctx
	inner.Task = innerTask{ctx.Task, s}
	memory := ctx.Batch.Memory
	if memory == 0 {
		memory = DefaultMemory
	}
	for i, d := range s.sides {
		if err := d.open(s, s.Operator.Inlet(flow.Port(i)), memory/len(s.sides)); err != nil {
			return err
		}
	}
	return s.Operator.Open(&inner)
}

// Inlet returns what collects records, or the operator's own.
func (s *sorting) Inlet(p flow.Port) any {
	if int(p) < len(s.sides) {
		return s.sides[p].inlet()
	}
	return s.Operator.Inlet(p)
}

// Watermark gives the records to the operator when time ends.
func (s *sorting) Watermark(t flow.Time) (flow.Time, error) {
	if t < flow.MaxTime {
		return flow.MinTime, nil
	}
	if err := s.feed(); err != nil {
		return t, err
	}
	t, err := s.Operator.Watermark(t)
	if err != nil {
		return t, err
	}
	return t, s.tellEnded()
}

// EndInput is told to the operator when it has all records.
func (s *sorting) EndInput(p flow.Port) error {
	s.ended = append(s.ended, p)
	if !s.done && len(s.ended) < len(s.sides)+s.others {
		return nil
	}
	if err := s.feed(); err != nil {
		return err
	}
	return s.tellEnded()
}

func (s *sorting) tellEnded() error {
	for _, p := range s.ended {
		if err := s.Operator.EndInput(p); err != nil {
			return err
		}
	}
	s.ended = s.ended[:0]
	return nil
}

// feed gives the operator all records.
func (s *sorting) feed() error {
	if s.done {
		return nil
	}
	s.done = true
	ctx := s.ctx.Task.Context()
	for _, d := range s.sides {
		if err := d.sort(ctx); err != nil {
			return err
		}
	}
	if len(s.sides) == 1 {
		s.at = s.sides[0]
		return s.at.drain(ctx)
	}
	hashes := make([]flow.Hash, len(s.sides))
	more := make([]bool, len(s.sides))
	for i, d := range s.sides {
		var err error
		if hashes[i], more[i], err = d.next(ctx); err != nil {
			return err
		}
	}
	for {
		first := -1
		for i := range s.sides {
			if more[i] && (first < 0 || hashes[i] < hashes[first]) {
				first = i
			}
		}
		if first < 0 {
			return nil
		}
		s.at = s.sides[first]
		err := s.at.give(ctx)
		if err == nil {
			hashes[first], more[first], err = s.at.next(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// Failing tells what the operator or the key function of a port was at.
func (s *sorting) Failing() string {
	if f, ok := s.Operator.(operator.Failer); ok {
		if told := f.Failing(); told != "" {
			return told
		}
	}
	for _, d := range s.sides {
		if told := d.failing(); told != "" {
			return told
		}
	}
	return ""
}

// Keep is what the operator keeps.
func (s *sorting) Keep() ([]checkpoint.OperatorState, error) {
	if k, ok := s.Operator.(operator.Keeper); ok {
		return k.Keep()
	}
	return nil, nil
}

// Restore gives it back.
func (s *sorting) Restore(kept []checkpoint.OperatorState) error {
	if k, ok := s.Operator.(operator.Keeper); ok {
		return k.Restore(kept)
	}
	return nil
}

// Close closes the operator and removes the files.
func (s *sorting) Close() error {
	err := s.Operator.Close()
	for _, d := range s.sides {
		err = errors.Join(err, d.close())
	}
	return err
}

// sortedSide is a port of records of T.
type sortedSide[T any] struct {
	hash   operator.HashFunc[T]
	to     operator.Receiver[T]
	owner  *sorting
	sorter *Sorter[T]
	sorted *Sorted[T]
	cursor operator.Cursor[T]
	hashes []flow.Hash
	in     flow.Batch[T] // with hashes, for the sorter
	out    flow.Batch[T] // from the sorter
	part   flow.Batch[T] // of out: the records of one hash
	at     int
}

func (d *sortedSide[T]) inlet() any { return d }

func (d *sortedSide[T]) open(s *sorting, to any, memory int) (err error) {
	d.owner = s
	var ok bool
	if d.to, ok = to.(operator.Receiver[T]); !ok {
		return fmt.Errorf("operator/batch: records of %T cannot be given to %T", *new(T), to)
	}
	d.sorter, err = NewSorter[T](SorterOptions[T]{ByHash: true, Memory: memory, FS: s.ctx.Batch.FS, Dir: s.ctx.Batch.Dir})
	return err
}

// Receive collects records.
func (d *sortedSide[T]) Receive(b *flow.Batch[T]) error {
	ctx := d.owner.ctx.Task.Context()
	if len(b.Hashes) == len(b.Values) {
		return d.sorter.Add(ctx, b)
	}
	d.cursor.Enter(b)
	d.hashes = d.hash(b.Values, d.hashes[:0])
	d.cursor.Leave()
	d.in = flow.Batch[T]{Values: b.Values, Times: b.Times, Hashes: d.hashes}
	err := d.sorter.Add(ctx, &d.in)
	d.in = flow.Batch[T]{}
	return err
}

func (d *sortedSide[T]) sort(ctx context.Context) (err error) {
	d.sorted, err = d.sorter.Sort(ctx)
	return err
}

func (d *sortedSide[T]) drain(ctx context.Context) error {
	n := max(1, d.owner.ctx.BatchSize)
	for {
		if err := d.sorted.Next(ctx, &d.out, n); err != nil {
			return err
		}
		if len(d.out.Values) == 0 {
			return nil
		}
		if err := d.to.Receive(&d.out); err != nil {
			return err
		}
	}
}

// fill reads records if none is left.
func (d *sortedSide[T]) fill(ctx context.Context) error {
	if d.at < len(d.out.Values) {
		return nil
	}
	d.at = 0
	return d.sorted.Next(ctx, &d.out, max(1, d.owner.ctx.BatchSize))
}

func (d *sortedSide[T]) next(ctx context.Context) (flow.Hash, bool, error) {
	if err := d.fill(ctx); err != nil || len(d.out.Values) == 0 {
		return 0, false, err
	}
	return d.out.Hashes[d.at], true, nil
}

func (d *sortedSide[T]) give(ctx context.Context) error {
	hash := d.out.Hashes[d.at]
	for {
		from := d.at
		for d.at < len(d.out.Values) && d.out.Hashes[d.at] == hash {
			d.at++
		}
		d.part = flow.Batch[T]{Values: d.out.Values[from:d.at], Hashes: d.out.Hashes[from:d.at]}
		if len(d.out.Times) > 0 {
			d.part.Times = d.out.Times[from:d.at]
		}
		if err := d.to.Receive(&d.part); err != nil {
			return err
		}
		if d.at < len(d.out.Values) {
			return nil
		}
		// There may be more of them.
		h, more, err := d.next(ctx)
		if err != nil || !more || h != hash {
			return err
		}
	}
}

func (d *sortedSide[T]) failing() string { return d.cursor.Failing() }

func (d *sortedSide[T]) close() error {
	var err error
	if d.sorted != nil {
		err = d.sorted.Close()
	}
	if d.sorter == nil {
		return err
	}
	return errors.Join(err, d.sorter.Close())
}
