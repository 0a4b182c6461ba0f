package web

import (
	"net/http"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/web/token"
)

// route is one method and path. The OpenAPI document is made from these.
type route struct {
	method, path string
	// id names the route in the OpenAPI document and in the audit log.
	id      string
	summary string
	// role is what the caller's token must have; "" lets everybody in.
	role  token.Role
	query []param
	// request and response are values of the types of the bodies; nil where there is none.
	request, response any
	// stream says that the response is a line of JSON for each value, and goes on.
	stream bool
	// upload says that the request's body is a program.
	upload bool
	// raw says that the response is no JSON: of which kind it is.
	raw string
	// local says that every server can answer. Others are for the leader.
	local bool
	// every says that agents answer that are no servers, too.
	every bool
	// limit is how long it may take; 0 is the usual time.
	limit  time.Duration
	handle func(*Server, *call) (any, error)
}

// changes reports whether the route is for the audit log.
func (r *route) changes() bool { return r.method != http.MethodGet }

// param is a value in a query.
type param struct{ name, form, about string }

const (
	integer = "integer"
	boolean = "boolean"
	text    = "string"
)

var (
	paging = []param{
		{"limit", integer, "how many items at most, 1 to 1000; 100 if it is not given"},
		{"cursor", text, "the next of the page before"},
	}
	waiting = []param{
		{"wait", integer, "answer when the index is above this one, or after the time of wait_for"},
		{"wait_for", text, "how long to wait, such as 10s; 30s if it is not given, at most 60s"},
	}
	sampling = []param{{"seconds", integer, "for how long what is sampled is, 1 to 120; 10 if it is not given"}}

	staleRead = param{"stale", boolean, "answer from what this server knows, though it may not lead"}
)

func with(lists ...[]param) (all []param) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// Times that are longer than usual.
const (
	saveLimit   = 10 * time.Minute
	uploadLimit = 30 * time.Minute
	// profileLimit is more than the longest profile takes.
	profileLimit = 3 * time.Minute
)

