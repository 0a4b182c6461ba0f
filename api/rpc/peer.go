package rpc

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// stream is what both ends of a gRPC stream can do.
type stream interface {
	SendMsg(m any) error
	RecvMsg(m any) error
}

// peer is one end of a stream with all that keeps it going: a goroutine that sends, one
// that receives and delivers, and one that pings and listens for silence.
type peer struct {
	stream stream
	opt    Options
	out    kinds
	in     kinds
	queue  *queue

	began time.Time
	heard atomic.Int64 // nanoseconds after began
	// delivering says that the receiving goroutine is with the other side of the house: what
	// the peer sends meanwhile is not read.
	delivering atomic.Bool
	// said says that the peer is told that all is over: how it ends then is its own affair.
	said atomic.Bool

	once sync.Once
	done chan struct{} // closed when the stream is given up
	err  error         // why; to be read after done
	side sync.WaitGroup
}

func newPeer(s stream, out, in kinds, opt Options) *peer {
	return &peer{stream: s, opt: opt, out: out, in: in, queue: newQueue(opt.MaxQueue), began: time.Now(), done: make(chan struct{})}
}

// end gives the stream up, once. It waits for nothing.
func (p *peer) end(err error) {
	p.once.Do(func() {
		if p.err = err; p.said.Load() {
			p.err = ErrOver
		}
		close(p.done)
	})
}

// send puts a message into the queue. Where that cannot be the stream ends.
func (p *peer) send(m any) {
	select {
	case <-p.done:
		return
	default:
	}
	b, err := p.out.encode(m)
	if err == nil && len(b) > p.opt.MaxMessage {
		err = fmt.Errorf("rpc: a message of %d bytes (%T) is larger than the %d that are allowed", len(b), m, p.opt.MaxMessage)
	}
	if err == nil {
		err = p.queue.put(b)
	}
	if err != nil {
		p.end(err)
	}
}

// receive reads one message; it is for what comes before start.
func (p *peer) receive() (any, error) {
	var b []byte
	if err := p.stream.RecvMsg(&b); err != nil {
		return nil, err
	}
	return p.in.decode(b)
}

// start starts the goroutines. They end soon after the stream has been given up and closed.
func (p *peer) start(deliver func(m any) error) {
	p.heard.Store(int64(time.Since(p.began)))
	p.side.Go(p.sending)
	p.side.Go(func() { p.receiving(deliver) })
	p.side.Go(p.watching)
}

func (p *peer) sending() {
	for {
		items := p.queue.take(p.done)
		if items == nil {
			return
		}
		for _, b := range items {
			if last(b) {
				p.said.Store(true)
			}
			if err := p.stream.SendMsg(&b); err != nil {
				// What ended the stream is what the receiving side hears.
				if !errors.Is(err, io.EOF) {
					p.end(fmt.Errorf("sending: %w", err))
				}
				return
			}
			p.queue.sent(len(b))
		}
	}
}

// last reports whether a message is the last one of a stream.
func last(b []byte) bool {
	const head = "\x81\xa4over" // a map of one, and the kind
	return len(b) >= len(head) && string(b[:len(head)]) == head
}

func (p *peer) receiving(deliver func(m any) error) {
	for {
		m, err := p.receive()
		if err == nil {
			p.delivering.Store(true)
			err = deliver(m)
			p.heard.Store(int64(time.Since(p.began)))
			p.delivering.Store(false)
		}
		if err != nil {
			p.end(err)
			return
		}
	}
}

func (p *peer) watching() {
	t := time.NewTicker(p.opt.Ping)
	defer t.Stop()
	woke := time.Now()
	for {
		select {
		case <-p.done:
			return
		case now := <-t.C:
			p.send(&ping{})
			// A process that stood still has not listened either: what waits to be read comes first.
			late := now.Sub(woke) > p.opt.Ping+p.opt.Patience/2
			woke = now
			silent := time.Since(p.began) - time.Duration(p.heard.Load())
			if silent > p.opt.Patience && !late && !p.delivering.Load() {
				p.end(fmt.Errorf("%w: nothing was heard of it for %v", ErrSilent, silent.Round(time.Millisecond)))
			}
		}
	}
}
