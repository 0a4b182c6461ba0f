// Package local joins the two ends of an exchange within one process: a batch is
// handed over as the typed slice that it is.
//
// A [Gate] owns the queues of all its channels under one lock, which is taken once
// a batch by each side. Batches that were received go back to the channel they
// came from and are filled again by its producer.
//
// Invariants: those of package shuffle. A channel holds at most its credit and
// two batches more; its list of free batches holds no more bytes than that either.
package local
