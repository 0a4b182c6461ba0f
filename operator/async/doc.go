// Package async holds the operators that call the world outside for each record
// and do not wait for one answer before they ask the next question.
//
// Words:
//
//   - call: one question to the outside for one record, or for several that ask
//     the same; with its repetitions it is made of attempts.
//   - capacity: how many records may be inside the operator, waiting for their
//     answer or for their turn to leave.
//   - order: what decides which finished record may leave next, see below.
//
// A call runs in a worker: a goroutine, of which there are as many as there were
// calls at once so far. When it is over it is put in a list and the task gets mail;
// all the rest happens on the task's goroutine:
//
//	Receive ──► order ─────────────────────────► emit, advance watermark
//	   │          ▲ finish                            ▲
//	   └► call ···┴··· landed ··· mail ···► drain ────┘
//
// In an ordered operator records leave as they came. In an unordered one they
// leave as soon as they can, but do not pass a watermark: the records between two
// watermarks leave in any order.
//
// An operator that is full waits in Task.Yield, in the middle of a batch, and so
// does one whose input has ended. At a barrier nobody waits: the records inside are
// kept with the epoch, and asked about again after a restore. Records of types that
// cannot be stored are waited for.
//
// Invariants:
//
//  1. A record comes out once, with the time that it had; or it is refused, once.
//  2. A watermark leaves after all records that came before it, and before all
//     that came after it.
//  3. Not more than the capacity are inside, and not more calls under way.
//  4. When Close returns no goroutine is left, unless a user's function ignores
//     its context; then the error says so.
//
// The operators must be the head of their chain: while one yields, mail for
// another operator of the same task could call it again.
package async
