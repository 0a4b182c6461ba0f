package operator

import (
	"fmt"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
)

// BroadcastProcessor is a process function over a keyed stream and one that every
// subtask sees in full: rules, prices, settings. What the second brings is kept in
// a [BroadcastState], which the first reads. All calls are on one goroutine; the
// emitter and the contexts are lent for the call.
type BroadcastProcessor[K comparable, In, R, Out any] struct {
	// Each handles one record of the keyed stream.
	Each func(c *Keyed[K], v In, out *Emitter[Out])
	// Broadcast handles one record of the other. It has no key in hand: states by
	// key must not be used. Every subtask is called with every record; records of
	// one split of a source come in their order, those of several as it happens.
	Broadcast func(b *Broadcast, v R, out *Emitter[Out])
	// Timer handles a timer that has come due. Nil where none is set.
	Timer func(c *Keyed[K], t Timer, out *Emitter[Out])
	// Close is called once at the end, nil where there is nothing to free.
	Close func() error
}

// Broadcast is the context of a call with a broadcast record. Broadcast states are
// written with it, and so only there: a change that one subtask made by itself
// would let the copies drift apart.
type Broadcast struct {
	time, watermark flow.Time
	task            Task
	open            bool
}

// Time is the event time of the record in hand, flow.MinTime if it has none.
func (b *Broadcast) Time() flow.Time { return b.time }

// Watermark is the operator's event time.
func (b *Broadcast) Watermark() flow.Time { return b.watermark }

// Now is the processing time.
func (b *Broadcast) Now() flow.Time { return b.task.Now() }

// mustBeOpen panics if b was kept from an earlier call.
func (b *Broadcast) mustBeOpen() {
	if !b.open {
		panic("operator: a broadcast state was changed outside a call of Broadcast: only there do all subtasks make the same change")
	}
}

// BroadcastConfig is what a process operator with a broadcast input is made from.
type BroadcastConfig[K comparable, In, R, Out any] struct {
	Key Key[In, K] // port 0; port 1 takes the broadcast stream
	// Make declares states and returns the functions; see [Setup].
	Make func(*Setup[K]) BroadcastProcessor[K, In, R, Out]
	// Declared is what Make declared when the pipeline was built; see [Declare].
	Declared *Declared
}

// NewBroadcast makes the instance of a process function with a broadcast input.
func NewBroadcast[K comparable, In, R, Out any](cfg BroadcastConfig[K, In, R, Out]) Operator {
	p := &broadcaster[K, In, R, Out]{cfg: cfg}
	p.declared = cfg.Declared
	p.keyed = keyedPort[K, In, Out]{hasher: hasher[In, K]{key: cfg.Key}, fn: &p.userfn}
	p.rules.p = p
	return p
}

type broadcaster[K comparable, In, R, Out any] struct {
	userfn[K, Out]
	cfg   BroadcastConfig[K, In, R, Out]
	keyed keyedPort[K, In, Out]
	rules rulesPort[K, In, R, Out]
	// unclaimed are states of an older program, which are carried along.
	unclaimed []checkpoint.OperatorState
}

// rulesPort is the broadcast input.
type rulesPort[K comparable, In, R, Out any] struct {
	p      *broadcaster[K, In, R, Out]
	cursor Cursor[R]
	each   func(b *Broadcast, v R, out *Emitter[Out])
	b      Broadcast
}

func (r *rulesPort[K, In, R, Out]) Receive(b *flow.Batch[R]) error {
	p := r.p
	p.Metrics.RecordsIn.Add(int64(len(b.Values)))
	r.cursor.Enter(b)
	r.b.open, r.b.watermark = true, p.key.watermark
	for i, v := range b.Values {
		r.cursor.I = i
		r.b.time = b.Time(i)
		p.at(r.b.time)
		r.each(&r.b, v, &p.emit)
	}
	r.b.open = false
	r.cursor.Leave()
	return p.flush()
}

func (p *broadcaster[K, In, R, Out]) Inlet(port flow.Port) any {
	switch port {
	case 0:
		return &p.keyed
	case 1:
		return &p.rules
	}
	return nil
}

func (p *broadcaster[K, In, R, Out]) Failing() string {
	return failing(&p.keyed.cursor, &p.rules.cursor, &p.note)
}

func (p *broadcaster[K, In, R, Out]) Open(ctx *Context) error {
	p.rules.b.task = ctx.Task
	err := p.open(ctx, p, func(s *Setup[K]) {
		fn := p.cfg.Make(s)
		p.keyed.each, p.rules.each, p.onTimer, p.onClose = fn.Each, fn.Broadcast, fn.Timer, fn.Close
	})
	if err == nil && (p.keyed.each == nil || p.rules.each == nil) {
		return fmt.Errorf("%w: the processor has no Each or no Broadcast; it needs both", ErrUser)
	}
	return err
}

// Keep returns the broadcast states.
func (p *broadcaster[K, In, R, Out]) Keep() ([]checkpoint.OperatorState, error) {
	kept := make([]checkpoint.OperatorState, 0, len(p.setup.broadcast)+len(p.unclaimed))
	for _, s := range p.setup.broadcast {
		kept = append(kept, s.keep())
	}
	return append(kept, p.unclaimed...), nil
}

// Restore fills the broadcast states.
func (p *broadcaster[K, In, R, Out]) Restore(kept []checkpoint.OperatorState) error {
	p.unclaimed = nil
next:
	for _, o := range kept {
		for _, s := range p.setup.broadcast {
			if s.is(o.Name) {
				if err := s.restore(o); err != nil {
					return err
				}
				continue next
			}
		}
		p.unclaimed = append(p.unclaimed, o)
	}
	return nil
}
