package api

import (
	"fmt"
	"strings"
	"time"
)

// What agents and the leader say to each other, on one stream that the agent opens to any
// server: a server that does not lead says who does.

// Report is what an agent tells the leader: when something has changed, and every so often.
// Each holds all there is, so that one that is lost does no harm.
type Report struct {
	// Seq counts an agent's reports; the answer names it.
	Seq uint64
	// Life counts the agent's starts, which Seq begins anew with. What it ran in an earlier one
	// is gone. 0: it does not count them.
	Life uint64
	Node Node
	// Leaving says that the agent ends on purpose, after this.
	Leaving bool
	// Allocs are all executors that it has, and those that have ended of which the leader has
	// not said yet that it knows.
	Allocs []AllocStatus
	// Answers are to requests in earlier Orders.
	Answers []Answer
	// Outputs are the jobs that have something in its store of outputs.
	Outputs []string
	// Have is the Sum of the orders that it has. While there are no others, the leader may wait
	// with its answer, for Wait microseconds at most.
	Have uint64
	Wait int64
}

// Orders is what the leader tells an agent: all that it is to have. What is not in
// it is to end.
type Orders struct {
	// Seq is that of the newest report that was read.
	Seq uint64
	// Leader is the address of another server that leads; nothing else counts then.
	Leader string
	// Lease is for how long the agent may go on, in microseconds from when it sent the report Seq.
	Lease int64
	// Index is the raft index that the orders were made at: of two the higher one counts.
	Index  uint64
	Allocs []Assignment
	// Known are ended allocations that need not be reported any more.
	Known    []AllocID
	Requests []Request
	// Clear are those of the report's Outputs that are over: what they have is of no use.
	Clear []string
	// Sum tells these orders from others: of all but Seq, Leader and Lease.
	Sum uint64
}

// Assignment is an allocation with what its executor needs to know.
type Assignment struct {
	Alloc Alloc
	// Job is as it was submitted, but for its parallelism, which is the one wanted now.
	Job JobSpec
	// Coordinator is where the job's coordinator is dialled, empty where nobody knows
	// yet; Term is the coordinator's.
	Coordinator string
	Term        uint64
	Wish        Wish
	// Savepoint is where WishSave leaves one; what came of it is the Answer to Save.
	Savepoint string
	Save      uint64
}

// Request is something that one executor is asked: a savepoint while the job goes on, or
// what Ask says.
type Request struct {
	ID        uint64
	Alloc     AllocID
	Savepoint string
	// Ask is one of those below; empty: a savepoint.
	Ask string
}

// What a running executor can be asked.
const (
	// AskGraph is for a coordinator: the answer is its job's JobGraph, as JSON.
	AskGraph = "graph"
	// AskStats is for any executor: the answer is a JobStats, as JSON, of the tasks that
	// run in it. MergeStats makes one of those of a job's executors.
	AskStats = "stats"
	// AskMetrics is for any executor: the answer is all that it has for Prometheus, packed.
	AskMetrics = "metrics"
)

// Profiles of an executor come in a file of its directory that has this name and the number of
// the request: they are too long for an answer, which is their size.
const ProfileFile = "profile-"

// AskProfile is the question for a profile of a kind, over a time where the kind has one.
func AskProfile(kind string, over time.Duration) string {
	return fmt.Sprintf("profile %s %s", kind, over)
}

// AsksProfile reads what AskProfile says; ok is false where something else is asked.
func AsksProfile(ask string) (kind string, over time.Duration, ok bool) {
	words := strings.Fields(ask)
	if len(words) != 3 || words[0] != "profile" {
		return "", 0, false
	}
	over, err := time.ParseDuration(words[2])
	return words[1], over, err == nil
}

// Answer is what came of a Request.
type Answer struct {
	ID     uint64
	Answer string
	Error  string
}

// SavepointAnswer is the form of the answer to who has asked for a savepoint: its epoch, and
// where it is.
const SavepointAnswer = "savepoint of epoch %d at %s"
