package node

import (
	"math/rand/v2"
	"time"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/scheduler"
	"github.com/weirflow/weir/scheduler/job"
)

// How often a durable job is restarted, if nothing else is said: as long as it gets
// ahead now and then, and not for ever where it does not.
const (
	restartsInWindow = 20
	restartWindow    = 10 * time.Minute
	failuresInRow    = 10
)

// DefaultRestart is the policy of durable jobs: from 1 second to 1 minute, doubled with
// each failure in a row. now is the clock; a seed of 0 draws no jitter.
func DefaultRestart(seed uint64, now func() flow.Time) job.RestartPolicy {
	return Restart(job.Exponential{Initial: time.Second, Max: time.Minute, Factor: 2, MaxFailures: failuresInRow}, seed, now)
}

// Restart puts a policy of delays under the budget of durable jobs.
func Restart(delays job.RestartPolicy, seed uint64, now func() flow.Time) job.RestartPolicy {
	p := &scheduler.Budgeted{Delays: delays, Most: restartsInWindow, Window: restartWindow, Now: now}
	if seed != 0 {
		p.Jitter = rand.New(rand.NewPCG(seed, 0))
	}
	return p
}
