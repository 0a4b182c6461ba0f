package api

// What the parts of a cluster say about nodes, jobs and allocations. An allocation is
// one executor process on one agent, for one job: the leader decides on them, agents
// run them.
//
//	weir submit ─► server ─► JobSpec (raft) ─► Alloc (raft) ─► agent ─► executor
//	                                                            ▲         │
//	                                            AllocStatus ────┴─────────┘
//
// One of a job's executors is its coordinator: it runs the job's scheduler, which needs the
// user's code for sources and commits. The others dial it. What servers decide is where
// executors run, and how many; nothing of theirs is on the way of a record or an epoch,
// so a job does not notice who leads.

// NodeID names an agent for as long as its data directory lives.
type NodeID string

// Node is an agent as the cluster knows it.
type Node struct {
	ID      NodeID            `json:"id"`
	Name    string            `json:"name"`
	Zone    string            `json:"zone,omitempty"`
	Server  bool              `json:"server"` // takes part in raft
	Slots   int               `json:"slots"`  // for tasks: 0 runs none
	RPC     string            `json:"rpc"`    // host:port of servers and agents
	HTTP    string            `json:"http,omitempty"`
	Version string            `json:"version"`
	Tags    map[string]string `json:"tags,omitempty"`
}

// NodeStatus is how the leader sees an agent.
type NodeStatus string

// Those of agents.
const (
	NodeReady    NodeStatus = "ready"
	NodeDraining NodeStatus = "draining" // takes nothing new, and is being emptied
	NodeDrained  NodeStatus = "drained"
	NodeLost     NodeStatus = "lost" // its lease has ended
	NodeLeft     NodeStatus = "left" // it said so
)

// JobSpec is a job as it was submitted. It does not change; a new one with the same name is a
// new version.
type JobSpec struct {
	// Name is the job's id: of letters, digits, dash, dot and underscore.
	Name    string `json:"name"`
	Version uint64 `json:"version"` // set by the leader: 1, 2, ...
	// Artifact is the content hash of the program, "sha256:" and 64 hex digits; empty
	// for programs that are part of weir.
	Artifact string   `json:"artifact,omitempty"`
	Args     []string `json:"args,omitempty"`
	// Env holds no secrets: see Secrets.
	Env map[string]string `json:"env,omitempty"`
	// Secrets maps a variable of the program's environment to the name under which agents
	// hold its value.
	Secrets     map[string]string `json:"secrets,omitempty"`
	Parallelism int               `json:"parallelism"`
	// SlotsPerExecutor is how many tasks of each chain one executor takes at most; 0
	// is as many as the agent has slots.
	SlotsPerExecutor int    `json:"slots_per_executor,omitempty"`
	State            string `json:"state,omitempty"` // directory or URL of checkpoints
	// From is the savepoint that the job starts from if it has no checkpoint of its own.
	From   string `json:"from,omitempty"`
	Memory int64  `json:"memory,omitempty"`
	CPUs   int    `json:"cpus,omitempty"`
	Zone   string `json:"zone,omitempty"`   // only there
	Spread string `json:"spread,omitempty"` // spread (default), pack, zone
	// Autoscale lets the leader choose Parallelism from then on; nil: it stays.
	Autoscale *Autoscale `json:"autoscale,omitempty"`
	Submitted int64      `json:"submitted"` // microseconds since 1970
	By        string     `json:"by,omitempty"`
}

// Autoscale is between what bounds the leader may choose a job's parallelism by what it measures,
// and how. Figures that are 0 are the default.
type Autoscale struct {
	Min int `json:"min"`
	Max int `json:"max"`
	// Utilization is the share of the time in which subtasks should be busy. Default 0.7.
	Utilization float64 `json:"utilization,omitempty"`
	// UpAfter is for how long more must have been wanted, DownAfter for how long less would
	// have been enough, Settle how long nothing is measured after a change. In microseconds;
	// defaults 15 s, 5 min and 30 s.
	UpAfter   int64 `json:"up_after,omitempty"`
	DownAfter int64 `json:"down_after,omitempty"`
	Settle    int64 `json:"settle,omitempty"`
	// DryRun has the leader only say, as events, what it would do.
	DryRun bool `json:"dry_run,omitempty"`
}

// Wish is what is wanted of a job.
type Wish string

// Those that a user may have.
const (
	WishRun    Wish = "run"
	WishStop   Wish = "stop"   // end sources, finish, commit
	WishSave   Wish = "save"   // with a savepoint, and end
	WishCancel Wish = "cancel" // end as it is
)

// JobStatus is what a job has come to, as servers know it.
type JobStatus string

// Those of jobs.
const (
	JobPending   JobStatus = "pending" // waits for slots
	JobStarting  JobStatus = "starting"
	JobRunning   JobStatus = "running"
	JobStopping  JobStatus = "stopping"
	JobFinished  JobStatus = "finished"
	JobStopped   JobStatus = "stopped"
	JobCancelled JobStatus = "cancelled"
	JobFailed    JobStatus = "failed"
)

// Ended reports whether nothing more happens to a job.
func (s JobStatus) Ended() bool {
	return s == JobFinished || s == JobStopped || s == JobCancelled || s == JobFailed
}

// AllocID names an allocation.
type AllocID string

// Alloc is one executor.
type Alloc struct {
	ID   AllocID `json:"id"`
	Job  string  `json:"job"`
	Node NodeID  `json:"node"`
	// Version is the job's.
	Version     uint64 `json:"version"`
	Coordinator bool   `json:"coordinator"`
	Slots       int    `json:"slots"`
	// Term counts up with each new coordinator of the job: who has heard of a higher
	// one refuses a lower.
	Term uint64 `json:"term"`
	// Try is how many of the job's executors had failed in a row when it was started: who
	// starts the next one waits the longer for it, and in the end gives up.
	Try int `json:"try,omitempty"`
	// Stop asks the agent to end it.
	Stop bool `json:"stop,omitempty"`
}

