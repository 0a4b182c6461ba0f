// Package wire joins the two ends of an exchange across processes.
//
// Words. An [Endpoint] is a process's part in it: it listens, and dials others. A link
// is a connection from one process to another over which the first sends batches and
// control records of many partitions, and the second returns credit. On the producer's
// side a partition ends in a [Sender], on the consumer's in an attachment, which feeds a
// channel of a local gate. What passes over a link is in docs/format/wire.md.
//
//	Router ─ Sender ─┐ queue                               ┌─ attachment ─ channel ─┐
//	                 ├─ writer ═ frames ═══════ reader ────┤                        ├─ Gate
//	Router ─ Sender ─┘   reader ═══ credit ═══ writer      └─ attachment ─ channel ─┘
//
// A sender begins without credit. It opens its partition; when the consumer has attached
// it, which may be later, the consumer grants the credit of its channel, and from then on
// what its task has taken. Until then the sender keeps its control records, merged as a
// local channel merges them.
//
// Invariants, beside those of package shuffle:
//
//  1. The reader of a link never waits for a task: what comes has room, since it was
//     granted. A sender that goes beyond its credit is cut off.
//  2. What waits for the writer of a link is bounded by the sum of its senders' credit.
//  3. A batch belongs to its sender again when Send returns; it was encoded by then, once,
//     also where many consumers get it.
//  4. A connection that breaks fails the senders on it, and the gates that it fed, with a
//     *flow.Failure that is external and retryable. It is not made again: the tasks are,
//     with the next attempt. What has sent its final barrier does not fail.
//  5. When an attempt's partition is attached, senders of earlier attempts of the edge find
//     it closed.
//  6. Whatever bytes come, the connection is closed with an error that says what is wrong;
//     no more memory is taken than was received, and at most Options.MaxFrame for a frame.
//
// An Endpoint may be used from any goroutine. A Sender belongs to its task's goroutine, but
// for Close. Locks: that of the endpoint is taken before that of a connection, never
// after it; neither is held when a gate, a task or the network is called.
package wire
