// Package operator is the contract between user code and the runtime, and the
// operators that come built in.
//
// An [Operator] is one instance of a graph's operator inside one task. It has two
// halves. The typed half is its inlets and outlets: batches arrive at a
// [Receiver] and leave by an [Output], by direct typed calls, with no interface
// value for a record. The untyped half is the Operator interface: the task that
// owns the chain calls it for everything that is not a record.
//
// A task hands control records along its chain itself, operator by operator from
// the head on: an operator does not forward a watermark, it handles it, emits
// what follows from it, and returns the watermark that the next operator sees.
//
// Invariants:
//
//  1. All calls to an operator come from its task's goroutine, one at a time.
//     [Task.Mail] and [Task.Wake] are the only methods other goroutines may call.
//  2. A batch given to Receive is lent for the call; see [flow.Batch].
//  3. When an operator returns from any call, what it emitted during the call has
//     left it: no operator holds a partly filled batch between calls.
//  4. An error returned from a call fails the task. A panic in user code is caught
//     by the task and becomes a failure that names the operator and the record.
package operator
