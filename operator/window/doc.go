// Package window holds the operators that group the records of a key by time or
// number, and give a result for each group.
//
// Words:
//
//   - window: the half-open span of time that a group covers, see [Window].
//   - assigner: what says which windows a record belongs to: tumbling, sliding,
//     cumulative, session, global or count windows.
//   - pane of a window's grid: the part of time between two edges of windows; each
//     record of sliding and cumulative windows is added to one pane only.
//   - trigger: what says when a window gives a result. The default is once, when
//     the watermark is at the window's last instant.
//   - late: a record is late if all its windows are over: if the watermark has
//     reached their last instant plus the allowed lateness. It is counted always,
//     and sent to [LateOutlet].
//
// Five engines share a core. Each kind of windows goes to the one that is fastest
// for it:
//
//	tumbling, global       aligned     a table of (key, window), one timer a window
//	sliding, cumulative    paned       panes by key, merged by two stacks
//	session                sessions    the sessions of a key in one value
//	count                  counted     panes over the numbers of records
//	with other triggers    triggered   a table of (key, window), a trigger for each
//
// Invariants:
//
//  1. For records that are not late, results depend neither on the order in which
//     records of different times come, nor on how they are cut into batches, nor
//     on when watermarks come.
//  2. A result leaves before the watermark that made it passes, with the time of
//     its window's last instant, so that it is not late behind the operator.
//  3. Everything that is kept is keyed state and in the key group of its key; what
//     is derived (stacks, caches) can be lost at any time.
//  4. What is kept of a window is gone when the watermark reaches its last instant
//     plus the allowed lateness.
//
// The operators are called by one goroutine, their task's.
package window
