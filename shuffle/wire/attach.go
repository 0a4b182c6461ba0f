package wire

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
	"github.com/weirflow/weir/shuffle"
)

// attachment is the consumer's end of a partition: it feeds a channel of a gate.
type attachment struct {
	e      *Endpoint
	id     PartitionID
	schema uint64
	credit int64
	// batch decodes a body and hands the batch over; control hands over a control record.
	// Both are called by a connection's reader and do not block.
	batch   func(body []byte, charge int) error
	control func(flow.Control)
	fail    func(error)
	// in is the partition of a connection that feeds it.
	in atomic.Pointer[inbound]

	// guarded by the endpoint's lock:
	bound  bool // a sender has opened it, once
	closed bool // the gate is
}

// Attach makes what arrives for a partition go into the channel of a gate: to is the sender
// that feeds it, as local.NewGate has made it. Senders that wait for it get its credit. Those
// of older attempts of the edge find it closed. detach ends it; the gate is left as it is.
func Attach[T any](e *Endpoint, id PartitionID, to shuffle.Sender[T], opt AttachOptions) (detach func(), err error) {
	if e.bad != nil {
		return nil, e.bad
	}
	inlet, ok := to.(shuffle.Inlet[T])
	if !ok {
		return nil, fmt.Errorf("shuffle/wire: %s: a %T cannot be fed from a connection", id, to)
	}
	c, err := codec.For[T]()
	if err != nil {
		return nil, fmt.Errorf("shuffle/wire: %s: %w", id, err)
	}
	schema, err := fingerprint(c.Schema())
	if err != nil {
		return nil, err
	}
	if opt.Credit <= 0 {
		opt.Credit = shuffle.DefaultCredit
	}
	a := &attachment{e: e, id: id, schema: schema, credit: int64(min(opt.Credit, mostCredit)), control: to.Control, fail: inlet.Fail}
	a.batch = func(body []byte, charge int) error {
		b := to.Buffer()
		if err := decode(c, body, b); err != nil {
			return err
		}
		if err := to.Push(b, charge); err != nil && !errors.Is(err, shuffle.ErrClosed) {
			return err
		}
		return nil
	}
	inlet.Watch(func() {
		if in := a.in.Load(); in != nil {
			in.taken()
		}
	}, a.close)
	if err := e.attach(a); err != nil {
		return nil, err
	}
	return a.detach, nil
}

// attach enters an attachment, and binds what waits for it.
func (e *Endpoint) attach(a *attachment) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	edge := a.id.edge()
	switch newest := e.mu.newest[edge]; {
	case e.mu.closed || e.ctx.Err() != nil:
		return fmt.Errorf("shuffle/wire: %s: %w", a.id, ErrEndpointClosed)
	case a.id.Attempt < newest:
		return fmt.Errorf("shuffle/wire: %s: attempt %d is attached already", a.id, newest)
	case e.mu.attached[a.id] != nil:
		return fmt.Errorf("shuffle/wire: %s is attached already", a.id)
	case a.id.Attempt > newest:
		e.mu.newest[edge] = a.id.Attempt
		e.closeOlderLocked(edge, a.id.Attempt)
	}
	e.mu.attached[a.id] = a
	if in := e.mu.waiting[a.id]; in != nil {
		delete(e.mu.waiting, a.id)
		e.bindLocked(a, in)
	}
	return nil
}

// closeOlderLocked closes what is left of an edge's older attempts.
func (e *Endpoint) closeOlderLocked(edge edgeOf, attempt uint64) {
	for id, in := range e.mu.waiting {
		if id.edge() == edge && id.Attempt < attempt {
			delete(e.mu.waiting, id)
			in.close()
		}
	}
	for id, a := range e.mu.attached {
		if in := a.in.Load(); id.edge() == edge && id.Attempt < attempt && in != nil {
			in.close()
		}
	}
}

// opened handles a partition that a sender has opened.
func (e *Endpoint) opened(in *inbound) {
	e.mu.Lock()
	defer e.mu.Unlock()
	a := e.mu.attached[in.id]
	switch {
	case in.id.Attempt < e.mu.newest[in.id.edge()], a != nil && a.closed:
		in.close()
	case a != nil && a.bound, e.mu.waiting[in.id] != nil:
		in.refuse("it is open already")
	case a != nil:
		e.bindLocked(a, in)
	default:
		e.mu.waiting[in.id] = in
	}
}

// bindLocked joins a partition with what it feeds, and grants its credit.
func (e *Endpoint) bindLocked(a *attachment, in *inbound) {
	if a.closed {
		in.close()
		return
	}
	if a.schema != in.schema {
		why := fmt.Sprintf("its records have another schema (%016x) than here (%016x): run the same program everywhere", in.schema, a.schema)
		in.refuse(why)
		peer := in.conn.peer
		// Fail does not block, but it calls the task: not under the lock.
		e.running.Go(func() { a.fail(refused(a.id, peer, why)) })
		return
	}
	a.bound = true
	a.in.Store(in)
	in.to.Store(a)
	in.grant(a.credit)
}

// done handles that a sender has given its partition up.
func (e *Endpoint) done(in *inbound) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.mu.waiting[in.id] == in {
		delete(e.mu.waiting, in.id)
	}
}

// close is called when the gate is closed: the sender is told, and who opens later.
func (a *attachment) close() {
	a.e.mu.Lock()
	a.closed = true
	in := a.in.Load()
	a.e.mu.Unlock()
	if in != nil {
		in.close()
	}
}

// detach ends the attachment.
func (a *attachment) detach() {
	a.e.mu.Lock()
	if a.e.mu.attached[a.id] == a {
		delete(a.e.mu.attached, a.id)
	}
	a.e.mu.Unlock()
	a.close()
}