// routes are all there are, in the order in which the document has them.
var routes = []route{
	{method: "GET", path: "/v1/health", id: "health", summary: "Whether this server can do its work", local: true, every: true,
		response: api.Health{}, handle: (*Server).health},
	{method: "GET", path: "/v1/openapi.yaml", id: "openapi", summary: "This document", local: true, every: true,
		raw: "application/yaml", handle: (*Server).openapi},
	{method: "GET", path: "/v1/leader", id: "leader", summary: "Who leads", role: token.Read, local: true,
		response: api.LeaderInfo{}, handle: (*Server).leader},
	{method: "GET", path: "/v1/members", id: "listMembers", summary: "The agents that gossip knows", role: token.Read, local: true,
		query: paging, response: api.MemberList{}, handle: (*Server).members},

	{method: "GET", path: "/v1/jobs", id: "listJobs", summary: "The jobs, those that have ended too", role: token.Read,
		query: with(paging, waiting), response: api.JobList{}, handle: (*Server).jobs},
	{method: "POST", path: "/v1/jobs", id: "submitJob", summary: "Hand in a job, or a new version of one", role: token.Submit,
		query:   []param{{"dry_run", boolean, "only say what would happen"}},
		request: api.JobSpec{}, response: api.Submitted{}, handle: (*Server).submit},
	{method: "GET", path: "/v1/jobs/{job}", id: "getJob", summary: "A job with its executors", role: token.Read,
		query: waiting, response: api.JobInfo{}, handle: (*Server).job},
	{method: "GET", path: "/v1/jobs/{job}/graph", id: "getGraph", summary: "The plan that a job runs", role: token.Read,
		response: api.JobGraph{}, handle: (*Server).graph},
	{method: "GET", path: "/v1/jobs/{job}/stats", id: "getStats", summary: "What a job does just now", role: token.Read,
		response: api.JobStats{}, handle: (*Server).stats},
	{method: "GET", path: "/v1/jobs/{job}/events", id: "listEvents", summary: "What happened to a job", role: token.Read,
		query: paging, response: api.JobEventList{}, handle: (*Server).events},
	{method: "GET", path: "/v1/jobs/{job}/events/stream", id: "streamEvents", role: token.Read, stream: true,
		summary: "What happened to a job, and what happens, until it has ended",
		query:   []param{{"cursor", text, "the sequence number behind which to begin"}}, response: api.JobEvent{}, handle: (*Server).followEvents},
	{method: "GET", path: "/v1/jobs/{job}/logs", id: "readLogs", summary: "What a job's executors wrote", role: token.Read, stream: true,
		query: []param{
			{"alloc", text, "only of this executor"},
			{"stream", text, "only stdout or stderr"},
			{"tail", integer, "how many lines at most, 0 to 10000; 200 if it is not given"},
			{"follow", boolean, "go on with lines that come"},
		}, response: api.LogLine{}, handle: (*Server).logs},
	{method: "GET", path: "/v1/jobs/{job}/profile", id: "profileJob", summary: "A profile of an executor of a job, for go tool pprof", role: token.Admin,
		query: with([]param{{"kind", text, "cpu, trace, heap, allocs, goroutine, mutex, block or threadcreate; cpu if it is not given"}}, sampling,
			[]param{{"alloc", text, "of this executor; of the job's coordinator if it is not given"}}),
		limit: profileLimit, raw: "application/octet-stream", handle: (*Server).profileJob},
	{method: "GET", path: "/v1/jobs/{job}/checkpoints", id: "listCheckpoints", summary: "The checkpoints of a job that are kept", role: token.Read,
		query: paging, response: api.CheckpointList{}, handle: (*Server).checkpoints},
	{method: "GET", path: "/v1/jobs/{job}/savepoints", id: "listSavepoints", summary: "The savepoints of a job", role: token.Read,
		query: paging, response: api.CheckpointList{}, handle: (*Server).savepoints},
	{method: "POST", path: "/v1/jobs/{job}/stop", id: "stopJob", summary: "End the sources of a job, and let it finish", role: token.Submit,
		response: api.Done{}, handle: act(Backend.Stop)},
	{method: "POST", path: "/v1/jobs/{job}/cancel", id: "cancelJob", summary: "End a job as it is", role: token.Submit,
		response: api.Done{}, handle: act(Backend.Cancel)},
	{method: "POST", path: "/v1/jobs/{job}/save", id: "saveJob", summary: "Take a savepoint; with stop, end the job with it", role: token.Submit,
		limit: saveLimit, request: api.SaveRequest{}, response: api.Done{}, handle: (*Server).save},
	{method: "POST", path: "/v1/jobs/{job}/restart", id: "restartJob", summary: "Start a job again from its newest checkpoint", role: token.Submit,
		response: api.Done{}, handle: act(Backend.Restart)},
	{method: "POST", path: "/v1/jobs/{job}/rescale", id: "rescaleJob", summary: "Give a job another parallelism", role: token.Submit,
		request: api.RescaleRequest{}, response: api.Done{}, handle: (*Server).rescale},

	{method: "GET", path: "/v1/artifacts/{hash}", id: "getArtifact", summary: "Whether a program is there", role: token.Read,
		response: api.ArtifactInfo{}, handle: (*Server).artifact},
	{method: "PUT", path: "/v1/artifacts/{hash}", id: "putArtifact", summary: "Upload a program; its hash is that of the body", role: token.Submit,
		upload: true, limit: uploadLimit, response: api.ArtifactInfo{}, handle: (*Server).putArtifact},

	{method: "GET", path: "/v1/nodes", id: "listNodes", summary: "The agents, as the leader sees them", role: token.Read,
		query: with(paging, waiting), response: api.NodeList{}, handle: (*Server).nodes},
	{method: "GET", path: "/v1/nodes/{node}", id: "getNode", summary: "An agent", role: token.Read,
		query: waiting, response: api.NodeInfo{}, handle: (*Server).node},
	{method: "POST", path: "/v1/nodes/{node}/drain", id: "drainNode", summary: "Give an agent nothing new, and empty it", role: token.Admin,
		response: api.Done{}, handle: actNode(Backend.Drain)},
	{method: "POST", path: "/v1/nodes/{node}/undrain", id: "undrainNode", summary: "Give work to an agent again", role: token.Admin,
		response: api.Done{}, handle: actNode(Backend.Undrain)},

	{method: "GET", path: "/metrics", id: "metrics", summary: "What goes on in this agent and its executors, for Prometheus", role: token.Read,
		local: true, every: true, raw: "text/plain", handle: (*Server).metrics},
	{method: "GET", path: "/debug/pprof", id: "profiles", summary: "The profiles that can be taken of this agent", role: token.Admin,
		local: true, every: true, raw: "text/plain", handle: (*Server).profiles},
	{method: "GET", path: "/debug/pprof/{kind}", id: "profile", summary: "A profile of this agent, for go tool pprof: profile is that of the CPU", role: token.Admin,
		query: with(sampling, []param{{"debug", integer, "taken and passed over: there is one form"}}), limit: profileLimit,
		local: true, every: true, raw: "application/octet-stream", handle: (*Server).profile},
	{method: "GET", path: "/v1/audit", id: "readAudit", summary: "The newest requests that changed something or were refused, as all servers have written them down", role: token.Admin,
		local: true, query: []param{{"limit", integer, "how many at most, 1 to 1000; 100 if it is not given"}}, response: api.AuditList{}, handle: (*Server).readAudit},
	{method: "GET", path: "/v1/gossip/keys", id: "listGossipKeys", summary: "The names of the keys that gossip is sealed with, and who has them", role: token.Admin,
		response: api.GossipKeyList{}, handle: (*Server).gossipKeys},
	{method: "POST", path: "/v1/gossip/keys/add", id: "addGossipKey", summary: "Have all agents open what is sealed with a key", role: token.Admin,
		request: api.GossipKeyRequest{}, response: api.GossipKeyList{}, handle: (*Server).addGossipKey},
	{method: "POST", path: "/v1/gossip/keys/use", id: "useGossipKey", summary: "Have all agents seal with a key that all have", role: token.Admin,
		request: api.GossipKeyRequest{}, response: api.GossipKeyList{}, handle: changeKey(Backend.UseGossipKey)},
	{method: "POST", path: "/v1/gossip/keys/remove", id: "removeGossipKey", summary: "Have all agents forget a key that none uses", role: token.Admin,
		request: api.GossipKeyRequest{}, response: api.GossipKeyList{}, handle: changeKey(Backend.RemoveGossipKey)},
}

func init() {
	for i := range routes {
		if r := &routes[i]; r.method == http.MethodGet && !r.local {
			r.query = with(r.query, []param{staleRead})
		}
	}
}
