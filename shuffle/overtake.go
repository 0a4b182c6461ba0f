package shuffle

import "github.com/weirflow/weir/flow"

// Overtaken is what a [Gate] does for epochs that overtake records: it tells of
// barriers as soon as they are queued, and copies what is before them. How the parts
// play together is decided by checkpoint.Aligner.
type Overtaken interface {
	// HasBarriers reports whether Barriers would find something.
	HasBarriers() bool
	// Barriers appends to dst the barriers that were queued since it was called last
	// and have not been taken by Next, those of one channel in order. Notify's function
	// is called for each of them, also where the gate was not empty.
	Barriers(dst []Arrival) []Arrival
	// Log copies, from now on, each batch of the channel before it is handed over.
	Log(channel int) error
	// Take ends the log of a channel and returns it, with a copy of the batches that
	// are queued before the barrier of e. These are handed over later as if nothing
	// had happened. The error is that of a record which cannot be encoded.
	Take(channel int, e flow.Epoch) (InFlight, error)
	// Logged is the number of bytes in all logs that have not been taken.
	Logged() int
	// Unlog forgets all logs.
	Unlog()
	// Replay prepares to hand records that were taken to the receiver: all of them, or
	// those whose key's hash is to be kept. The error says that the records cannot be
	// read, or not as the gate's type.
	Replay(data []byte, keep func(flow.Hash) bool) (Replayer, error)
}

// Arrival is a barrier that is queued on a channel.
type Arrival struct {
	Channel int
	Barrier flow.Barrier
}

// InFlight is the records that an epoch has overtaken on one channel.
type InFlight struct {
	Count
	// Data is in the form of docs/format/inflight.md; nil where there are no records.
	Data []byte
}

// Replayer hands over records that were under way when a snapshot was taken.
type Replayer interface {
	// Next hands the next batch to the receiver. ok is false at the end.
	Next() (records int, ok bool, err error)
	// Count is what was handed over so far.
	Count() Count
}
