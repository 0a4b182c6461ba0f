package wire

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/weirflow/weir/flow"
)

// accepted is the consumer's side of a connection: it reads what comes into the gates that
// are attached, and returns credit.
type accepted struct {
	e    *Endpoint
	c    net.Conn
	peer string
	x    expander

	// parts are the partitions by number. They belong to the reader.
	parts map[uint32]*inbound
	last  uint32

	mu struct {
		sync.Mutex
		dirty []*inbound // those that have something to tell
		wake  *sync.Cond
		err   error
	}
}

// inbound is one partition of a connection. Its other fields are guarded by the
// connection's lock.
type inbound struct {
	conn   *accepted
	number uint32
	id     PartitionID
	schema uint64
	// to is nil until it is attached. Nothing but what closes it comes before.
	to atomic.Pointer[attachment]
	// over says that what comes is dropped: the gate is closed, or the attempt.
	over atomic.Bool
	// final says that the last barrier came. It belongs to the reader.
	final bool

	charges charges
	limit   int64 // granted to begin with
	held    int64 // charges that were not taken
	pushed  int   // batches beyond the credit, since there was some
	owed    int64 // credit to return
	closed  bool  // to be told
	told    bool  // of the end: nothing is told after it
	bad     string
	listed  bool
}

// mostPushed is how many batches may go beyond the credit without any being taken: each
// belongs to a control record, of which the engine has few under way.
const mostPushed = 1 << 12

func newAccepted(e *Endpoint, c net.Conn, peer string) *accepted {
	a := &accepted{e: e, c: c, peer: peer, x: expander{limit: e.opt.MaxFrame}, parts: map[uint32]*inbound{}}
	a.mu.wake = sync.NewCond(&a.mu.Mutex)
	return a
}

// run reads until the connection ends, and returns why if that is not in order.
func (a *accepted) run(f *frames) error {
	var done sync.WaitGroup
	done.Go(func() {
		if err := a.write(); err != nil {
			a.stop(err)
		}
	})
	err := a.read(f)
	if a.e.ctx.Err() != nil {
		err = ErrEndpointClosed
	}
	err = a.stop(err)
	done.Wait()
	a.x.close()
	a.lost(err)
	if errors.Is(err, errOrdinary) {
		return nil
	}
	return err
}

// errOrdinary is the end of a connection whose other side has closed it.
var errOrdinary = errors.New("it was closed by the other side")

// stop closes the connection, for the first reason that is told, and returns that.
func (a *accepted) stop(err error) error {
	a.mu.Lock()
	if a.mu.err == nil {
		a.mu.err = err
	}
	err = a.mu.err
	a.mu.wake.Broadcast()
	a.mu.Unlock()
	_ = a.c.Close()
	return err
}

// lost fails the gates that would have got more.
func (a *accepted) lost(err error) {
	var fail []func()
	a.e.mu.Lock()
	for _, in := range a.parts {
		if a.e.mu.waiting[in.id] == in {
			delete(a.e.mu.waiting, in.id)
		}
		if to := in.to.Load(); to != nil && !in.over.Load() && !in.final {
			fail = append(fail, func() { to.fail(broken(in.id, a.peer, err)) })
		}
	}
	a.e.mu.Unlock()
	for _, f := range fail {
		f()
	}
}

// read handles frames.
func (a *accepted) read(f *frames) error {
	for {
		h, body, err := f.next()
		if err != nil {
			if errors.Is(err, io.EOF) {
				return errOrdinary
			}
			return err
		}
		if h.kind != kindBatch && h.size > maxHello {
			return protocol("a %s of %d bytes", h.kind, h.size)
		}
		if h.kind == kindOpen {
			err = a.open(h.partition, body)
		} else if in := a.parts[h.partition]; in == nil {
			err = protocol("a %s for partition %d, which is not open", h.kind, h.partition)
		} else {
			err = a.frame(in, h, body)
		}
		if err != nil {
			return err
		}
	}
}

func (a *accepted) frame(in *inbound, h header, body []byte) error {
	switch h.kind {
	case kindDone:
		delete(a.parts, in.number)
		a.e.done(in)
		return nil
	case kindBatch:
		return a.batch(in, h, body)
	case kindControl:
		c, err := readControl(body)
		if err != nil {
			return err
		}
		to := in.to.Load()
		if in.over.Load() {
			return nil
		}
		if to == nil {
			return protocol("%s: a control record before there is credit", in.id)
		}
		if c.Kind == flow.ControlBarrier && c.Barrier.Kind == flow.BarrierFinal {
			in.final = true
		}
		to.control(c)
		return nil
	}
	return protocol("a %s comes to a consumer", h.kind)
}

func (a *accepted) batch(in *inbound, h header, body []byte) (err error) {
	to := in.to.Load()
	if in.over.Load() {
		return nil
	}
	if to == nil {
		return protocol("%s: a batch before there is credit", in.id)
	}
	if z := Compression(h.flags & flagCompression); z != None {
		if body, err = a.x.expand(z, body); err != nil {
			return fmt.Errorf("%s: %w", in.id, err)
		}
	}
	if uint64(h.credit) < uint64(len(body)) || h.credit > maxCharge {
		return protocol("%s: a batch of %d bytes takes %d of the credit", in.id, len(body), h.credit)
	}
	if err := a.charge(in, h); err != nil {
		return err
	}
	if err := to.batch(body, int(h.credit)); err != nil {
		return fmt.Errorf("%s: %w", in.id, err)
	}
	return nil
}

// charge enters a batch, if the sender may send it.
func (a *accepted) charge(in *inbound, h header) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if in.held >= in.limit {
		if in.pushed++; h.flags&flagPushed == 0 || in.pushed > mostPushed {
			return protocol("%s: a batch goes beyond the credit of %d bytes, of which %d are used", in.id, in.limit, in.held)
		}
	}
	in.held += int64(h.credit)
	in.charges.push(h.credit)
	return nil
}

// open handles the frame that opens a partition.
func (a *accepted) open(number uint32, body []byte) error {
	var o opening
	rest, err := a.e.openings.Decode(body, &o)
	if err != nil || len(rest) > 0 {
		return protocol("opening partition %d: %v, %d bytes behind it", number, err, len(rest))
	}
	if number <= a.last {
		return protocol("partition %d is opened after %d", number, a.last)
	}
	if len(a.parts) >= a.e.opt.MaxPartitions {
		return protocol("more than %d partitions are open", len(a.parts))
	}
	in := &inbound{conn: a, number: number, id: o.id(), schema: o.Schema}
	a.last, a.parts[number] = number, in
	a.e.opened(in)
	return nil
}

// charges is a queue of what batches took of the credit, in the order in which they are
// taken.
type charges struct {
	list []uint32
	head int
}

func (q *charges) push(n uint32) {
	if q.head > 32 && q.head > len(q.list)/2 {
		q.list = q.list[:copy(q.list, q.list[q.head:])]
		q.head = 0
	}
	q.list = append(q.list, n)
}

func (q *charges) pop() (n uint32) {
	if q.head < len(q.list) {
		n = q.list[q.head]
		q.head++
	}
	return n
}
