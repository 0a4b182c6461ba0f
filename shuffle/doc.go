// Package shuffle moves batches from task to task.
//
// Words. An exchange is an edge between two chains. A partition is what one
// producing task offers to one consuming task on it. The producer's end of a
// partition is a [Sender]; a [Writer] routes a task's output to its senders. The
// consumer's ends of all partitions of one exchange are the channels of one
// [Gate].
//
//	task A0 ── Writer ─┬─ Sender ══ partition ══ channel 0 ─┐
//	                   └─ Sender ══ ...                      ├─ Gate ── task B0
//	task A1 ── Writer ─┬─ Sender ══ partition ══ channel 1 ─┘
//
// How the two ends are joined is the business of the packages below: local hands
// typed slices over within a process.
//
// Flow control is by credit, per partition and in bytes. A sender with credit
// accepts anything; one without blocks the next Send until the consumer has taken
// something. A task looks at [Writer.Available] before it takes more input, so
// that it mostly waits where it can still be reached, in its mailbox.
//
// Both ends count what goes over a partition: at a barrier the books of a job are
// compared. An epoch may overtake what is queued: a gate tells of barriers as soon as
// they are queued, copies what is before them into the snapshot, and hands the copies
// to a new task's operator before anything else; see [Overtaken].
//
// Invariants:
//
//  1. What is sent on a partition arrives in order: batches and control records in
//     one line.
//  2. A partition holds at most its credit and two batches more, in bytes: one that
//     found a little credit, and what was collected when a control record came.
//  3. A batch that was sent belongs to the partition until it was received; its
//     memory then goes back to the producer. Nothing is allocated in steady state.
//  4. What was sent before a control record is counted by the writer when Control
//     returns, and by the gate when Next returns the control record.
//  5. A control record is sent without waiting for credit.
//  6. A consumer that does not read stops only the producers that send to it.
//
// A Writer belongs to the producing task's goroutine and a Gate to the consuming
// one's; what they share is in the partition and has its own lock.
package shuffle
