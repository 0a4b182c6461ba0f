package agent

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/cluster/gossip"
	"github.com/weirflow/weir/internal/obs/metrics"
)

// measures are counted as things happen; the rest is read when it is asked for, see Collect.
type measures struct {
	ended    *prometheus.CounterVec
	reports  *prometheus.CounterVec
	report   prometheus.Histogram
	requests *prometheus.HistogramVec
}

// Fine from a tenth of a millisecond to ten seconds: what messages and requests take.
var latencies = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

func newScrapes(a *Agent) *scrapes {
	s := &scrapes{own: prometheus.NewRegistry(), measures: newMeasures()}
	metrics.Process(s.own)
	s.own.MustRegister(s.ended, s.reports, s.report, s.requests, agentCollector{a})
	return s
}

func newMeasures() measures {
	return measures{
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_agent_executors_ended_total",
			Help: "Executors of this agent that have ended, by how: ended is in order, failed any other way, lost what never ran here."}, []string{"state"}),
		reports: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_agent_reports_total",
			Help: "Heartbeats to the leader, by what came of them: ok or failed."}, []string{"result"}),
		report: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "weir_agent_report_duration_seconds", Buckets: latencies,
			Help: "How long a heartbeat took until its answer; the leader may wait with that for one interval, while there is nothing new."}),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "weir_http_request_duration_seconds", Buckets: latencies,
			Help: "HTTP requests by route and status; those that wait for a change, and streams, take as long as they wait."}, []string{"route", "code"}),
	}
}

// reported counts a heartbeat.
func (s *measures) reported(took time.Duration, err error) {
	if err != nil {
		s.reports.WithLabelValues("failed").Inc()
		return
	}
	s.reports.WithLabelValues("ok").Inc()
	s.report.Observe(took.Seconds())
}

// answered counts an HTTP request.
func (s *measures) answered(route string, code int, took time.Duration) {
	s.requests.WithLabelValues(route, strconv.Itoa(code)).Observe(took.Seconds())
}

// told counts executors that have ended.
func (s *measures) told(x api.AllocStatus) {
	if x.State.Ended() {
		s.ended.WithLabelValues(string(x.State)).Inc()
	}
}

func agentDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("weir_"+name, help, labels, nil)
}

// Families that are read when they are asked for.
var (
	agentInfo      = agentDesc("agent_info", "1, with what the agent is.", "id", "agent", "zone", "version", "server")
	agentSlots     = agentDesc("agent_slots", "Tasks of each chain that may run on this agent.")
	agentExecutors = agentDesc("agent_executors", "Executors of this agent by state; those that have ended until the leader knows.", "state")
	agentLease     = agentDesc("agent_lease", "1 while the agent has a lease, and may run executors.")
	agentPrograms  = agentDesc("agent_programs_bytes", "Programs that this agent keeps.")
	agentOutputs   = agentDesc("agent_outputs_bytes", "Partitions of blocking exchanges on this agent's disk.")
	gossipMembers  = agentDesc("gossip_members", "Agents that gossip knows, by how it sees them.", "status")
	raftLeader     = agentDesc("raft_leader", "1 on the server that leads, 0 on the others.")
	raftTerm       = agentDesc("raft_term", "The term of the newest election that this server knows of.")
	raftLast       = agentDesc("raft_last_index", "The newest entry in this server's log.")
	raftCommit     = agentDesc("raft_commit_index", "The newest entry that is decided, as far as this server knows.")
	raftApplied    = agentDesc("raft_applied_index", "The newest entry that is in this server's registry.")
	raftDisk       = agentDesc("raft_disk_bytes", "Log and snapshots of this server, on its disk.")
	raftContact    = agentDesc("raft_contact_seconds", "How long ago this server has heard the leader; 0 on the leader.")
	clusterNodes   = agentDesc("cluster_nodes", "Agents by status. Only the leader shows it.", "status")
	clusterJobs    = agentDesc("cluster_jobs", "Jobs by status. Only the leader shows it.", "status")
	clusterSlots   = agentDesc("cluster_slots", "Slots of usable agents, by what they are: used or free. Only the leader shows it.", "state")
	jobExecutors   = agentDesc("cluster_job_terms", "How many coordinators the job has had. Only the leader shows it.", "job_name")
)

