// Package rescale decides with how many subtasks a job should run, from what was measured
// while it ran. A [Scaler] is told a sample every few seconds and says whether to change, to
// what, and why, or why not.
//
// Its words: a load is what was measured of an operator, or of a chain of them; its capacity is
// what its subtasks would do if they had always something to do, which is what they did divided by
// the share of the time in which they were busy; its demand is what would come if nothing held
// it back; a job is skewed where one subtask has much more to do than the others.
//
//	demand of a source    = arrives + backlog / CatchUp
//	demand of an operator = what comes in × demand of its inputs / what they do now
//	subtasks              = demand / (capacity of one × Utilisation)
//
// The obvious way, a threshold on load that adds or takes away a subtask, needs many
// steps, each of which is a restart, and does not know where to stop: an operator behind a
// bottleneck looks idle until that is gone. Capacities tell at once how many each operator needs
// when all are fed.
//
// Invariants:
//
//  1. The same samples give the same decisions; there is no clock but theirs.
//  2. What is decided is between Min and Max.
//  3. After a change nothing is decided until the job has run for Settle. Up goes what
//     has been wanted for UpAfter, down what would have been enough for DownAfter.
//  4. A change that was taken back soon makes the next one down wait twice as long. A change up
//     that made the job no faster is not followed by another for a while.
//  5. Samples that make no sense are refused with a reason and change nothing.
//
// Nothing here starts a goroutine, reads a clock or does I/O. A Scaler has no lock: it belongs to
// the goroutine that drives the job. It holds a bounded number of samples.
package rescale
