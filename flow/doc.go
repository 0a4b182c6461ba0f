// Package flow holds the words of the engine: what travels along an edge of a
// running job, and the identifiers that all other packages share.
//
// An edge carries two kinds of things in one line, in order: batches of records
// of one type ([Batch]) and control records ([Control]): watermarks, barriers,
// idleness and the end of input. A bounded input is a stream that ends: it sends
// the watermark [MaxTime], then the end of input, and then the barrier of its
// last epoch.
//
// Invariants:
//
//  1. Nothing here starts a goroutine, reads a clock or does I/O.
//  2. A key's hash, and with it its key group, is the same in every process and
//     in every release: state is stored by it.
//  3. Times are microseconds since the Unix epoch. Microseconds, because Beam's
//     range of timestamps fits exactly and nanoseconds would cut it to ±292 years.
//
// Values of this package are owned by one goroutine at a time; none has locks.
package flow
