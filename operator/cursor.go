package operator

import (
	"fmt"
	"strings"

	"github.com/weirflow/weir/flow"
)

// Cursor says which record an operator is at, so that a panic in user code can be
// reported with it. It costs a store for each record.
//
//	c.Enter(b)
//	for i := range b.Values {
//		c.I = i
//		...user code...
//	}
//	c.Leave()
//
// After a panic Leave has not been called, and [Cursor.Failing] tells the record.
type Cursor[T any] struct {
	// I is the index in the batch of the record that is being handled.
	I     int
	batch *flow.Batch[T]
	seen  int64
	note  func() string
}

// Enter begins a batch.
func (c *Cursor[T]) Enter(b *flow.Batch[T]) { c.batch, c.I = b, 0 }

// Leave ends it.
func (c *Cursor[T]) Leave() {
	c.seen += int64(len(c.batch.Values))
	c.batch = nil
}

// EnterNote begins something that is not a record, a timer say; note describes
// it if need be. LeaveNote ends it.
func (c *Cursor[T]) EnterNote(note func() string) { c.note = note }

// LeaveNote ends what EnterNote began.
func (c *Cursor[T]) LeaveNote() { c.note = nil }

// Failing describes the record or timer in hand, or returns "" when there is
// none.
func (c *Cursor[T]) Failing() string {
	switch {
	case c.batch != nil && c.I < len(c.batch.Values):
		v := Excerpt(fmt.Sprintf("%+v", c.batch.Values[c.I]), 200)
		s := fmt.Sprintf("record %d"+ofInput+"%s", c.seen+int64(c.I)+1, v)
		if t := c.batch.Time(c.I); t != flow.MinTime {
			s += " (time " + t.String() + ")"
		}
		return s
	case c.note != nil:
		return c.note()
	}
	return ""
}

// ofInput is between the number of a record and the record.
const ofInput = " of this subtask's input: "

// InHand is what [Cursor.Failing] told without the record's number, which is another
// one in each attempt.
func InHand(failing string) string {
	if number, rec, ok := strings.Cut(failing, ofInput); ok && strings.HasPrefix(number, "record ") {
		return rec
	}
	return failing
}

// Failer is implemented by operators that can tell what they were doing when user
// code panicked.
type Failer interface{ Failing() string }

// Excerpt cuts s to at most n bytes for a message and says that it did.
func Excerpt(s string, n int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + fmt.Sprintf("… (%d bytes in all)", len(s))
}
