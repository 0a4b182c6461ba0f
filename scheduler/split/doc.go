// Package split decides which subtask of a source reads which split. An
// [Assigner] is the pure half of a source's enumerator: the enumerator finds
// splits, the assigner hands them out, and the shell around both carries the
// assignments to the tasks.
//
// The assigner knows a split by its [ID] only. What a split is, where its reading
// starts, and the position that was saved for a restored one, the shell keeps by
// id; a restored split goes in by Found as a new one does.
//
// Words: a split is queued until it is assigned, then it is owned by a subtask
// until that says Finished. A subtask is live from Register to SubtaskLost.
//
// Invariants:
//
//  1. A split is owned by at most one subtask, which is live; it is queued, owned or
//     finished, and never forgotten.
//  2. Splits are assigned in the order in which they were found; those that a lost
//     subtask gave back come first, in the same order.
//  3. NoMore is told to each live subtask once, after NoMore was said and all splits
//     are finished. It is not told sooner, to a subtask for which just nothing is
//     left, because another subtask may be lost and give its splits back. Until
//     then such a subtask has to count as idle, or it holds back the watermark.
//
// Nothing here starts a goroutine, reads a clock or does I/O. An Assigner has no
// lock: it belongs to the goroutine that drives the source's enumerator.
package split
