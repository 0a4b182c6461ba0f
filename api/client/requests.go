package client

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/weirflow/weir/api"
)

// Page is a part of a list.
type Page struct {
	Cursor string // the Next of the page before
	Limit  int    // 0 is the server's
}

func (p Page) query() url.Values {
	q := url.Values{}
	if p.Cursor != "" {
		q.Set("cursor", p.Cursor)
	}
	if p.Limit > 0 {
		q.Set("limit", strconv.Itoa(p.Limit))
	}
	return q
}

// Wait has a read answer when what it reads is newer than the index, or after the time. The zero
// Wait waits for nothing.
type Wait struct {
	Index uint64
	For   time.Duration // 0 is the server's
}

func (w Wait) add(q url.Values) url.Values {
	if w.Index > 0 {
		q.Set("wait", strconv.FormatUint(w.Index, 10))
		if w.For > 0 {
			q.Set("wait_for", w.For.String())
		}
	}
	return q
}

func get[T any](ctx context.Context, c *Client, path string, q url.Values) (v T, err error) {
	return v, c.call(ctx, request{method: http.MethodGet, path: path, query: q}, nil, &v)
}

func post[T any](ctx context.Context, c *Client, path string, q url.Values, in any) (v T, err error) {
	return v, c.call(ctx, request{method: http.MethodPost, path: path, query: q}, in, &v)
}

// All reads the pages of a list to its end.
func All[T any](read func(Page) (items []T, next string, err error)) ([]T, error) {
	all := []T{}
	for p := (Page{Limit: 1000}); ; {
		items, next, err := read(p)
		if err != nil {
			return nil, err
		}
		all = append(all, items...)
		if next == "" || next == p.Cursor {
			return all, nil
		}
		p.Cursor = next
	}
}

// jobPath is a path below a job. Names are checked by the server; here they are only kept in
// their place.
func jobPath(name, rest string) string { return "/v1/jobs/" + name + rest }

// Health asks any server.
func (c *Client) Health(ctx context.Context) (api.Health, error) {
	return get[api.Health](ctx, c, "/v1/health", nil)
}

// Leader says who leads.
func (c *Client) Leader(ctx context.Context) (api.LeaderInfo, error) {
	return get[api.LeaderInfo](ctx, c, "/v1/leader", nil)
}

// Members lists agents by gossip.
func (c *Client) Members(ctx context.Context, p Page) (api.MemberList, error) {
	return get[api.MemberList](ctx, c, "/v1/members", p.query())
}

// Jobs lists jobs.
func (c *Client) Jobs(ctx context.Context, p Page, w Wait) (api.JobList, error) {
	return get[api.JobList](ctx, c, "/v1/jobs", w.add(p.query()))
}

// Job is one with its executors.
func (c *Client) Job(ctx context.Context, name string, w Wait) (api.JobInfo, error) {
	return get[api.JobInfo](ctx, c, jobPath(name, ""), w.add(url.Values{}))
}

// Graph is what a job runs.
func (c *Client) Graph(ctx context.Context, name string) (api.JobGraph, error) {
	return get[api.JobGraph](ctx, c, jobPath(name, "/graph"), nil)
}

// Stats is what a job does.
func (c *Client) Stats(ctx context.Context, name string) (api.JobStats, error) {
	return get[api.JobStats](ctx, c, jobPath(name, "/stats"), nil)
}

// Events lists what happened to a job.
func (c *Client) Events(ctx context.Context, name string, p Page) (api.JobEventList, error) {
	return get[api.JobEventList](ctx, c, jobPath(name, "/events"), p.query())
}

// Checkpoints lists a job's.
func (c *Client) Checkpoints(ctx context.Context, name string, p Page) (api.CheckpointList, error) {
	return get[api.CheckpointList](ctx, c, jobPath(name, "/checkpoints"), p.query())
}

// Savepoints lists a job's.
func (c *Client) Savepoints(ctx context.Context, name string, p Page) (api.CheckpointList, error) {
	return get[api.CheckpointList](ctx, c, jobPath(name, "/savepoints"), p.query())
}

// Submit hands in a job.
func (c *Client) Submit(ctx context.Context, spec api.JobSpec, dry bool) (api.Submitted, error) {
	q := url.Values{}
	if dry {
		q.Set("dry_run", "true")
	}
	return post[api.Submitted](ctx, c, "/v1/jobs", q, spec)
}

// Stop ends a job's sources.
func (c *Client) Stop(ctx context.Context, name string) (api.Done, error) {
	return post[api.Done](ctx, c, jobPath(name, "/stop"), nil, nil)
}

// Cancel ends a job as it is.
func (c *Client) Cancel(ctx context.Context, name string) (api.Done, error) {
	return post[api.Done](ctx, c, jobPath(name, "/cancel"), nil, nil)
}

// Save takes a savepoint.
func (c *Client) Save(ctx context.Context, name string, r api.SaveRequest) (api.Done, error) {
	return post[api.Done](ctx, c, jobPath(name, "/save"), nil, r)
}

// Restart starts a job again.
func (c *Client) Restart(ctx context.Context, name string) (api.Done, error) {
	return post[api.Done](ctx, c, jobPath(name, "/restart"), nil, nil)
}

// Rescale gives a job another parallelism.
func (c *Client) Rescale(ctx context.Context, name string, r api.RescaleRequest) (api.Done, error) {
	return post[api.Done](ctx, c, jobPath(name, "/rescale"), nil, r)
}

// Nodes lists agents.
func (c *Client) Nodes(ctx context.Context, p Page, w Wait) (api.NodeList, error) {
	return get[api.NodeList](ctx, c, "/v1/nodes", w.add(p.query()))
}

