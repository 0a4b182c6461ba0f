// Package lease decides how long an agent may go on without the leader's word.
//
// The leader gives the slots of an agent to others when the agent's lease has ended. So
// an agent must have ended its executors before that, by its own clock and without being
// told, since what cuts it off cuts off the word too.
//
//	report 7 sent ────────────────► leader
//	   │                              │  "for 3 s from when you sent 7"
//	   ├──────────── 3 s ─────────────┼────────────┤ the leader counts from when 7 came:
//	   │                 │◄─ margin ─►│            │ later, so its 3 s end later
//	   └ held ───────────┴ executors are killed
//
// Words: a lease is held from the first answer on, until its end less the margin; the
// margin is what it takes to kill executors. From then on it is over, until the shell
// has said that no executor lives and an answer has come to a report that was sent after
// that. Each time that it is held again counts as a new tenure.
//
// Invariants:
//
//  1. Time counts from when a report was sent, never from when its answer came.
//  2. Whatever is told or asked, what time has done comes first: an agent that was
//     suspended finds its lease over before it believes an answer, however fresh.
//  3. An answer to a report of an earlier tenure renews nothing.
//  4. Stop is said once for each tenure.
//  5. A lease that is held never gets shorter by an answer, but by a refusal.
//
// Here is no goroutine, clock or I/O, but for [Clock], which is the clock to use. A
// Lease has no lock and belongs to the goroutine that drives it.
package lease
