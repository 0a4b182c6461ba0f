package checkpoint

import "fmt"

// Account is what an [Entry] counts.
type Account uint8

const (
	// AccountRead counts records that a source's subtask has brought in.
	AccountRead Account = iota + 1
	// AccountSent counts records that were sent on a channel of an exchange, by the
	// producer; on a broadcast edge each channel has all.
	AccountSent
	// AccountReceived counts records that were taken off a channel, by the consumer.
	// Those that it replayed are not among them.
	AccountReceived
	// AccountQueued counts records that were under way when an unaligned epoch overtook
	// them: they are in the snapshot of the consumer.
	AccountQueued
	// AccountReplayed counts records of a restored snapshot that a consumer took in
	// first, by operator and port.
	AccountReplayed
	// AccountIn and AccountOut count records that went into and came out of an operator,
	// over all its ports and outlets. In includes what was replayed.
	AccountIn
	AccountOut
	// AccountPrepared counts records that a sink's subtask has made part of what it prepared.
	AccountPrepared
	// AccountCommitted counts records that a sink's committer found in what was
	// committed. [Books] adds it to the totals; tasks know nothing of it.
	AccountCommitted
)

var accountNames = [...]string{"", "read", "sent", "received", "queued", "replayed", "in", "out", "prepared", "committed"}

// String is the account's name in messages and in JSON.
func (a Account) String() string {
	if a > 0 && int(a) < len(accountNames) {
		return accountNames[a]
	}
	return fmt.Sprintf("account %d", uint8(a))
}

// MarshalJSON is String in quotes: JSON is for people.
func (a Account) MarshalJSON() ([]byte, error) { return []byte(`"` + a.String() + `"`), nil }

// Entry is a line in the books of a task. Counts and sums go from the start of the
// attempt up to a barrier, so that an aborted epoch leaves no gap; those in
// [Manifest.Totals] go from the start of the job, and are sums over all subtasks
// with Producer and Consumer 0.
//
// Who counts adds the length of a batch to a plain number that the task owns, where
// the batch passes anyway: nothing is done for each record but where sums of hashes
// are asked for. Both sides of an edge keep such sums, or neither does.
type Entry struct {
	Account Account `msgpack:"account" json:"account"`
	// Operator is the one that counts or, for accounts of an exchange, the one to
	// which the edge leads.
	Operator string `msgpack:"operator" json:"operator"`
	Port     int    `msgpack:"port" json:"port"`
	Index    int    `msgpack:"index" json:"index"`
	// Producer and Consumer are the subtasks on both sides of a channel. Other
	// accounts have their subtask in Consumer.
	Producer int   `msgpack:"producer" json:"producer"`
	Consumer int   `msgpack:"consumer" json:"consumer"`
	Records  int64 `msgpack:"records" json:"records"`
	// Sum is the sum, in 128 bits with wrap-around, of the hashes of the records; 0
	// where only counts are kept.
	Sum Sum `msgpack:"sum" json:"sum"`
}

// Sum is an order-free sum of 128-bit hashes.
type Sum struct {
	High uint64 `msgpack:"high" json:"high"`
	Low  uint64 `msgpack:"low" json:"low"`
}

// Add adds another sum.
func (s *Sum) Add(o Sum) {
	low := s.Low + o.Low
	var carry uint64
	if low < s.Low {
		carry = 1
	}
	s.Low, s.High = low, s.High+o.High+carry
}

// String is 32 hexadecimal digits.
func (s Sum) String() string { return fmt.Sprintf("%016x%016x", s.High, s.Low) }
