package operator

import (
	"fmt"

	"github.com/weirflow/weir/flow"
)

// CoProcessor is a process function over two keyed streams with one kind of key:
// records of both that have the same key meet, and share its states and timers.
// All calls are on one goroutine; the emitter and the context are lent for the
// call.
type CoProcessor[K comparable, A, B, Out any] struct {
	// Left and Right handle one record of the first and the second stream.
	Left  func(c *Keyed[K], v A, out *Emitter[Out])
	Right func(c *Keyed[K], v B, out *Emitter[Out])
	// Timer handles a timer that has come due. Nil where none is set.
	Timer func(c *Keyed[K], t Timer, out *Emitter[Out])
	// Close is called once at the end, nil where there is nothing to free.
	Close func() error
}

// CoProcessConfig is what a process operator of two streams is made from.
type CoProcessConfig[K comparable, A, B, Out any] struct {
	Left  Key[A, K] // port 0
	Right Key[B, K] // port 1
	// Make declares states and returns the functions; see [Setup].
	Make func(*Setup[K]) CoProcessor[K, A, B, Out]
	// Declared is what Make declared when the pipeline was built; see [Declare].
	Declared *Declared
}

// NewCoProcess makes the instance of a process function over two streams.
func NewCoProcess[K comparable, A, B, Out any](cfg CoProcessConfig[K, A, B, Out]) Operator {
	p := &coProcess[K, A, B, Out]{cfg: cfg}
	p.declared = cfg.Declared
	p.left = keyedPort[K, A, Out]{hasher: hasher[A, K]{key: cfg.Left}, fn: &p.userfn}
	p.right = keyedPort[K, B, Out]{hasher: hasher[B, K]{key: cfg.Right}, fn: &p.userfn}
	return p
}

type coProcess[K comparable, A, B, Out any] struct {
	userfn[K, Out]
	cfg   CoProcessConfig[K, A, B, Out]
	left  keyedPort[K, A, Out]
	right keyedPort[K, B, Out]
}

func (p *coProcess[K, A, B, Out]) Inlet(port flow.Port) any {
	switch port {
	case 0:
		return &p.left
	case 1:
		return &p.right
	}
	return nil
}

func (p *coProcess[K, A, B, Out]) Failing() string {
	return failing(&p.left.cursor, &p.right.cursor, &p.note)
}

func (p *coProcess[K, A, B, Out]) Open(ctx *Context) error {
	err := p.open(ctx, p, func(s *Setup[K]) {
		fn := p.cfg.Make(s)
		p.left.each, p.right.each, p.onTimer, p.onClose = fn.Left, fn.Right, fn.Timer, fn.Close
	})
	if err == nil && (p.left.each == nil || p.right.each == nil) {
		return fmt.Errorf("%w: the processor has no Left or no Right; it needs both", ErrUser)
	}
	return err
}
