// Package executor runs the executors of an agent: it starts a process for each
// allocation, tells it what it has to know, hears what it says, ends it, and keeps
// what it has printed.
//
//	Apply ─► Manager ── one goroutine for each allocation ── life (pure: what next, until when)
//	                          │ spawn, stdin: config, commands      ▲ fd 3: events
//	                          ▼                                     │ wait: how it ended
//	                     executor (own process group, own directory, own log)
//
// An executor's standard input begins with api.ExecutorConfig, one line of JSON; lines
// that follow are api.ExecutorCommands. The end of the input asks it to end. On file
// descriptor 3 it writes api.ExecutorEvents, one a line; on standard output and error
// what it likes: that goes into its log.
//
// Words: what the leader wants of an agent is a set of api.Assignments. An executor is ready when
// it has said where it listens. It is ended by the end of its input; SIGTERM comes a
// grace later, SIGKILL another grace later. A program's descendants are all processes
// that it has started and theirs.
//
// Invariants:
//
//  1. An executor dies with its agent: by a signal of the kernel on Linux, by the end of its
//     input everywhere. What its descendants do is ended with it, or by the next Manager
//     in the same directory at the latest.
//  2. Every process is waited for. When its end is told, its process group has been killed;
//     Close returns when nothing lives any more.
//  3. An allocation is started once in the life of a Manager, whatever Apply repeats.
//  4. What an executor prints or writes to descriptor 3 is never trusted: lines, events,
//     logs and reasons are bounded, and garbage is passed over and noted in the log. An executor
//     that prints faster than the disk takes waits; a disk that is full makes its log
//     miss lines, which the log says, and nothing else.
//  5. The environment of an executor is what is named for it and nothing of the agent's own.
//     Secrets go into the environment and nowhere else.
//  6. Names of jobs, allocations and secrets are looked at before they become part of a path.
//  7. The newest state is what is told: reports and commands that were overtaken are left out.
//
// All methods of Manager may be called from any goroutine. Options.Report and Options.Answer
// are called from the allocation's goroutine, one call at a time for each allocation, and
// hold up nothing but that allocation.
package executor
