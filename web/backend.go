package web

import (
	"context"
	"io"
	"time"

	"github.com/weirflow/weir/api"
)

// Backend is the cluster as a server sees it. Its methods return an *api.Error where the
// caller can do something about it, above all api.CodeNotFound for what there is not.
// They may be called from any goroutine. Who asks is [Caller] of the context.
type Backend interface {
	Cluster
	Jobs
	Artifacts
	Nodes
	Admin
}

// Cluster is what a server knows of the whole.
type Cluster interface {
	// Health says whether this server can do its work.
	Health() api.Health
	// Leader says who leads; false if nobody does, as far as this server knows.
	Leader() (api.LeaderInfo, bool)
	// Index is that of the newest change that reads of this server show.
	Index() uint64
	// Wait returns when Index is above after, or with the context's error.
	Wait(ctx context.Context, after uint64) error
	// Members are the agents that gossip knows.
	Members(context.Context, Page) (api.MemberList, error)
}

// Jobs is what can be asked about jobs, and of them.
type Jobs interface {
	Jobs(context.Context, Page) (api.JobList, error)
	// Job is one with its executors.
	Job(ctx context.Context, name string) (api.JobInfo, error)
	// Graph is the plan that the job runs.
	Graph(ctx context.Context, name string) (api.JobGraph, error)
	// Stats is what the job does just now.
	Stats(ctx context.Context, name string) (api.JobStats, error)
	// Events are those with a sequence number above the page's cursor, a decimal number. With
	// each one Index goes up.
	Events(ctx context.Context, name string, p Page) (api.JobEventList, error)
	// Logs calls emit with lines of the job's executors until there are no more, or emit
	// returns an error, which it returns.
	Logs(ctx context.Context, name string, q LogQuery, emit func(api.LogLine) error) error
	// Profile takes a profile of one of the job's executors, and gives it as go tool pprof
	// reads it.
	Profile(ctx context.Context, name string, q ProfileQuery) (io.ReadCloser, error)
	Checkpoints(ctx context.Context, name string, p Page) (api.CheckpointList, error)
	Savepoints(ctx context.Context, name string, p Page) (api.CheckpointList, error)

	// Submit takes a job, or with dry says what would come of it; then the program need not
	// be there.
	Submit(ctx context.Context, spec *api.JobSpec, dry bool) (api.Submitted, error)
	// Stop has sources end, and the job finish.
	Stop(ctx context.Context, name string) (api.Done, error)
	// Cancel ends the job as it is.
	Cancel(ctx context.Context, name string) (api.Done, error)
	// Save takes a savepoint and returns when it is there.
	Save(ctx context.Context, name string, r api.SaveRequest) (api.Done, error)
	// Restart starts the job again from its newest checkpoint.
	Restart(ctx context.Context, name string) (api.Done, error)
	// Rescale gives the job another parallelism.
	Rescale(ctx context.Context, name string, r api.RescaleRequest) (api.Done, error)
}

// Artifacts are programs, by the hash of their content.
type Artifacts interface {
	// Artifact says whether a program is there.
	Artifact(ctx context.Context, hash string) (api.ArtifactInfo, error)
	// PutArtifact takes a program. The reader gives an error in place of io.EOF where the
	// content is not size bytes of that hash: what came so far is then to be forgotten.
	PutArtifact(ctx context.Context, hash string, size int64, r io.Reader) (api.ArtifactInfo, error)
}

// Nodes are agents.
type Nodes interface {
	Nodes(context.Context, Page) (api.NodeList, error)
	Node(context.Context, api.NodeID) (api.NodeInfo, error)
	// Drain has an agent take nothing new, and empties it.
	Drain(context.Context, api.NodeID) (api.Done, error)
	// Undrain takes that back.
	Undrain(context.Context, api.NodeID) (api.Done, error)
}

// Admin is about the cluster itself.
type Admin interface {
	// Audit is the newest entries of all servers' audit logs, at most limit.
	Audit(ctx context.Context, limit int) (api.AuditList, error)
	// GossipKeys are those of all agents that are here.
	GossipKeys(context.Context) (api.GossipKeyList, error)
	// AddGossipKey has all agents open what is sealed with a key.
	AddGossipKey(ctx context.Context, key []byte) (api.GossipKeyList, error)
	// UseGossipKey has all agents seal with a key, RemoveGossipKey forget it.
	UseGossipKey(ctx context.Context, name string) (api.GossipKeyList, error)
	RemoveGossipKey(ctx context.Context, name string) (api.GossipKeyList, error)
}

// Page is a part of a list.
type Page struct {
	// Cursor is the Next of the page before, empty for the first one.
	Cursor string
	// Limit is how many items there are at most, from 1 to 1,000.
	Limit int
}

// PageOf cuts a page out of items, whose keys go up.
func PageOf[T any](items []T, key func(*T) string, p Page) (part []T, next string) {
	part = []T{}
	for i := range items {
		switch k := key(&items[i]); {
		case p.Cursor != "" && k <= p.Cursor:
		case len(part) == p.Limit:
			return part, key(&part[len(part)-1])
		default:
			part = append(part, items[i])
		}
	}
	return part, ""
}

// LogQuery says which lines.
type LogQuery struct {
	Alloc  api.AllocID // empty: of all executors
	Stream string      // stdout or stderr, empty: both
	// Tail is how many lines there are at most before those that come later.
	Tail int
	// Follow goes on with lines that come.
	Follow bool
}

// ProfileQuery says which profile.
type ProfileQuery struct {
	Kind string
	// Over is for how long those are sampled that are.
	Over  time.Duration
	Alloc api.AllocID // empty: of the job's coordinator
}

// Observer shows what goes on in an agent, whether it is a server or not. Its methods may be
// called from any goroutine.
type Observer interface {
	// Health says whether the agent can do its work.
	Health() api.Health
	// Metrics writes all families as Prometheus reads them.
	Metrics(ctx context.Context, w io.Writer) error
	// Profile writes a profile of the agent.
	Profile(ctx context.Context, w io.Writer, kind string, over time.Duration) error
	// Kinds are the profiles that there are; CheckProfile refuses one that there is not.
	Kinds() []string
	CheckProfile(kind string, over time.Duration) error
}

type callerKey struct{}

// WithCaller is a context for what somebody does who has no token, because it is part of the
// cluster.
func WithCaller(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, callerKey{}, name)
}

// Caller is the name of the token by which a request came, "" where there are no tokens.
func Caller(ctx context.Context) string {
	name, _ := ctx.Value(callerKey{}).(string)
	return name
}
