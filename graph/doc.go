// Package graph is a job as data: operators and the edges between them, with no
// code in it but for opaque handles that never leave the process.
//
// Every front (the Go SDK, Beam, SQL) ends in a [Graph]; the scheduler and the
// workers begin with one. A graph is checked ([Graph.Validate]), given stable
// operator ids ([Graph.AssignIDs]), turned into a [Plan] ([Build]), written to
// bytes and read back ([Marshal], [Unmarshal]), compared ([Graph.Fingerprint],
// [Diff]) and shown to people ([ExplainText], [ExplainDOT], [ExplainJSON]).
//
// # Words
//
// An operator has input ports and outlets. An edge starts at an outlet and ends
// at a port; several edges at one port are a union, several edges from one
// outlet give each consumer all the records. An exchange says how an edge
// spreads records over the consumer's subtasks. A chain is a set of operators
// that run in one task and pass records by call; what joins them is a link. An
// edge is either a link or an exchange between two chains. An exchange
// is pipelined, or blocking: then its consumers start when its producers have ended. A
// region is a set of chains that are joined by pipelined exchanges: they start, fail and
// restart together.
//
// # Invariants
//
//  1. An operator's id is unique in its graph. State is stored by it, so a
//     derived id depends on what the operator is and on what is upstream of it,
//     never on its place in the program or on what is beside it.
//  2. A plan holds every operator in exactly one chain, and every edge exactly
//     once: as a link of one chain, or as an output of one chain and an input of
//     another or the same one.
//  3. Only the head of a chain has inputs from outside the chain. So merging
//     operators into chains never makes a cycle.
//  4. The serial form is deterministic: equal graphs give equal bytes. The
//     fingerprint does not depend on the order in which operators were added.
//  5. No input, however hostile, makes Unmarshal, Validate or Build panic or use
//     memory out of proportion.
//
// Nothing here starts a goroutine, reads a clock or does I/O, but for the writer
// that an Explain function is given. A graph and a plan may be read by many
// goroutines at once while nobody changes them.
package graph
