//go:build invariants

package invariants

// Enabled says that this is an invariants build.
const Enabled = true

// mangled is the byte that mangled memory is filled with. As text it is not
// valid UTF-8, as msgpack it is an array of 32 bits' length, as a varint it does
// not end: each reader trips over it.
const mangled = 0xdd

// Bytes mangles b up to its capacity. The owner of a buffer calls it when he
// takes the buffer back and before he fills it again.
func Bytes(b []byte) {
	b = b[:cap(b)]
	for i := range b {
		b[i] = mangled
	}
}

// Values sets every value of s, up to its capacity, to poison. For types with
// pointers the zero value is the poison to take.
func Values[T any](s []T, poison T) {
	s = s[:cap(s)]
	for i := range s {
		s[i] = poison
	}
}

// Lender lends a byte slice to a callee until the next one is lent. The zero
// value is ready.
type Lender struct {
	lent []byte
}

// Lend returns b for the callee to read until the next call of Lend or Revoke.
// In an invariants build the callee gets a copy, which the next call mangles.
func (l *Lender) Lend(b []byte) []byte {
	l.Revoke()
	if b == nil {
		return nil
	}
	l.lent = append(make([]byte, 0, len(b)), b...)
	return l.lent
}

// Revoke ends the last loan.
func (l *Lender) Revoke() {
	Bytes(l.lent)
	l.lent = nil
}
