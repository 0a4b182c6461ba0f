//go:build integration

package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// A cluster of the schedules: so many servers, and workers, called server1.. and worker1..
const (
	servers, workers = 3, 2
	nodes            = servers + workers
)

// kind is what a fault does.
type kind string

// A fault of most kinds lasts for a while, and then what it did is undone.
const (
	killAgent    kind = "kill"          // SIGKILL to an agent, which is started again
	stopAgent    kind = "stop"          // SIGSTOP to an agent, and SIGCONT
	leaveAgent   kind = "leave"         // SIGTERM to an agent, which is started again
	killExecutor kind = "kill executor" // SIGKILL
	stopExecutor kind = "stop executor" // SIGSTOP and SIGCONT
	outage       kind = "outage"        // SIGKILL to all agents at once
	rolling      kind = "rolling restart"
	drain        kind = "drain"
	rescale      kind = "rescale"
	diskFull     kind = "disk full"
	cutOff       kind = "cut off"      // all that a host sends and gets is lost
	deaf         kind = "deaf"         // what it gets
	mute         kind = "mute"         // what it sends
	controlOnly  kind = "control lost" // what goes to the ports of agents, or comes from there
	dataOnly     kind = "data lost"    // all else: what executors say to each other
	apart        kind = "apart"        // the same, between the two workers alone
	bad          kind = "bad network"  // all hosts: late, and some of it is lost
)

// Whom a fault hits, besides nodes by their names. Who that is, is looked up when it begins.
const (
	theLeader      = "leader"
	theCoordinator = "coordinator"
	anExecutor     = "executor"
)

// fault is one. At counts from when the job has published its first result.
type fault struct {
	Kind   kind
	Target string
	At     time.Duration
	For    time.Duration
	N      int // of a rescaling: the parallelism
}

func (f fault) String() string {
	s := fmt.Sprintf("after %v: %s", f.At, f.Kind)
	if f.Target != "" {
		s += " " + f.Target
	}
	if f.N > 0 {
		s += fmt.Sprintf(" to %d", f.N)
	}
	if f.For > 0 {
		s += fmt.Sprintf(" for %v", f.For)
	}
	return s
}

// clusterSchedule is what a seed decides.
type clusterSchedule struct {
	Seed                uint64
	Parts               []string
	Kafka               bool // in place of files
	Events, Files, Keys int
	Lasts               time.Duration // the reading, undisturbed
	Parallelism         int
	Flags               []string
	Spread              string
	SlotsPerExecutor    int
	ServerSlots         int
	Lease               time.Duration
	// Hosts says that each node has a network of its own; they want root.
	Hosts bool
	// Small are nodes whose data is on a small disk of its own; it wants root.
	Small  []string
	Faults []fault
}

func (s *clusterSchedule) String() string {
	var b strings.Builder
	from := "files"
	if s.Kafka {
		from = "Kafka"
	}
	fmt.Fprintf(&b, "seed %d: %s from %s, %d events with %d keys, %v, parallelism %d, %s, slots %d on workers and %d on servers, lease %v",
		s.Seed, strings.Join(s.Parts, ","), from, s.Events, s.Keys, s.Lasts, s.Parallelism, strings.Join(s.Flags, " "), slots, s.ServerSlots, s.Lease)
	if s.SlotsPerExecutor > 0 {
		fmt.Fprintf(&b, ", executors of %d", s.SlotsPerExecutor)
	}
	if s.Hosts {
		b.WriteString(", hosts with networks of their own")
	}
	for i, f := range s.Faults {
		fmt.Fprintf(&b, "\n  %d. %s", i+1, f)
	}
	return b.String()
}

// slots are those of a worker.
const slots = 2

func millis(r *rand.Rand, from, to int) time.Duration {
	return time.Duration(from+r.IntN(to-from)) * time.Millisecond
}

