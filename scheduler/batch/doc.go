// Package batch decides how a job runs whose exchanges are blocking: what runs when and
// where, and what is to run again when something was lost.
//
// Words. A unit is one subtask of a chain: it runs and fails by itself. An attempt is one
// run of a unit; its number is the unit's alone. An output is all that an attempt has
// written for those behind it; it lies on a node, which outlives the executor that wrote
// it. A unit is finished when its newest attempt has ended in order; its output may be
// lost nevertheless.
//
//	            all producers finished,                   all units
//	            nothing of theirs lost        finished    are finished
//	waiting ──────────────────────► running ──────────► finished ──────► commit
//	   ▲                               │                   │
//	   └── delayed ◄── failed ─────────┘                   │
//	   └───────────── output lost and wanted, or an input was made again
//
// A [Machine] has no goroutine, clock or I/O: it is told what has happened and returns
// what to do. [Splits] is the same for the input of one source.
//
// Invariants:
//
//  1. A unit that is finished has read, of each of its producers, the output of the
//     attempt that is the producer's newest. So all that is committed comes from one run of
//     each unit.
//  2. A finished unit runs again only if its output is lost and a unit wants it that has
//     yet to run, or if one that it has read from runs again: what that makes may be
//     distributed in another way.
//  3. Two attempts of a unit never run at the same time, but for one that is on an executor
//     of which nothing is heard any more.
//  4. Of a source that runs again each subtask reads the splits that it had; so those that
//     have not run again need not.
package batch
