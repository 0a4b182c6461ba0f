//go:build !invariants

package invariants

// Enabled says that this is an invariants build.
const Enabled = false

// Bytes mangles b up to its capacity. The owner of a buffer calls it when he
// takes the buffer back and before he fills it again.
func Bytes(b []byte) {}

// Values sets every value of s, up to its capacity, to poison. For types with
// pointers the zero value is the poison to take.
func Values[T any](s []T, poison T) {}

// Lender lends a byte slice to a callee until the next one is lent. The zero
// value is ready.
type Lender struct{}

// Lend returns b for the callee to read until the next call of Lend or Revoke.
// In an invariants build the callee gets a copy, which the next call mangles.
func (*Lender) Lend(b []byte) []byte { return b }

// Revoke ends the last loan.
func (*Lender) Revoke() {}
