package wire

// tell lists what is to be told to the producer, as f notes it.
func (a *accepted) tell(in *inbound, f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
	if !in.listed && a.mu.err == nil {
		in.listed = true
		a.mu.dirty = append(a.mu.dirty, in)
		a.mu.wake.Signal()
	}
}

// grant returns credit, the first time as much as the partition begins with.
func (in *inbound) grant(n int64) {
	in.conn.tell(in, func() { in.limit, in.owed = n, n })
}

// taken returns what the batch took that was taken next.
func (in *inbound) taken() {
	in.conn.tell(in, func() {
		n := int64(in.charges.pop())
		in.held -= n
		in.owed += n
		if in.held < in.limit {
			in.pushed = 0
		}
	})
}

// close tells the producer that nobody takes what it sends.
func (in *inbound) close() {
	in.over.Store(true)
	in.conn.tell(in, func() { in.closed = true })
}

// refuse tells the producer what is wrong with the partition.
func (in *inbound) refuse(reason string) {
	in.over.Store(true)
	in.conn.tell(in, func() { in.bad = reason })
}

// mostGrant is the most that one frame grants.
const mostGrant = 1<<32 - 1

// write writes what is to be told, until the connection is stopped. While it writes, credit
// adds up.
func (a *accepted) write() error {
	var buf []byte
	for {
		a.mu.Lock()
		for len(a.mu.dirty) == 0 && a.mu.err == nil {
			a.mu.wake.Wait()
		}
		if a.mu.err != nil {
			a.mu.Unlock()
			return nil
		}
		buf = buf[:0]
		for _, in := range a.mu.dirty {
			in.listed = false
			buf = in.appendLocked(buf)
		}
		clear(a.mu.dirty)
		a.mu.dirty = a.mu.dirty[:0]
		a.mu.Unlock()
		if len(buf) == 0 {
			continue
		}
		if _, err := a.c.Write(buf); err != nil {
			return err
		}
	}
}

// appendLocked appends the frames that tell what is to be told.
func (in *inbound) appendLocked(buf []byte) []byte {
	switch {
	case in.told:
	case in.bad != "":
		in.told = true
		buf = appendFrame(buf, header{kind: kindBad, partition: in.number}, []byte(in.bad[:min(len(in.bad), maxHello)]))
	case in.closed:
		in.told = true
		buf = appendFrame(buf, header{kind: kindClosed, partition: in.number}, nil)
	default:
		for in.owed > 0 {
			n := min(in.owed, mostGrant)
			buf = appendFrame(buf, header{kind: kindGrant, partition: in.number, credit: uint32(n)}, nil)
			in.owed -= n
		}
	}
	return buf
}
