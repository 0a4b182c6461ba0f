package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Schedule is a cluster, a job and what happens to them.
type Schedule struct {
	Seed        uint64
	Hosts       int
	Slots       int // of each agent
	PerExecutor int
	Latency     time.Duration
	Storage     time.Duration // that an operation takes
	Interval    time.Duration // of epochs
	Work        Work
	Faults      []Fault
}

// Kind is what goes wrong.
type Kind string

// What can.
const (
	CutOff    Kind = "cut off"    // a host from all others, both ways
	OneWay    Kind = "one way"    // nothing that it sends arrives
	Deaf      Kind = "deaf"       // nothing that is sent to it arrives
	Apart     Kind = "apart"      // two hosts from each other
	Resets    Kind = "resets"     // connections between two hosts break
	Slows     Kind = "slow"       // what a host sends takes longer
	Loses     Kind = "loses"      // some of it is lost
	Crash     Kind = "crash"      // an agent and its executors are killed, and it starts again
	Power     Kind = "power"      // the same, and others are not told
	KillExec  Kind = "kill"       // an executor is killed
	KillCoord Kind = "kill coord" // the coordinator is
	StopAgent Kind = "stop agent" // an agent stands still, and its executors go on
	StopExec  Kind = "stop exec"  // an executor stands still
	StopCoord Kind = "stop coord" // the coordinator does
	StopHost  Kind = "stop host"  // all that is on a host
	Jump      Kind = "jump"       // the clock of an agent's lease
	SlowDisk  Kind = "slow disk"  // storage of checkpoints, from one host
	Restart   Kind = "restart"    // no fault: an agent ends in order, and starts again
	Drain     Kind = "drain"      // no fault: a user has an agent drained
)

var kinds = []Kind{CutOff, OneWay, Deaf, Apart, Resets, Slows, Loses, Crash, Power, KillExec, KillCoord, StopAgent, StopExec, StopCoord, StopHost, Jump, SlowDisk, Restart, Drain}

// Fault is one of them. A and B number hosts from 1; A is 0 for the host of the leader, and
// -1 for that of the coordinator. Of executors, A counts those that live.
type Fault struct {
	Kind  Kind
	At    time.Duration // after the job began to run
	For   time.Duration
	A, B  int
	Class Class
}

// String is one line.
func (f Fault) String() string {
	who := fmt.Sprint("h", f.A)
	switch {
	case f.Kind == KillExec || f.Kind == StopExec:
		who = fmt.Sprint("executor ", f.A)
	case f.Kind == KillCoord || f.Kind == StopCoord:
		who = ""
	case f.A == 0:
		who = "leader"
	case f.A == -1:
		who = "coordinator's host"
	}
	s := fmt.Sprintf("at %v for %v: %s %s", f.At, f.For, f.Kind, who)
	if f.Kind == Apart || f.Kind == Resets {
		s += fmt.Sprint(" h", f.B)
	}
	if f.Class != 0 {
		s += ", " + f.Class.String()
	}
	return s
}

// String is the schedule on some lines.
func (s *Schedule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %d hosts of %d slots, %d in an executor, latency %v, storage %v; epochs each %v; %d splits of %d records each %v, parallelism %d, aligned for %v\n",
		s.Seed, s.Hosts, s.Slots, s.PerExecutor, s.Latency, s.Storage, s.Interval, s.Work.Splits, s.Work.Records, s.Work.Every, s.Work.Parallelism, s.Work.Align)
	for i, f := range s.Faults {
		fmt.Fprintf(&b, "  %d  %v\n", i, f)
	}
	return b.String()
}

// keep is the schedule with some of its faults.
func (s *Schedule) keep(which []int) *Schedule {
	c := *s
	c.Faults = nil
	for _, i := range which {
		c.Faults = append(c.Faults, s.Faults[i])
	}
	return &c
}

// draw makes the schedule of a seed.
func draw(seed uint64) *Schedule {
	r := rand.New(rand.NewPCG(seed, 17))
	pick := func(all ...time.Duration) time.Duration { return all[r.IntN(len(all))] }
	s := &Schedule{
		Seed: seed, Hosts: 5, Slots: 2, PerExecutor: 1 + r.IntN(2),
		Latency:  pick(100*time.Microsecond, time.Millisecond, 10*time.Millisecond),
		Storage:  pick(time.Millisecond, 10*time.Millisecond, 40*time.Millisecond),
		Interval: pick(100*time.Millisecond, 300*time.Millisecond, time.Second),
		Work: Work{Splits: 1 + r.IntN(5), Records: 100 + r.IntN(200), Keys: 1 + r.IntN(40), Parallelism: 2 + r.IntN(3),
			Align: pick(0, time.Millisecond, 100*time.Millisecond)},
	}
	long := time.Duration(8+r.IntN(12)) * time.Second
	s.Work.Every = long / time.Duration(s.Work.Records)
	for range 1 + r.IntN(5) {
		f := Fault{Kind: kinds[r.IntN(len(kinds))], A: r.IntN(s.Hosts+2) - 1, Class: []Class{All, All, Control, Data}[r.IntN(4)],
			At: time.Duration(r.Int64N(int64(long))).Round(time.Millisecond)}
		if n := len(s.Faults); n > 0 && r.IntN(3) == 0 { // close behind another
			f.At = s.Faults[n-1].At + time.Duration(r.IntN(400))*time.Millisecond
			if r.IntN(2) == 0 {
				f.A = s.Faults[n-1].A
			}
		}
		f.For = time.Duration(float64(100*time.Millisecond) * []float64{1, 5, 20, 40, 80, 150}[r.IntN(6)] * (0.5 + r.Float64())).Round(time.Millisecond)
		for f.B = 1 + r.IntN(s.Hosts); f.B == f.A; f.B = 1 + r.IntN(s.Hosts) {
		}
		switch f.Kind {
		case KillExec, StopExec:
			f.A = r.IntN(4)
			f.Class = 0
		case CutOff, OneWay, Deaf, Apart, Resets:
		case KillCoord, StopCoord:
			f.A, f.Class = 0, 0
		default:
			f.Class = 0
		}
		s.Faults = append(s.Faults, f)
	}
	slices.SortStableFunc(s.Faults, func(a, b Fault) int { return int(a.At - b.At) })
	return s
}
