// Package rpc carries the messages between a job's coordinator and its executors over
// gRPC: one stream for each executor, in both directions, for as long as both live.
//
//	executor                                 coordinator
//	Dial ── hello ─────────────────────────► admit: job, term, fingerprint
//	     ◄───────────── welcome, or why not
//	Link: api.Scheduler ── TaskState, Ack … ─► the scheduler that Join has named
//	      api.Worker ◄── Deploy, InjectBarrier … ── Executor: api.Worker
//	                 ◄────── pings ──────►
//	                 ◄─────────── over, when the job has ended
//
// Words. A link is the executor's end of a stream, an executor (the type) the
// coordinator's. A message is a msgpack map of one entry: its kind and its body; the body
// is a map by field name, so that fields may be added. The page docs/format/job-rpc.md
// has the details.
//
// Invariants:
//
//  1. Messages of one direction are delivered in the order in which they were sent, by
//     one goroutine; the first of a link is delivered after its hello was admitted.
//  2. Sending never blocks: messages wait in a queue that is bounded in bytes. What does
//     not fit ends the stream with an error, since a message left out would be worse.
//  3. A peer that is not heard for Patience is gone. Both sides see a stream's end, each
//     by itself, and once.
//  4. Bytes that are no message end the stream. Nothing that a peer sends makes this side
//     panic, recurse deeply, or allocate more than a small multiple of MaxMessage.
//  5. Close and Run return when all goroutines of what they close are gone.
//
// A message that does not travel whole: api.Failure.Cause stays where it is.
package rpc
