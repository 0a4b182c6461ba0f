// Package artifact keeps programs under the hash of their bytes, on the disk of an
// agent.
//
//	Put (upload) ──┐  hash while writing          ┌── Use: path of a file that can be executed
//	               ├─► tmp-N ─ fsync ─ rename ─► HEX
//	Fetch (agent) ─┘                              └── Get: its bytes, for another agent
//
// Words: a [Hash] is the SHA-256 of a program's bytes, written "sha256:" and 64 hex
// digits. A program is pinned from Use until its release; wanted while the agent knows
// of a job that names it (Want); young for a time after it was last used.
//
// Invariants:
//
//  1. What has a hash's name is complete: it was synced under another name before. What
//     the disk did to it later is found at the first Use in each process, before anything
//     is executed.
//  2. No path comes from outside: a name is made from the 32 bytes of a Hash.
//  3. What was begun and not finished leaves nothing: neither an error, nor a full disk,
//     nor the end of the process (Open removes what that left).
//  4. What is pinned, wanted or young is not collected. What does not fit the budget
//     beside it is refused, and not stored.
//  5. A program is fetched once at a time, however many ask for it, and only a few at a
//     time are.
//
// All methods may be called from any goroutine. A fetch runs on a goroutine of the
// Store, which ends when nobody waits for it any more; Close waits for all of them.
package artifact
