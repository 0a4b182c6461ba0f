package job

import (
	"fmt"
	"time"

	"github.com/weirflow/weir/flow"
)

// RestartPolicy decides whether a failed attempt is followed by another. Those of
// this package keep no state and read no clock.
type RestartPolicy interface {
	// Decide is asked when all tasks of an attempt have ended after cause.
	// failures is how many attempts in a row have failed, this one included; a
	// committed epoch begins the count anew, since the job got ahead.
	Decide(failures int, cause *flow.Failure) Decision
	fmt.Stringer
}

// Decision is what follows a failed attempt.
type Decision struct {
	Restart bool
	Delay   time.Duration
	// Why says, where there is no restart though a retry might have helped, why not;
	// it is added to the cause.
	Why string
}

// NoRestart lets the job fail with its first failure.
type NoRestart struct{}

// Decide is always no.
func (NoRestart) Decide(int, *flow.Failure) Decision { return Decision{} }

// String is "none".
func (NoRestart) String() string { return "none" }

// FixedDelay restarts after the same delay each time.
type FixedDelay struct {
	Delay time.Duration
	// MaxFailures is how many attempts in a row may fail; the job fails with one
	// more. Default 0: any number.
	MaxFailures int
}

// Decide is yes for failures that a retry may help, until there were too many.
func (p FixedDelay) Decide(failures int, cause *flow.Failure) Decision {
	if !retry(failures, p.MaxFailures, cause) {
		return Decision{}
	}
	return Decision{Restart: true, Delay: max(0, p.Delay)}
}

// String names the policy and its settings.
func (p FixedDelay) String() string {
	return fmt.Sprintf("fixed delay %s, at most %s failures", p.Delay, limit(p.MaxFailures))
}

// Exponential restarts after a delay that grows with each failure in a row.
type Exponential struct {
	// Initial is the delay after the first failure. Default 1 second.
	Initial time.Duration
	// Max is the longest delay. Default 1 minute, and at least Initial.
	Max time.Duration
	// Factor is by how much the delay grows. Default 2, and at least 1.
	Factor float64
	// MaxFailures is as with FixedDelay.
	MaxFailures int
}

// Decide is yes for failures that a retry may help, until there were too many.
func (p Exponential) Decide(failures int, cause *flow.Failure) Decision {
	if !retry(failures, p.MaxFailures, cause) {
		return Decision{}
	}
	p = p.withDefaults()
	delay := float64(p.Initial)
	for i := 1; i < failures && delay < float64(p.Max) && p.Factor > 1; i++ {
		delay *= p.Factor
	}
	if delay >= float64(p.Max) {
		return Decision{Restart: true, Delay: p.Max}
	}
	return Decision{Restart: true, Delay: time.Duration(delay)}
}

func (p Exponential) withDefaults() Exponential {
	if p.Initial <= 0 {
		p.Initial = time.Second
	}
	if p.Max <= 0 {
		p.Max = time.Minute
	}
	p.Max = max(p.Max, p.Initial)
	if p.Factor == 0 {
		p.Factor = 2
	}
	if !(p.Factor >= 1) {
		p.Factor = 1
	}
	return p
}

// String names the policy and its settings.
func (p Exponential) String() string {
	q := p.withDefaults()
	return fmt.Sprintf("exponential delay %s times %g up to %s, at most %s failures",
		q.Initial, q.Factor, q.Max, limit(q.MaxFailures))
}

func retry(failures, most int, cause *flow.Failure) bool {
	return (cause == nil || cause.Retryable) && (most <= 0 || failures <= most)
}

func limit(n int) string {
	if n <= 0 {
		return "any number of"
	}
	return fmt.Sprint(n)
}
