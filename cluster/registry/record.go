package registry

import (
	"maps"
	"slices"

	"github.com/weirflow/weir/api"
)

// Node is an agent.
type Node struct {
	Info   api.Node       `json:"info"`
	Status api.NodeStatus `json:"status"`
	Reason string         `json:"reason,omitempty"`
	// Since is when it came to its status, in microseconds since 1970.
	Since int64 `json:"since"`
	// Registration counts how often it came: up by one whenever it was gone before.
	Registration uint64 `json:"registration"`
	// Life is the highest that it has told: see RegisterNode.
	Life uint64 `json:"life,omitempty"`
	// Index is that of its last change: of what it is or of its status.
	Index uint64 `json:"index"`
	// Allocs are those on it that have not ended, in order of their ids.
	Allocs []api.AllocID `json:"-"`
}

// Usable reports whether new allocations may be put on the node.
func (n *Node) Usable() bool { return n.Status == api.NodeReady }

// Gone reports whether nothing runs on the node.
func (n *Node) Gone() bool { return n.Status == api.NodeLost || n.Status == api.NodeLeft }

// Version is a job's specification as it was once submitted.
type Version struct {
	Spec api.JobSpec `json:"spec"`
	// Request is the id by which a repeat of the submission is known.
	Request string `json:"request,omitempty"`
}

// Save is a savepoint that was asked for and is not there yet.
type Save struct {
	// Request is the index of the command that asked; 0: nobody asks.
	Request uint64 `json:"request,omitempty"`
	// Where is the directory or URL; empty leaves it to the coordinator.
	Where string `json:"where,omitempty"`
}

// Savepoint is one that is there.
type Savepoint struct {
	Where   string `json:"where"`
	Epoch   uint64 `json:"epoch"`
	Attempt uint64 `json:"attempt"`
	Time    int64  `json:"time"`
	// Version is the job's.
	Version uint64 `json:"version"`
}

// Scale is what a user wants of a job's parallelism; 0 leaves it to the specification.
type Scale struct {
	Parallelism int `json:"parallelism,omitempty"`
	// Min and Max let the leader choose between them; both 0: it does not.
	Min int `json:"min,omitempty"`
	Max int `json:"max,omitempty"`
}

// Job is a job with its newest versions.
type Job struct {
	Name string `json:"name"`
	// Versions holds the newest last; there is always one.
	Versions []Version     `json:"versions"`
	Wish     api.Wish      `json:"wish"`
	Status   api.JobStatus `json:"status"`
	Reason   string        `json:"reason,omitempty"`
	Save     Save          `json:"save"`
	Scale    Scale         `json:"scale"`
	// Report is the coordinator's last one, of any version.
	Report   api.JobReport `json:"report"`
	Reported int64         `json:"reported,omitempty"`
	// Term is that of the newest coordinator.
	Term uint64 `json:"term"`
	// Since is when it came to its status.
	Since int64 `json:"since"`
	// Index is that of the last change that matters to placement.
	Index      uint64      `json:"index"`
	Savepoints []Savepoint `json:"savepoints,omitempty"`
	Events     []Event     `json:"events,omitempty"`
	// Allocs are those that are known, in order of their making.
	Allocs []api.AllocID `json:"-"`

	bytes int // of its versions, encoded
}

// Spec is the newest specification.
func (j *Job) Spec() *api.JobSpec { return &j.Versions[len(j.Versions)-1].Spec }

// Alloc is one executor.
type Alloc struct {
	Alloc  api.Alloc       `json:"alloc"`
	Status api.AllocStatus `json:"status"`
	// Made is the index at which it was decided.
	Made uint64 `json:"made"`
	// Since is when it came to its state.
	Since int64 `json:"since"`
}

// Live reports whether the process is or may be there.
func (a *Alloc) Live() bool { return !a.Status.State.Ended() }

// Artifact is a program that agents may fetch.
type Artifact struct {
	Hash string `json:"hash"`
	Size int64  `json:"size"`
	Name string `json:"name,omitempty"` // for people
	Time int64  `json:"time"`
	By   string `json:"by,omitempty"`
}

// Event is one thing that happened.
type Event struct {
	Index uint64      `json:"index"`
	Time  int64       `json:"time"`
	Kind  string      `json:"kind"`
	Node  api.NodeID  `json:"node,omitempty"`
	Job   string      `json:"job,omitempty"`
	Alloc api.AllocID `json:"alloc,omitempty"`
	By    string      `json:"by,omitempty"`
	Text  string      `json:"text,omitempty"`
}

// Kinds of events that commands leave behind. AddEvent may add others.
const (
	EventNode       = "node"       // came, or changed its status
	EventSubmitted  = "submitted"  // a new version
	EventWish       = "wish"       // a user wants something
	EventStatus     = "status"     // a job came to another status
	EventPlaced     = "placed"     // executors were placed or told to end
	EventExecutor   = "executor"   // one ended, failed or was lost
	EventSavepoint  = "savepoint"  // one is there, or could not be made
	EventTask       = "task"       // of a job in batch mode: it runs, failed, runs again
	EventScale      = "scale"      // another parallelism is wanted
	EventArtifact   = "artifact"   // a program came or went
	EventJobRemoved = "jobremoved" // a job was forgotten
)

func cloneSpec(s api.JobSpec) api.JobSpec {
	s.Args = slices.Clone(s.Args)
	s.Env = maps.Clone(s.Env)
	s.Secrets = maps.Clone(s.Secrets)
	if s.Autoscale != nil {
		a := *s.Autoscale
		s.Autoscale = &a
	}
	return s
}

func (n *Node) clone() *Node {
	c := *n
	c.Info.Tags = maps.Clone(n.Info.Tags)
	c.Allocs = slices.Clone(n.Allocs)
	return &c
}

func (j *Job) clone() *Job {
	c := *j
	c.Versions = slices.Clone(j.Versions)
	for i := range c.Versions {
		c.Versions[i].Spec = cloneSpec(c.Versions[i].Spec)
	}
	c.Savepoints = slices.Clone(j.Savepoints)
	c.Events = slices.Clone(j.Events)
	c.Allocs = slices.Clone(j.Allocs)
	return &c
}

func (a *Alloc) clone() *Alloc {
	c := *a
	c.Status.Lines = slices.Clone(a.Status.Lines)
	return &c
}