// drawCluster makes the schedule of a seed.
func drawCluster(seed uint64) *clusterSchedule {
	r := rand.New(rand.NewPCG(seed, 0xc105))
	s := &clusterSchedule{Seed: seed, Events: 4000 + r.IntN(12_000), Files: 1 + r.IntN(6), Keys: pick(r, 7, 100, 2000),
		Lasts: millis(r, 4000, 7000), Parallelism: 2 + r.IntN(3), Spread: pick(r, "spread", "spread", "pack"),
		SlotsPerExecutor: pick(r, 0, 0, 1), ServerSlots: pick(r, 0, 1), Lease: pick(r, 3*time.Second, 3*time.Second, time.Second)}
	s.Flags = []string{
		"--backend=" + pick(r, "lsm", "lsm", "memory"),
		fmt.Sprintf("--epoch=%v", pick(r, 50*time.Millisecond, 200*time.Millisecond, 500*time.Millisecond)),
		fmt.Sprintf("--retain=%d", 1+r.IntN(3)),
		"--audit=" + pick(r, "stop", "hashes"),
	}
	if d := pick(r, 0, 0, 5*time.Millisecond); d > 0 {
		s.Flags = append(s.Flags, fmt.Sprintf("--align-timeout=%v", d))
	}
	var kinds []kind
	switch class := r.IntN(10); {
	case class < 4: // processes
		kinds = []kind{killAgent, killAgent, stopAgent, leaveAgent, killExecutor, killExecutor, stopExecutor, drain, rescale}
	case class < 5: // all of them at once, or in order
		kinds = []kind{outage, outage, rolling, rolling, killExecutor, killAgent}
	case class < 6: // disks
		kinds = []kind{diskFull, diskFull, killExecutor, killAgent}
		s.Small = []string{"worker1", fmt.Sprint("server", 1+r.IntN(servers))}
	default: // networks
		s.Hosts = true
		kinds = []kind{cutOff, cutOff, deaf, mute, controlOnly, dataOnly, apart, bad, killExecutor, killAgent, stopAgent}
	}
	all := []string{"map", "keyed", "windows", "joins", "timers"}
	if s.Kafka = !s.Hosts && r.IntN(3) == 0; s.Kafka {
		all = []string{"keyed", "timers"} // Kafka's partitions do not follow one another
		s.Parts = all
	}
	for _, i := range r.Perm(len(all))[:1+r.IntN(2)] {
		if !s.Kafka {
			s.Parts = append(s.Parts, all[i])
		}
	}
	slices.Sort(s.Parts)
	at, count := time.Duration(0), 2+r.IntN(2)
	if r.IntN(5) == 0 {
		count = 6 // a storm
	}
	for range count {
		at += millis(r, 0, 1500)
		f := s.drawFault(r, pick(r, kinds...))
		f.At = at
		s.Faults = append(s.Faults, f)
	}
	return s
}

// drawFault draws whom a fault hits, and for how long.
func (s *clusterSchedule) drawFault(r *rand.Rand, k kind) fault {
	f := fault{Kind: k}
	agent := func() string {
		return pick(r, theLeader, fmt.Sprint("worker", 1+r.IntN(workers)), fmt.Sprint("server", 1+r.IntN(servers)))
	}
	switch k {
	case killAgent, leaveAgent:
		f.Target, f.For = agent(), millis(r, 100, 4000)
	case stopAgent:
		// As long as it takes to be given up, now and then.
		f.Target, f.For = agent(), pick(r, millis(r, 100, 2000), millis(r, 2000, 6000), millis(r, 6000, 12_000))
	case killExecutor:
		f.Target = pick(r, theCoordinator, anExecutor)
	case stopExecutor:
		f.Target, f.For = pick(r, theCoordinator, anExecutor), millis(r, 100, 6000)
	case outage:
		f.For = millis(r, 100, 1000)
	case drain:
		f.Target, f.For = fmt.Sprint("worker", 1+r.IntN(workers)), millis(r, 500, 3000)
	case rescale:
		f.N = 1 + r.IntN(4)
	case diskFull:
		f.Target, f.For = pick(r, s.Small...), millis(r, 500, 4000)
	case cutOff, deaf, mute, controlOnly, dataOnly:
		f.Target, f.For = agent(), millis(r, 500, 6000)
	case bad:
		f.For = millis(r, 1000, 6000)
	case apart:
		// Longer than it takes to give up a host that acknowledges nothing.
		f.For = millis(r, 2000, 16_000)
	}
	return f
}

// only leaves the faults of these numbers, from 1.
func (s *clusterSchedule) only(numbers []int) {
	var left []fault
	for _, n := range numbers {
		if 0 < n && n <= len(s.Faults) {
			left = append(left, s.Faults[n-1])
		}
	}
	s.Faults = left
}
