package api

import (
	"fmt"
	"net/http"
)

// What the HTTP API says: the answers of servers to people and their programs. web
// serves them, api/client asks for them, and web/openapi.yaml is made from the types and
// comments here. Names of fields are stable: new ones come, none goes.

// JobInfo is a job as servers know it.
type JobInfo struct {
	Spec   JobSpec   `json:"spec"`
	Status JobStatus `json:"status"`
	// Wish is what is wanted of the job: run, stop, save or cancel.
	Wish Wish `json:"wish"`
	// Reason says why it is where it is: what it waits for, what failed.
	Reason string `json:"reason,omitempty"`
	// Attempt counts the runs of the job's tasks.
	Attempt uint64 `json:"attempt"`
	// Epoch is that of the newest checkpoint, 0 without one.
	Epoch uint64 `json:"epoch"`
	// Slots is how many the job wants in all.
	Slots int `json:"slots"`
	// Restarts counts how often the job was started again after a failure.
	Restarts int `json:"restarts"`
	// Autoscale is what the leader last decided about its parallelism, in the answer about one
	// job only, if the leader chooses.
	Autoscale *AutoscaleInfo `json:"autoscale,omitempty"`
	// Allocs are its executors, in the answer about one job only.
	Allocs []AllocInfo `json:"allocs,omitempty"`
	// Changed is when its status changed, in microseconds since 1970.
	Changed int64 `json:"changed"`
	// Index is that of the job's last change: ask with wait=index for a newer one.
	Index uint64 `json:"index"`
}

// AutoscaleInfo is what was decided about a job's parallelism, and why.
type AutoscaleInfo struct {
	// Time is when that was, in microseconds since 1970.
	Time int64 `json:"time"`
	// Decision is a line for people: stay, go or would go, to what, and why.
	Decision string `json:"decision"`
	// Figures are what was measured of each chain. A server that does not lead has none.
	Figures []string `json:"figures,omitempty"`
}

// AllocInfo is one executor of a job, with what its agent tells of it.
type AllocInfo struct {
	Alloc    Alloc       `json:"alloc"`
	Status   AllocStatus `json:"status"`
	NodeName string      `json:"node_name"`
	// Created is in microseconds since 1970.
	Created int64 `json:"created"`
}

// JobList is a page of jobs, in the order of their names.
type JobList struct {
	Items []JobInfo `json:"items"`
	// Next is the cursor of the next page, empty behind the last one.
	Next string `json:"next,omitempty"`
	// Index is that of the last change of any job: ask with wait=index for a newer one.
	Index uint64 `json:"index"`
}

// Submitted is the answer to a job that was handed in.
type Submitted struct {
	Job     string `json:"job"`
	Version uint64 `json:"version"`
	// DryRun says that nothing was changed.
	DryRun bool `json:"dry_run"`
	// Notes say for people what happens, or would: what is replaced, what it waits for.
	Notes []string `json:"notes,omitempty"`
	Index uint64   `json:"index"`
}

// ArtifactInfo is a program that the cluster has.
type ArtifactInfo struct {
	// Hash is "sha256:" and 64 hex digits.
	Hash string `json:"hash"`
	Size int64  `json:"size"`
}

// JobGraph is the plan that a job runs: chains of operators and the exchanges between
// them.
type JobGraph struct {
	Job            string `json:"job"`
	MaxParallelism int    `json:"max_parallelism"`
	// Mode is streaming or batch.
	Mode      string          `json:"mode"`
	Tasks     int             `json:"tasks"`
	Chains    []GraphChain    `json:"chains"`
	Exchanges []GraphExchange `json:"exchanges"`
	// Regions are the ids of chains that are scheduled, failed and restarted together.
	Regions [][]string `json:"regions"`
}

// GraphChain is operators fused into one task for each subtask.
type GraphChain struct {
	ID          string          `json:"id"`
	Parallelism int             `json:"parallelism"`
	Region      int             `json:"region"`
	Operators   []GraphOperator `json:"operators"`
}

// GraphOperator is one operator of a chain.
type GraphOperator struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Kind string `json:"kind"`
}

// GraphExchange is an edge between chains.
type GraphExchange struct {
	Edge      string `json:"edge"`
	Kind      string `json:"kind"`
	Key       string `json:"key,omitempty"`
	FromChain string `json:"from_chain"`
	From      string `json:"from"`
	ToChain   string `json:"to_chain"`
	To        string `json:"to"`
	// Blocking says that the consumers start when the producers have ended.
	Blocking bool `json:"blocking,omitempty"`
}