// AllocState is how far an executor is.
type AllocState string

// Those of allocations.
const (
	AllocPending AllocState = "pending"
	AllocRunning AllocState = "running"
	AllocEnded   AllocState = "ended"  // exit code 0
	AllocFailed  AllocState = "failed" // by anything else
	AllocLost    AllocState = "lost"   // with its agent
)

// Ended reports whether the process is gone.
func (s AllocState) Ended() bool { return s == AllocEnded || s == AllocFailed || s == AllocLost }

// AllocStatus is what an agent tells of one.
type AllocStatus struct {
	Alloc AllocID    `json:"alloc"`
	State AllocState `json:"state"`
	PID   int        `json:"pid,omitempty"`
	// Data is where its partitions are served, Control where a coordinator is dialled.
	Data    string `json:"data,omitempty"`
	Control string `json:"control,omitempty"`
	// Exit says how it ended, for people: code or signal, with its last lines.
	Exit     string   `json:"exit,omitempty"`
	ExitCode int      `json:"exit_code,omitempty"`
	Lines    []string `json:"lines,omitempty"`
	// Job is what a coordinator tells of its job, nil where nothing has changed.
	Job *JobReport `json:"job_report,omitempty"`
}

// JobReport is what a coordinator knows of its job.
type JobReport struct {
	Status  JobStatus `json:"status"`
	Attempt uint64    `json:"attempt"`
	Epoch   uint64    `json:"epoch"`
	// Reason says why it is where it is: what it waits for, what failed.
	Reason string `json:"reason,omitempty"`
	// Slots is how many it wants in all.
	Slots int `json:"slots"`
	// Notes are the newest things that have happened to its tasks, a line each; Noted counts
	// all there were. They become events of the job.
	Notes string `json:"notes,omitempty"`
	Noted uint64 `json:"noted,omitempty"`
}

// ExecutorConfig is what an executor is started with: one line of JSON on its standard
// input. Lines that follow are ExecutorCommands; the end of the input is the end of its
// agent, and with it of the executor.
type ExecutorConfig struct {
	Alloc Alloc   `json:"alloc"`
	Job   JobSpec `json:"job"`
	// Coordinator is where it is dialled, empty where the executor is it or nobody knows
	// yet: a command says later.
	Coordinator string `json:"coordinator,omitempty"`
	Node        Node   `json:"node"`
	Dir         string `json:"dir"` // its own, for local files
	// Listen is the host to listen at.
	Listen string `json:"listen"`
	// Outputs is where the agent keeps what tasks write to blocking exchanges.
	Outputs string `json:"outputs,omitempty"`
	// Traces is the URL of a collector of traces; empty where there is none.
	Traces string `json:"traces,omitempty"`
	// CA, Cert and Key are PEM, for mutual TLS; empty: none.
	CA   []byte `json:"ca,omitempty"`
	Cert []byte `json:"cert,omitempty"`
	Key  []byte `json:"key,omitempty"`
}

// ExecutorEnv is the variable that tells a program that it was started as an executor. Its
// value is the version of this protocol.
const (
	ExecutorEnv      = "WEIR_EXECUTOR"
	ExecutorProtocol = "1"
)

// ExitMisuse is the exit code of an executor whose program or arguments are wrong: it
// would end in the same way again. It is not 2, as on a command line: with that a Go
// program ends that has panicked, and may do better when it is started again.
const ExitMisuse = 64

// ExecutorCommand is what an agent tells an executor.
type ExecutorCommand struct {
	// Coordinator is a new one, in the term.
	Coordinator string `json:"coordinator,omitempty"`
	Term        uint64 `json:"term,omitempty"`
	// Wish is what is wanted of the job, for its coordinator; Savepoint where it goes, for
	// WishSave and, with WishRun, for a job that goes on.
	Wish      Wish   `json:"wish,omitempty"`
	Savepoint string `json:"savepoint,omitempty"`
	// Request numbers what wants an answer.
	Request uint64 `json:"request,omitempty"`
	// Ask is AskGraph, AskStats, AskMetrics or AskProfile, with a Request and nothing else.
	Ask string `json:"ask,omitempty"`
	// Parallelism is what is wanted of the job from now on, for its coordinator.
	Parallelism int `json:"parallelism,omitempty"`
}

// MaxExecutorEvent is the longest line of an ExecutorEvent, in bytes. Agents pass over
// longer ones.
const MaxExecutorEvent = 256 << 10

// ExecutorEvent is what an executor tells its agent: lines of JSON on file descriptor 3.
type ExecutorEvent struct {
	// Ready: it listens.
	Ready *ExecutorReady `json:"ready,omitempty"`
	Job   *JobReport     `json:"job,omitempty"`
	// Answer to the command with that number.
	Request uint64 `json:"request,omitempty"`
	Answer  string `json:"answer,omitempty"`
	Error   string `json:"error,omitempty"`
}

// ExecutorReady says where an executor listens.
type ExecutorReady struct {
	Data    string `json:"data"`
	Control string `json:"control,omitempty"`
}

// Place is where a task of an attempt runs.
type Place struct {
	Task Task   `json:"task"`
	Data string `json:"data"` // address of its executor's partitions
}

// Hello is the first message of an executor to its coordinator.
type Hello struct {
	Job   string
	Alloc AllocID
	Node  NodeID
	Term  uint64
	Slots int
	Data  string
	Zone  string
	// Store is where the outputs lie that it writes to blocking exchanges: the address of its
	// agent. They outlive it.
	Store string `msgpack:",omitempty"`
	// Fingerprint is that of the graph which its program has built.
	Fingerprint string
}
