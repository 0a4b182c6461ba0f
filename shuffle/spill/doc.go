// Package spill is the blocking exchange: a producing task writes all of its output
// to an agent's disk and ends; consumers start afterwards, in other processes, as
// many as the real sizes ask for, and read it as often as they need to.
//
// Words. An output is what one attempt of one producing task has written for one
// exchange: one file, named by an [ID]. It is divided into sub-partitions, the
// finest unit that a consumer can be given: key groups, or runs of them, where the
// exchange is by key. A consumer reads a [Range] of them from the output of each
// producer. A block is what a sum covers; a region is what was in memory when the
// budget was used up, written sub-partition by sub-partition, so that a range of
// them lies together. The index says where. The form is docs/format/spill.md.
//
//	task A0 ── Writer ─┬─ Sender 0 ─┐           ┌ region ┐┌ region ┐
//	                   ├─ Sender 1 ─┼─ Output ─ │ 0 1 2 3││ 0 1 2 3│ index, footer
//	                   └─ Sender …  ┘           └────────┘└────────┘
//	                                 OpenRange [1,3) ↓ ↓     ↓ ↓
//	                                     Reader ── Gate ── task B0
//
// An [Output] makes one sender for each sub-partition, so that any writer of package
// shuffle writes to it: with shuffle.NewHash for exchanges by key, with
// shuffle.NewRebalance for others, and with shuffle.NewForward and one sub-partition,
// which every consumer reads, for a broadcast. A [Reader] feeds a gate of
// shuffle/local. A [Store] keeps an agent's outputs: budget, sizes, fencing,
// clean-up, and byte streams for other processes.
//
// Invariants:
//
//  1. A file under its final name was written to the end and is on disk. What was
//     begun has another name and is removed when the store opens.
//  2. Records of one producer arrive in order within a sub-partition.
//  3. A consumer handles a record only after the sum of its block was right, and its
//     channel ends only if it had all records of its range. Whatever is torn,
//     changed, doubled or missing is an error that names the output: [LostError].
//  4. An output holds no more memory than its budget and one batch, encoded; a reader
//     no more than its gate's credit and two blocks for each output that it reads at once.
//  5. Of two attempts of one producer the newer one counts: the store takes nothing
//     from an older one any more, and gives out nothing of it.
//  6. Watermarks and idleness are not stored: all of an input is there before its
//     consumer starts, so behind its last record comes the end of time. Barriers
//     are not stored either: a consumer that fails begins anew.
//
// An Output belongs to the producing task's goroutine. A Store may be used by any
// number of goroutines. A Reader's Run starts goroutines and waits for them.
package spill
