// Package metamorphic is the test that states what Weir is for: one pipeline over
// one input gives the same result however it is run.
//
// Words. A [Pipeline] is a small description of its own, a list of nodes that each
// apply one op to streams of [Record]. It can be built with sdk and run by the
// engine, and it can be evaluated: each op has an eval, a naive function from whole
// inputs to whole outputs on one goroutine, which shares no code with the engine.
// An [Input] is what the sources hold. A [Config] is a way to run it: parallelism,
// chaining, batch size, credit, epochs, bounded or not, how the input is cut into
// splits, and a seed for all that is left to chance.
//
// A lane is a run of records whose order the pipeline promises to keep: those of
// one origin, on one path, with one key since the last keyed exchange. Records
// carry their lane and their place in it; both are computed by the oracle and by
// the running pipeline alike, so that they are part of the result.
//
// What is checked of every run:
//
//  1. Every sink has the multiset of records that the oracle says.
//  2. The records of a lane are in order, in sinks and at keyed operators.
//  3. No record is late where the input has none that is: no watermark overtakes a
//     record.
//  4. A record that comes from one input record is in the same epoch as that one:
//     no barrier overtakes a record, or is overtaken.
//  5. The run ends, and leaves no goroutine behind.
//
// Some runs are in batch mode. What gives a result after each record otherwise gives the
// last of each key there; everything else is the same.
//
// Ops are chosen so that the result is independent of how streams interleave:
// what depends on the order of records is keyed by lane; what merges lanes does
// not depend on their order. Event time is that of the input: no record is late, so
// that what windows and timers give depends on nothing else. What is not covered:
// processing time, late records, sources that fall silent, failures.
//
// How to run it:
//
//	go test ./internal/testkit/metamorphic                      500 seeds, from 1 on
//	WEIR_METAMORPHIC_SEEDS=5000 go test ... -rapid.seed=7       more, and others
//	WEIR_METAMORPHIC_PLANTS=all go test ... -run PlantedBugs    bugs on purpose
//
// A failure is printed when it is met, with its pipeline, input and run, and again
// when rapid has made it small. One that depends on scheduling may not come back at
// the same seed at once: what is printed first is the one that counts.
package metamorphic
