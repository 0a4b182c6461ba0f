package bench

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/weirflow/weir/sdk/run"
)

// Options are the settings of a run. What a case has no use for it ignores; 0
// chooses the case's default.
type Options struct {
	Events      int64
	Keys        int64
	Value       int     // bytes of state of a key, for cluster-rescale
	Parallelism int     // default 2
	Rate        float64 // events per second, for latency
	Input       string  // a directory of text, for wordcount
	NoFloor     bool    // leave out the program written by hand
	Agents      int     // simulated ones, for scale
	Tasks       int     // of all of them
	Profile     string  // a directory for profiles of executors; empty: none
	Runs        int     // the best of so many; default 1

	// A run is durable if it has a State or a Checkpoint.
	State      string        // where checkpoints go; default a directory that is removed
	Checkpoint time.Duration // the time between epochs; default 1 s
	Backend    string        // run.BackendLSM or run.BackendMemory
	Memory     int64         // bytes that the process may take; default no limit
	Audit      run.Audit     // what is done with the books

	mode run.Mode

	// Settle is how long a cluster is looked at while nothing happens. Default 10 s.
	Settle time.Duration

	weir string // path of weir, for its agents; empty: this program
}

// Case is one benchmark.
type Case struct {
	Name string
	// What says in a line what is measured.
	What string
	run  func(ctx context.Context, o Options) (Result, error)
}

// Result is what one case measured. Latencies are of the latency case only.
type Result struct {
	Case           string  `json:"case"`
	Events         int64   `json:"events"`
	WallS          float64 `json:"wall_s"`
	EventsPerS     float64 `json:"events_per_s"`
	CPUS           float64 `json:"cpu_s"`
	PeakRSSMB      float64 `json:"peak_rss_mb"`
	AllocsPerEvent float64 `json:"allocs_per_event"`
	FloorPerS      float64 `json:"floor_events_per_s,omitempty"`
	RatioToFloor   float64 `json:"ratio_to_floor,omitempty"`
	P50MS          float64 `json:"p50_ms,omitempty"`
	P99MS          float64 `json:"p99_ms,omitempty"`
	P999MS         float64 `json:"p999_ms,omitempty"`
	FirstRecordMS  float64 `json:"first_record_ms,omitempty"`
	// What follows is of durable runs. The pause is for how long a task stood still at
	// a barrier.
	Checkpoints       *Checkpoints `json:"checkpoints,omitempty"`
	BarrierPauseP99MS float64      `json:"barrier_pause_p99_ms,omitempty"`
	Restart           *Restart     `json:"restart,omitempty"`
	// Figures are of the cases that measure times of a cluster.
	Figures []Figure `json:"figures,omitempty"`
	// Peer is another engine's figure.
	Peer *Peer `json:"peer,omitempty"`
	// Shuffle is of the shuffle case only.
	Shuffle *Shuffle `json:"shuffle,omitempty"`
	// Scale is of scale only.
	Scale *Scale `json:"scale,omitempty"`
}

// Cases lists the cases by name.
func Cases() []Case {
	cs := []Case{passthrough, keyed, window, wordcount, latency, startup, restart, sorting, clusterKeyed, shuffling, scale, clusterRecovery, clusterRescale, clusterStartup}
	slices.SortFunc(cs, func(a, b Case) int { return strings.Compare(a.Name, b.Name) })
	return cs
}

// Run runs the case and, unless that is left out, its floor, and takes the best
// of o.Runs runs of each, in turn.
func (c Case) Run(ctx context.Context, o Options) (Result, error) {
	if o.Parallelism == 0 {
		o.Parallelism = 2
	}
	var best Result
	for i := range max(1, o.Runs) {
		r, err := c.run(ctx, o)
		if err != nil {
			return r, fmt.Errorf("bench %s: %w", c.Name, err)
		}
		r.Case = c.Name
		floor := max(r.FloorPerS, best.FloorPerS)
		if i == 0 || better(r, best) {
			best = r
		}
		best.FloorPerS = floor
		if floor > 0 {
			best.RatioToFloor = best.EventsPerS / floor
		}
	}
	return best, nil
}

func better(a, b Result) bool {
	if a.P99MS > 0 {
		return a.P99MS < b.P99MS
	}
	return a.EventsPerS > b.EventsPerS
}

// measure runs f and fills what is the same for all cases.
func measure(events func() int64, f func() error) (Result, error) {
	debug.FreeOSMemory()
	resetPeakRSS()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu, start := processCPU(), time.Now()
	err := f()
	wall, used := time.Since(start), processCPU()-cpu
	runtime.ReadMemStats(&after)
	n := events()
	r := Result{Events: n, WallS: wall.Seconds(), EventsPerS: float64(n) / wall.Seconds(), CPUS: used.Seconds(),
		PeakRSSMB: peakRSS(), AllocsPerEvent: float64(after.Mallocs-before.Mallocs) / float64(max(n, 1))}
	return r, err
}

// mismatch is the error of a case whose output is not the floor's.
func mismatch(what string, got, want any) error {
	return fmt.Errorf("the engine's %s is %v, the floor's is %v: one of them is wrong", what, got, want)
}