// Node is one of them.
func (c *Client) Node(ctx context.Context, id api.NodeID, w Wait) (api.NodeInfo, error) {
	return get[api.NodeInfo](ctx, c, "/v1/nodes/"+string(id), w.add(url.Values{}))
}

// Drain empties an agent.
func (c *Client) Drain(ctx context.Context, id api.NodeID) (api.Done, error) {
	return post[api.Done](ctx, c, "/v1/nodes/"+string(id)+"/drain", nil, nil)
}

// Undrain gives it work again.
func (c *Client) Undrain(ctx context.Context, id api.NodeID) (api.Done, error) {
	return post[api.Done](ctx, c, "/v1/nodes/"+string(id)+"/undrain", nil, nil)
}

// Audit reads the newest entries of the audit log.
func (c *Client) Audit(ctx context.Context, limit int) (api.AuditList, error) {
	return get[api.AuditList](ctx, c, "/v1/audit", Page{Limit: limit}.query())
}

// GossipKeys lists the keys that gossip is sealed with.
func (c *Client) GossipKeys(ctx context.Context) (api.GossipKeyList, error) {
	return get[api.GossipKeyList](ctx, c, "/v1/gossip/keys", nil)
}

// AddGossipKey has all agents open what is sealed with a key.
func (c *Client) AddGossipKey(ctx context.Context, key []byte) (api.GossipKeyList, error) {
	return post[api.GossipKeyList](ctx, c, "/v1/gossip/keys/add", nil, api.GossipKeyRequest{Key: key})
}

// UseGossipKey has all agents seal with a key.
func (c *Client) UseGossipKey(ctx context.Context, name string) (api.GossipKeyList, error) {
	return post[api.GossipKeyList](ctx, c, "/v1/gossip/keys/use", nil, api.GossipKeyRequest{Name: name})
}

// RemoveGossipKey has all agents forget a key.
func (c *Client) RemoveGossipKey(ctx context.Context, name string) (api.GossipKeyList, error) {
	return post[api.GossipKeyList](ctx, c, "/v1/gossip/keys/remove", nil, api.GossipKeyRequest{Name: name})
}

// Artifact says whether a program is there: an *api.Error of CodeNotFound if it is not.
func (c *Client) Artifact(ctx context.Context, hash string) (api.ArtifactInfo, error) {
	return get[api.ArtifactInfo](ctx, c, "/v1/artifacts/"+hash, nil)
}

// Upload brings a program. open is called for each try.
func (c *Client) Upload(ctx context.Context, hash string, size int64, open func() (io.ReadCloser, error)) (info api.ArtifactInfo, err error) {
	r := request{method: http.MethodPut, path: "/v1/artifacts/" + hash, kind: "application/octet-stream", size: size, body: open, again: true}
	return info, c.call(ctx, r, nil, &info)
}

// LogQuery says which lines; see the API.
type LogQuery struct {
	Alloc  api.AllocID
	Stream string
	Tail   int // below 0 is the server's
	Follow bool
}

// Logs calls emit with each line.
func (c *Client) Logs(ctx context.Context, name string, l LogQuery, emit func(api.LogLine) error) error {
	q := url.Values{}
	if l.Alloc != "" {
		q.Set("alloc", string(l.Alloc))
	}
	if l.Stream != "" {
		q.Set("stream", l.Stream)
	}
	if l.Tail >= 0 {
		q.Set("tail", strconv.Itoa(l.Tail))
	}
	if l.Follow {
		q.Set("follow", "true")
	}
	return stream(ctx, c, jobPath(name, "/logs"), q, emit)
}

// ProfileQuery says which profile.
type ProfileQuery struct {
	Kind    string
	Seconds int         // for kinds that are sampled
	Alloc   api.AllocID // empty: of the job's coordinator
}

// Profile takes a profile of an executor of a job, and gives it as go tool pprof reads it. The
// reader must be closed; it ends with an error if it is not whole.
func (c *Client) Profile(ctx context.Context, name string, p ProfileQuery) (io.ReadCloser, error) {
	q := url.Values{"kind": {p.Kind}, "seconds": {strconv.Itoa(p.Seconds)}}
	if p.Alloc != "" {
		q.Set("alloc", string(p.Alloc))
	}
	response, err := c.do(ctx, request{method: http.MethodGet, path: jobPath(name, "/profile"), query: q})
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}

// FollowEvents calls emit with a job's events behind the sequence number, until the job has
// ended.
func (c *Client) FollowEvents(ctx context.Context, name string, after uint64, emit func(api.JobEvent) error) error {
	return stream(ctx, c, jobPath(name, "/events/stream"), url.Values{"cursor": {strconv.FormatUint(after, 10)}}, emit)
}

// stream reads a line of JSON for each value.
func stream[T any](ctx context.Context, c *Client, path string, q url.Values, emit func(T) error) error {
	response, err := c.do(ctx, request{method: http.MethodGet, path: path, query: q, again: true})
	if err != nil {
		return err
	}
	defer response.Body.Close() // what is left may have no end
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			continue // the server is there
		}
		var told struct {
			Error *api.Error `json:"error"`
		}
		var v T
		if err := json.Unmarshal(lines.Bytes(), &told); err == nil && told.Error != nil {
			return told.Error
		}
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			return fmt.Errorf("client: a line from %s: %w", response.Request.URL.Host, err)
		}
		if err := emit(v); err != nil {
			return err
		}
	}
	switch err := lines.Err(); {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("client: reading on from %s: %w", response.Request.URL.Host, err)
	}
	return nil
}
