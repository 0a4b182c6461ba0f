// Package join holds the operators that bring two keyed streams together.
//
// Port 0 takes the left records, port 1 the right ones. Outlet 0 gives the
// results, [LateLeft] and [LateRight] the records that came too late. There are
// four joins; they differ in which records of a key meet, and in how long they
// are kept:
//
//	window    those in the same window              until the window is complete
//	interval  those that are near in time           until the watermark is past what can meet them
//	temporal  a left one and the right one that     left until the watermark is there, right
//	          was valid at its time                 until the next one is valid
//	regular   all                                   for ever
//
// Words:
//
//   - version: a right record of a temporal join: what is true of its key from its
//     time to the time of the next.
//   - unmatched: a pair of which one side is missing, in left and full joins.
//   - retraction: a pair that takes back one that was given before. Only regular
//     outer joins have them: they say "unmatched" before they can know.
//
// Invariants:
//
//  1. The results of window, interval and temporal joins of records that are not
//     late depend neither on the order in which the two sides come nor on batches
//     and watermarks. The results of a regular join, retractions counted as minus
//     one, neither.
//  2. The time of a result is never before the watermark that the operators behind
//     have seen, for records that are not late.
//  3. Except in regular joins, whatever no record to come can meet is dropped when
//     the watermark says so.
//
// The operators are called by one goroutine, their task's.
package join