// JobEvent is something that happened to a job.
type JobEvent struct {
	// Seq counts a job's events, from 1; the oldest are forgotten.
	Seq uint64 `json:"seq"`
	// Time is in microseconds since 1970.
	Time int64 `json:"time"`
	// Kind is one word: submitted, placed, started, failed, restarted, rescaled, ended.
	Kind string `json:"kind"`
	// Message is for people.
	Message string  `json:"message"`
	Attempt uint64  `json:"attempt,omitempty"`
	Epoch   uint64  `json:"epoch,omitempty"`
	Alloc   AllocID `json:"alloc,omitempty"`
	Node    NodeID  `json:"node,omitempty"`
	// Task is chain/subtask, where it is about one.
	Task string `json:"task,omitempty"`
	// By is who asked for it, where somebody did.
	By string `json:"by,omitempty"`
}

// JobEventList is a page of a job's events, oldest first.
type JobEventList struct {
	Items []JobEvent `json:"items"`
	Next  string     `json:"next,omitempty"`
}

// LogLine is a line that an executor wrote.
type LogLine struct {
	Alloc AllocID `json:"alloc"`
	// Stream is stdout or stderr.
	Stream string `json:"stream"`
	// Time is when the agent read it, in microseconds since 1970; 0 where it is not known.
	Time int64  `json:"time,omitempty"`
	Text string `json:"text"`
}

// CheckpointInfo is a checkpoint or savepoint of a job.
type CheckpointInfo struct {
	Job   string `json:"job"`
	Epoch uint64 `json:"epoch"`
	// Kind is checkpoint or savepoint.
	Kind    string `json:"kind"`
	Attempt uint64 `json:"attempt"`
	// Created is in microseconds since 1970.
	Created int64 `json:"created"`
	// Location is where a savepoint is.
	Location string `json:"location,omitempty"`
	Tasks    int    `json:"tasks"`
	Files    int    `json:"files"`
	Bytes    int64  `json:"bytes"`
	// AddedBytes is what was not in storage before.
	AddedBytes int64 `json:"added_bytes"`
}

// CheckpointList is a page of checkpoints or savepoints, oldest first.
type CheckpointList struct {
	Items []CheckpointInfo `json:"items"`
	Next  string           `json:"next,omitempty"`
}

// SaveRequest asks for a savepoint.
type SaveRequest struct {
	// Location is the URL, or the directory on the agents, that the savepoint goes to;
	// empty for one beside the job's checkpoints.
	Location string `json:"location,omitempty"`
	// Stop ends the job with it.
	Stop bool `json:"stop,omitempty"`
}

// RescaleRequest asks for another parallelism.
type RescaleRequest struct {
	Parallelism int `json:"parallelism"`
	// DryRun only says what would happen.
	DryRun bool `json:"dry_run,omitempty"`
}

// Done is the answer to a request that changed something.
type Done struct {
	// Message says for people what happens now.
	Message string `json:"message"`
	// Location is that of a savepoint.
	Location string `json:"location,omitempty"`
	// Index is that of the change: a read with wait=index-1 sees it.
	Index uint64 `json:"index"`
}

// JobStats is what a job does just now.
type JobStats struct {
	Job string `json:"job"`
	// Time is when it was measured, in microseconds since 1970.
	Time      int64           `json:"time"`
	Attempt   uint64          `json:"attempt"`
	Epoch     uint64          `json:"epoch"`
	Operators []OperatorStats `json:"operators"`
}

// OperatorStats is what one operator does, over all its subtasks.
type OperatorStats struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Parallelism int    `json:"parallelism"`
	// RecordsIn and RecordsOut count since the attempt began.
	RecordsIn  int64 `json:"records_in"`
	RecordsOut int64 `json:"records_out"`
	// RateIn and RateOut are records a second since the figures were asked for last, the
	// first time since the attempt began.
	RateIn  float64 `json:"rate_in"`
	RateOut float64 `json:"rate_out"`
	// Busy, Idle and Backpressured are shares of the same time, from 0 to 1: of work, of
	// waiting for something to do, and of waiting for consumers to take what was made.
	// Operators of one chain have the same, those of their tasks.
	Busy          float64 `json:"busy"`
	Idle          float64 `json:"idle"`
	Backpressured float64 `json:"backpressured"`
	// Busiest is what Busy is of the subtask where it is most.
	Busiest float64 `json:"busiest"`
	// Watermark is the least of all subtasks, in microseconds since 1970; nothing while that
	// of a subtask is not known, and 9223372036854775807 at the end of all input.
	Watermark *int64 `json:"watermark,omitempty"`
	// StateBytes is what the operator's keyed state took at the last barrier, of memory and
	// local disk; what is in both counts twice.
	StateBytes int64 `json:"state_bytes"`
}

