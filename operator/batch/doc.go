// Package batch sorts and groups inputs that end, within a budget of memory: what
// keyed operators are made of when results are final and state need not be kept.
//
// Words. A run is a sorted part of the input on disk. A prefix is the first eight
// bytes of a record's key, as a number. A group is a key with its accumulator.
//
//   - [Sorter]: external merge sort. Keys are bytes whose order is that of the
//     records, made with the Append functions of this package.
//   - [Grouper]: hash aggregation; what does not fit is divided by hash, written to
//     disk and grouped part by part.
//   - [Partial]: aggregation before an exchange, in a small table; it gets out of
//     the way where it does not make less of the records.
//
// Invariants:
//
//  1. Memory is bounded by the budget, and one record. What is counted is what the
//     types here hold; what the garbage collector has not freed yet comes on top.
//  2. Files are in a directory of their own, which Close removes, whatever has
//     happened before. Blocks have sums: what was written is what is read, or an error.
//  3. Records with equal keys leave a Sorter in the order in which they came.
//  4. A Grouper and a Partial make the same groups as a map would, in no order.
//  5. Nothing here starts a goroutine. What may take long looks at its context.
//
// Each of the types belongs to one goroutine. docs/design/0012-batch.md has the
// algorithms, their sources and figures.
package batch
