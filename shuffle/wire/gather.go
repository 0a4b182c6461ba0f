package wire

import (
	"hash/crc32"
	"net"
)

// gather collects frames and writes them together. Heads and small bodies are in one
// piece of memory, bodies of batches are written from where they are.
type gather struct {
	heads  []byte
	pieces []piece
	bufs   net.Buffers
	flat   []byte // for connections that cannot write many pieces at once
}

// piece is a part of heads, with a batch's body behind it.
type piece struct {
	to    int // end, in heads
	batch *encoded
}

func (w *gather) reset() {
	w.heads, w.pieces = w.heads[:0], w.pieces[:0]
}

// small adds a frame as it is.
func (w *gather) small(frame []byte) { w.heads = append(w.heads, frame...) }

// item adds a batch or a control record of a partition.
func (w *gather) item(partition uint32, it outItem) {
	at := len(w.heads)
	w.heads = append(w.heads, make([]byte, headSize)...)
	if it.batch == nil {
		h := header{size: controlSize, kind: kindControl, partition: partition}
		w.heads = appendControl(w.heads, it.control)
		h.sum = crc32.Checksum(w.heads[at+headSize:], castagnoli)
		h.put(w.heads[at:])
		return
	}
	e := it.batch
	h := header{size: uint32(len(e.data)), kind: kindBatch, flags: e.flags, partition: partition, credit: e.charge, sum: e.sum}
	if it.pushed {
		h.flags |= flagPushed
	}
	h.put(w.heads[at:])
	w.pieces = append(w.pieces, piece{len(w.heads), e})
}

// chunk is how much is copied together for a connection that takes one piece at a time, as
// one with TLS does.
const chunk = 128 << 10

// flush writes all that was added.
func (w *gather) flush(c net.Conn) error {
	if _, ok := c.(*net.TCPConn); !ok {
		return w.flushFlat(c)
	}
	bufs, from := w.bufs[:0], 0
	for _, p := range w.pieces {
		bufs = append(bufs, w.heads[from:p.to], p.batch.data)
		from = p.to
	}
	if from < len(w.heads) {
		bufs = append(bufs, w.heads[from:])
	}
	w.bufs = bufs
	_, err := bufs.WriteTo(c) // which changes bufs, and clears what it has written
	return err
}

func (w *gather) flushFlat(c net.Conn) error {
	w.flat = w.flat[:0]
	from := 0
	for _, p := range w.pieces {
		w.flat = append(w.flat, w.heads[from:p.to]...)
		from = p.to
		for rest := p.batch.data; len(rest) > 0; {
			n := min(len(rest), chunk)
			w.flat = append(w.flat, rest[:n]...)
			rest = rest[n:]
			if len(w.flat) >= chunk {
				if _, err := c.Write(w.flat); err != nil {
					return err
				}
				w.flat = w.flat[:0]
			}
		}
	}
	w.flat = append(w.flat, w.heads[from:]...)
	if len(w.flat) == 0 {
		return nil
	}
	_, err := c.Write(w.flat)
	return err
}

// release gives up the shares of what was written, or never will be.
func (w *gather) release() {
	for i, p := range w.pieces {
		p.batch.Release()
		w.pieces[i].batch = nil
	}
	w.pieces = w.pieces[:0]
}