// NodeInfo is an agent as the leader sees it.
type NodeInfo struct {
	Node   Node       `json:"node"`
	Status NodeStatus `json:"status"`
	Leader bool       `json:"leader"`
	// SlotsUsed is how many are given to executors.
	SlotsUsed int `json:"slots_used"`
	// Allocs counts its executors.
	Allocs int `json:"allocs"`
	// Seen is when it was heard of last, in microseconds since 1970.
	Seen  int64  `json:"seen"`
	Index uint64 `json:"index"`
}

// NodeList is a page of nodes, in the order of their ids.
type NodeList struct {
	Items []NodeInfo `json:"items"`
	Next  string     `json:"next,omitempty"`
	Index uint64     `json:"index"`
}

// Member is an agent as gossip sees it.
type Member struct {
	ID      NodeID `json:"id"`
	Name    string `json:"name"`
	Address string `json:"address"`
	// Status is alive, suspect, failed or left.
	Status  string            `json:"status"`
	Server  bool              `json:"server"`
	Leader  bool              `json:"leader"`
	Version string            `json:"version"`
	Zone    string            `json:"zone,omitempty"`
	Tags    map[string]string `json:"tags,omitempty"`
}

// MemberList is a page of members, in the order of their names.
type MemberList struct {
	Items []Member `json:"items"`
	Next  string   `json:"next,omitempty"`
}

// Health says whether a server can do its work.
type Health struct {
	// Status is ok, or starting, or no_leader.
	Status  string `json:"status"`
	Version string `json:"version"`
}

// LeaderInfo says who leads.
type LeaderInfo struct {
	ID NodeID `json:"id"`
	// HTTP is the URL of its HTTP API.
	HTTP string `json:"http"`
	// Self says that the server that answers is it.
	Self bool `json:"self"`
}

// ErrorCode is what went wrong, for programs.
type ErrorCode string

// Those of the HTTP API.
const (
	CodeInvalid         ErrorCode = "invalid"         // the request has a mistake
	CodeUnauthenticated ErrorCode = "unauthenticated" // no token, or one that nobody knows
	CodeForbidden       ErrorCode = "forbidden"       // the token's role does not allow it
	CodeNotFound        ErrorCode = "not_found"
	CodeMethod          ErrorCode = "method_not_allowed"
	CodeConflict        ErrorCode = "conflict" // as things are now
	CodeTooLarge        ErrorCode = "too_large"
	CodeMediaType       ErrorCode = "unsupported_media_type"
	CodeTooMany         ErrorCode = "too_many_requests"
	CodeInternal        ErrorCode = "internal"
	CodeUnavailable     ErrorCode = "unavailable" // for now
	CodeNoLeader        ErrorCode = "no_leader"   // for now
	CodeTimeout         ErrorCode = "timeout"
)

// Status is the HTTP status that goes with a code.
func (c ErrorCode) Status() int {
	switch c {
	case CodeInvalid:
		return http.StatusBadRequest
	case CodeUnauthenticated:
		return http.StatusUnauthorized
	case CodeForbidden:
		return http.StatusForbidden
	case CodeNotFound:
		return http.StatusNotFound
	case CodeMethod:
		return http.StatusMethodNotAllowed
	case CodeConflict:
		return http.StatusConflict
	case CodeTooLarge:
		return http.StatusRequestEntityTooLarge
	case CodeMediaType:
		return http.StatusUnsupportedMediaType
	case CodeTooMany:
		return http.StatusTooManyRequests
	case CodeUnavailable, CodeNoLeader:
		return http.StatusServiceUnavailable
	case CodeTimeout:
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}

// Error is why a request was refused or did not work.
type Error struct {
	Code ErrorCode `json:"code"`
	// Message says what happened.
	Message string `json:"message"`
	// Hint says what to do about it.
	Hint string `json:"hint,omitempty"`
	// Retryable says that the same request may succeed later, and that nothing was changed by
	// this one.
	Retryable bool `json:"retryable"`
}

// Error is the message with the hint.
func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Message
	}
	return e.Message + " (" + e.Hint + ")"
}

// ErrorBody is the body of every answer that is not a success.
type ErrorBody struct {
	Error Error `json:"error"`
}

// Errorf makes an Error. Those of CodeUnavailable, CodeNoLeader and CodeTooMany are retryable.
func Errorf(code ErrorCode, format string, args ...any) *Error {
	again := code == CodeUnavailable || code == CodeNoLeader || code == CodeTooMany
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Retryable: again}
}

// WithHint says in addition what to do.
func (e *Error) WithHint(format string, args ...any) *Error {
	f := *e
	f.Hint = fmt.Sprintf(format, args...)
	return &f
}
