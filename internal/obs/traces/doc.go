// Package traces tells an OpenTelemetry collector what took how long: a job's submission, the
// start of its attempts, recoveries, checkpoints with their phases. It is off unless somebody
// names a collector, in the agent's configuration or by the variables that OpenTelemetry has for it.
//
//	submit or restart      by the server that was asked; one trace for each version of a job
//	 ├ start or restore    from deployment until all tasks run
//	 ├ rescale             by the server that was asked
//	 └ recovery            from a failure until all tasks run again, around the next start
//	checkpoint             a trace of its own
//	 ├ tasks               until all tasks have acknowledged; an event for each of the slowest
//	 └ commit              until sinks have published
//
// Server and executors do not hand a trace from one to the other: its id is made of the job's name,
// version and time of submission, which all of them know.
//
// Invariants:
//
//  1. Nothing here is called for a record.
//  2. Without a collector a [Tracer] and its [Job] are nil, and their methods do nothing.
//  3. Spans that a collector does not take in time are dropped: nobody waits for it but Close, and
//     that for a bounded time.
//
// Everything may be called from any goroutine.
package traces