var agentFamilies = []*prometheus.Desc{agentInfo, agentSlots, agentExecutors, agentLease, agentPrograms, agentOutputs, gossipMembers, raftLeader, raftTerm, raftLast,
	raftCommit, raftApplied, raftDisk, raftContact, clusterNodes, clusterJobs, clusterSlots, jobExecutors}

// agentCollector reads the agent's figures. Their number does not depend on how much there is of
// anything but jobs.
type agentCollector struct{ a *Agent }

// Describe lists the families.
func (agentCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range agentFamilies {
		to <- d
	}
}

// Collect reads the figures.
func (c agentCollector) Collect(to chan<- prometheus.Metric) {
	a := c.a
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	truth := func(d *prometheus.Desc, yes bool) {
		v := 0.0
		if yes {
			v = 1
		}
		gauge(d, v)
	}
	n := &a.node
	gauge(agentInfo, 1, string(n.ID), n.Name, n.Zone, n.Version, strconv.FormatBool(n.Server))
	gauge(agentSlots, float64(n.Slots))
	states := map[api.AllocState]int{api.AllocPending: 0, api.AllocRunning: 0}
	for _, s := range a.executors.Statuses() {
		states[s.State]++
	}
	for s, n := range states {
		gauge(agentExecutors, float64(n), string(s))
	}
	truth(agentLease, a.link.holds())
	var programs int64
	for _, p := range a.artifacts.List() {
		programs += p.Size
	}
	gauge(agentPrograms, float64(programs))
	gauge(agentOutputs, float64(a.outputs.store.Used()))
	members := map[gossip.Status]int{gossip.Alive: 0, gossip.Failed: 0, gossip.Left: 0}
	for _, m := range a.members() {
		members[m.Status]++
	}
	for s, n := range members {
		gauge(gossipMembers, float64(n), string(s))
	}
	if a.raft == nil {
		return
	}
	s := a.raft.Stats()
	leads := s.State == "Leader"
	truth(raftLeader, leads)
	gauge(raftTerm, float64(s.Term))
	gauge(raftLast, float64(s.Last))
	gauge(raftCommit, float64(s.Commit))
	gauge(raftApplied, float64(s.Applied))
	gauge(raftDisk, float64(diskUse(a.dir("raft"))))
	contact := 0.0
	if !leads && !s.Contact.IsZero() {
		contact = time.Since(s.Contact).Seconds()
	}
	gauge(raftContact, contact)
	if leads {
		c.cluster(gauge)
	}
}

// cluster is what the leader knows of all.
func (c agentCollector) cluster(gauge func(d *prometheus.Desc, v float64, labels ...string)) {
	v := c.a.raft.Registry().View()
	nodes, used, free := map[api.NodeStatus]int{api.NodeReady: 0, api.NodeLost: 0}, 0, 0
	for _, n := range v.Nodes() {
		nodes[n.Status]++
		if n.Usable() {
			u := v.Used(n.Info.ID)
			used, free = used+u, free+max(0, n.Info.Slots-u)
		}
	}
	for s, n := range nodes {
		gauge(clusterNodes, float64(n), string(s))
	}
	gauge(clusterSlots, float64(used), "used")
	gauge(clusterSlots, float64(free), "free")
	jobs := map[api.JobStatus]int{api.JobPending: 0, api.JobRunning: 0, api.JobFailed: 0}
	for _, j := range v.Jobs() {
		jobs[j.Status]++
		if !j.Status.Ended() {
			gauge(jobExecutors, float64(j.Term), j.Name)
		}
	}
	for s, n := range jobs {
		gauge(clusterJobs, float64(n), string(s))
	}
}
