package async

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/weirflow/weir/flow"
)

// call is one question to the outside. A worker has it for itself from when it is
// asked until it has landed; the task's goroutine has it then. Only waiters are
// the task's at all times.
type call[Q, R, E any] struct {
	question Q
	answer   R
	err      error // why there is no answer
	attempts int
	waiters  []*ticket[E]
}

// panicked is the error of a call whose function panicked.
type panicked struct {
	value any
	stack string
}

func (p *panicked) Error() string { return fmt.Sprintf("panic: %v", p.value) }

func (p *panicked) Unwrap() error {
	err, _ := p.value.(error)
	return err
}

var errGone = errors.New("the function ended its goroutine without returning")

// run makes the attempts. ctx ends with the operator.
func (c *call[Q, R, E]) run(ctx context.Context, o *Options, retries interface{ Add(int64) int64 }, ask func(context.Context, Q) (R, error)) {
	if c.err = ctx.Err(); c.err != nil {
		return
	}
	for c.attempts = 1; ; c.attempts++ {
		again := c.attempt(ctx, o, ask)
		if !again || c.attempts == o.Retry.Attempts || ctx.Err() != nil {
			return
		}
		timer := time.NewTimer(o.Retry.wait(c.attempts + 1))
		select {
		case <-timer.C:
			retries.Add(1)
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// attempt asks once. It sets answer or err, and reports whether the error may go
// away.
func (c *call[Q, R, E]) attempt(ctx context.Context, o *Options, ask func(context.Context, Q) (R, error)) (again bool) {
	c.err = errGone // unless we get to a better end
	defer func() {
		if p := recover(); p != nil {
			c.err, again = &panicked{p, string(debug.Stack())}, false
		}
	}()
	limited, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	answer, err := ask(limited, c.question)
	if err == nil {
		c.answer, c.err = answer, nil
		return false
	}
	if limited.Err() != nil && ctx.Err() == nil {
		if !errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("%w (%w)", err, context.DeadlineExceeded)
		}
		err = fmt.Errorf("no answer within %v: %w", o.Timeout, err)
	}
	again = o.Retry.retryable(err)
	c.err = err
	return again
}

// failure is why a job fails with a call. doing names the record.
func failure(o *Options, err error, attempts int, doing string) *flow.Failure {
	if p, ok := errors.AsType[*panicked](err); ok {
		return &flow.Failure{Domain: flow.DomainUser, Message: fmt.Sprintf("%v; at %s", p, doing), Stack: p.stack, Cause: p.Unwrap()}
	}
	f := &flow.Failure{Domain: flow.DomainExternal, Retryable: true, Cause: err}
	if !o.Retry.retryable(err) {
		// The user says that asking again is no use: it is the record that is wrong.
		f.Domain, f.Retryable = flow.DomainUser, false
	}
	f.Message = fmt.Sprintf("%s; at %s (to go on without such records, choose skip or dead-letter)", reason(err, attempts), doing)
	return f
}

// reason says why there is no answer, and after how many attempts.
func reason(err error, attempts int) string {
	if attempts == 1 {
		return err.Error()
	}
	return fmt.Sprintf("%v (the last of %d attempts)", err, attempts)
}
