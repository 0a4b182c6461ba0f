package scheduler

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/scheduler/job"
)

// Budgeted is a restart policy with a memory: it allows so many restarts in a time,
// and knows a record that fails again when it sees it. It belongs to one job.
type Budgeted struct {
	// Delays decides on the delay, and on failures in a row.
	Delays job.RestartPolicy
	// Most is how many restarts are allowed within Window. Default 0: any number.
	Most   int
	Window time.Duration
	// Jitter, where set, shortens delays by up to a half, so that jobs that failed
	// together do not come back together.
	Jitter *rand.Rand
	Now    func() flow.Time

	restarts []flow.Time // within Window
	poison   *flow.Failure
}

// Decide allows a restart, unless it cannot help, there were too many, or the same
// record has failed before.
//
// A user's function that fails is not said to be retryable, since nobody knows: it may
// have called something that was down. It gets one more try. When the same record
// fails in the same way again, it is the record.
func (p *Budgeted) Decide(failures int, cause *flow.Failure) job.Decision {
	switch {
	case cause == nil:
	case p.same(cause):
		return job.Decision{Why: "the same record failed in the same way before the restart: " +
			"the job cannot get past it; mend the function or the record, or let the operator skip bad records"}
	case cause.Domain == flow.DomainUser && cause.Record != "" && !errors.Is(cause, operator.ErrBadRecord):
		p.poison = cause
		retry := *cause
		retry.Retryable = true
		cause = &retry
	}
	d := p.Delays.Decide(failures, cause)
	if !d.Restart {
		if cause != nil && cause.Retryable && d.Why == "" {
			d.Why = fmt.Sprintf("%d attempts in a row have failed", failures)
		}
		return d
	}
	now := p.Now()
	for len(p.restarts) > 0 && p.restarts[0].Add(p.Window) <= now {
		p.restarts = p.restarts[1:]
	}
	if p.Most > 0 && len(p.restarts) >= p.Most {
		return job.Decision{Why: fmt.Sprintf("it was restarted %d times within %s, which is all that is allowed", p.Most, p.Window)}
	}
	p.restarts = append(p.restarts, now)
	if p.Jitter != nil && d.Delay > 1 {
		d.Delay -= time.Duration(p.Jitter.Int64N(int64(d.Delay) / 2))
	}
	return d
}

// same reports whether it is the record that failed last.
func (p *Budgeted) same(f *flow.Failure) bool {
	q := p.poison
	return q != nil && f.Domain == flow.DomainUser && f.Record != "" && q.Operator == f.Operator && q.Record == f.Record
}

// String names the policy and its settings.
func (p *Budgeted) String() string {
	if p.Most <= 0 {
		return p.Delays.String()
	}
	return fmt.Sprintf("%s, at most %d restarts within %s", p.Delays, p.Most, p.Window)
}
