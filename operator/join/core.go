package join

import (
	"errors"
	"fmt"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/operator/window"
	"github.com/weirflow/weir/state"
)

// Keys says how the two sides find their key.
type Keys[K comparable, L, R any] struct {
	// Name is the name of the operator's state. Default: "join".
	Name  string
	Left  operator.Key[L, K]
	Right operator.Key[R, K]
}

// Validate refuses a configuration without keys, or with types that cannot be
// kept.
func (k *Keys[K, L, R]) Validate() error {
	if k.Left.Of == nil || k.Left.Hash == nil || k.Right.Of == nil || k.Right.Hash == nil {
		return errors.New("join: no key; both sides need one, of the same type")
	}
	if _, err := codec.For[K](); err != nil {
		return fmt.Errorf("join: the key cannot be kept: %w", err)
	}
	if _, err := codec.For[L](); err != nil {
		return fmt.Errorf("join: the left records cannot be kept: %w", err)
	}
	if _, err := codec.For[R](); err != nil {
		return fmt.Errorf("join: the right records cannot be kept: %w", err)
	}
	return nil
}

// side is one input: what is the same for left and right.
type side[K comparable, T any] struct {
	key    operator.Key[T, K]
	cursor operator.Cursor[T]
	late   operator.Emitter[T]
	outlet operator.Output[T]
	buf    []flow.Hash
	// handle takes one record.
	handle func(h flow.Hash, k K, v T, t flow.Time)
	port   port[K, T]
}

// port is the receiver of one side.
type port[K comparable, T any] struct {
	side *side[K, T]
	core *core
}

// core is what all joins share.
type core struct {
	operator.Base
	name  string
	clock flow.Time
	timed bool // records must have a time
	count int64
	flush func() error
	marks *window.Marks // nil where the watermark decides nothing
}

// Barrier stores the watermark, so that after a restart late records are late
// still.
func (c *core) Barrier(flow.Barrier) ([]byte, error) {
	if c.marks != nil {
		c.marks.Save(c.clock)
	}
	return nil, c.State.Err()
}

// sides is the base of the joins.
type sides[K comparable, L, R, Out any] struct {
	core
	left    side[K, L]
	right   side[K, R]
	results operator.Output[Out]
	out     operator.Emitter[Out]
}

func (s *sides[K, L, R, Out]) init(k Keys[K, L, R]) {
	if s.name = k.Name; s.name == "" {
		s.name = "join"
	}
	s.clock = flow.MinTime
	s.left.key, s.right.key = k.Left, k.Right
	s.left.port = port[K, L]{&s.left, &s.core}
	s.right.port = port[K, R]{&s.right, &s.core}
	s.flush = func() error {
		if err := s.out.Flush(); err != nil {
			return err
		}
		if err := s.left.late.Flush(); err != nil {
			return err
		}
		return s.right.late.Flush()
	}
}

func (s *sides[K, L, R, Out]) open(ctx *operator.Context) (err error) {
	s.Context = ctx
	size := max(1, ctx.BatchSize)
	s.results.Metrics = ctx.Metrics
	s.out.Bind(&s.results, size)
	s.left.late.Bind(&s.left.outlet, size)
	s.right.late.Bind(&s.right.outlet, size)
	if s.timed {
		s.marks, s.clock, err = window.OpenMarks(ctx, s.state("clock").Name)
	}
	return err
}

func (s *sides[K, L, R, Out]) state(part string) state.Descriptor {
	return state.Descriptor{Operator: s.Operator, Name: s.name + "." + part}
}

// Inlet returns the receiver of a side.
func (s *sides[K, L, R, Out]) Inlet(p flow.Port) any {
	switch p {
	case 0:
		return &s.left.port
	case 1:
		return &s.right.port
	}
	return nil
}

// Outlet returns the results or a side's late records.
func (s *sides[K, L, R, Out]) Outlet(o flow.Outlet) operator.Attacher {
	switch o {
	case 0:
		return &s.results
	case LateLeft:
		return &s.left.outlet
	case LateRight:
		return &s.right.outlet
	}
	return nil
}

// Failing tells the record in hand.
func (s *sides[K, L, R, Out]) Failing() string {
	if f := s.left.cursor.Failing(); f != "" {
		return "left " + f
	}
	if f := s.right.cursor.Failing(); f != "" {
		return "right " + f
	}
	return ""
}

// Receive handles a batch of one side.
func (p *port[K, T]) Receive(b *flow.Batch[T]) error {
	s, c := p.side, p.core
	c.Metrics.RecordsIn.Add(int64(len(b.Values)))
	hashes := b.Hashes
	if len(hashes) != len(b.Values) {
		s.buf = s.key.Hash(b.Values, s.buf[:0])
		hashes = s.buf
	}
	s.cursor.Enter(b)
	for i, v := range b.Values {
		s.cursor.I = i
		t := b.Time(i)
		if c.timed && t == flow.MinTime {
			return fmt.Errorf("join: record %d of a batch for %q has no event time, and the join needs one: "+
				"give the sources of both sides a watermark strategy that sets timestamps", i+1, c.Name)
		}
		s.handle(hashes[i], s.key.Of(v), v, t)
	}
	s.cursor.Leave()
	return c.end()
}

// end is the end of every call: nothing is held back.
func (c *core) end() error {
	if c.count > 0 {
		c.Metrics.Late.Add(c.count)
		c.count = 0
	}
	if err := c.flush(); err != nil {
		return err
	}
	return c.State.Err()
}

// tooLate counts a record of a side and sends it to the side's late outlet.
func tooLate[K comparable, T any](c *core, s *side[K, T], v T, t flow.Time) {
	c.count++
	if s.outlet.Attached() {
		s.late.EmitAt(v, t)
	}
}

// timed is a record with its time, as it is kept.
type timed[T any] struct {
	At    flow.Time `msgpack:"t"`
	Value T         `msgpack:"v"`
}

// insert puts v behind all that are not later, where it mostly belongs at the end.
func insert[T any](list []timed[T], v timed[T]) []timed[T] {
	i := len(list)
	list = append(list, v)
	for i > 0 && list[i-1].At > v.At {
		i--
	}
	copy(list[i+1:], list[i:])
	list[i] = v
	return list
}

// from is the position of the first record at t or later.
func from[T any](list []timed[T], t flow.Time) int {
	lo, hi := 0, len(list)
	for lo < hi {
		if m := int(uint(lo+hi) >> 1); list[m].At < t {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo
}

// drop removes the first n records.
func drop[T any](list []timed[T], n int) []timed[T] {
	clear(list[:n])
	if n == len(list) {
		return list[:0]
	}
	return list[n:]
}
