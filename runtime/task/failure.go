package task

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/shuffle"
	"github.com/weirflow/weir/state"
)

// guard runs f and turns a panic into a failure.
func (t *Task) guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = t.panicked(p, debug.Stack())
		}
	}()
	return f()
}

// panicked makes the failure of a panic. The operator to blame is the last one
// of the chain that had a record or timer in hand: calls go down the chain.
func (t *Task) panicked(p any, stack []byte) *flow.Failure {
	f := &flow.Failure{Task: t.cfg.ID, Stack: string(stack)}
	f.Cause, _ = p.(error)
	n, doing := t.culprit()
	if n == nil {
		f.Domain = flow.DomainInternal
		f.Message = fmt.Sprintf("panic outside user code: %v", p)
		if t.at != nil {
			f.Operator, f.Name = t.at.spec.ID, t.at.spec.Name
			f.Message = fmt.Sprintf("panic: %v", p)
		}
		return f
	}
	f.Operator, f.Name, f.Domain = n.spec.ID, n.spec.Name, flow.DomainUser
	f.Message = fmt.Sprintf("panic: %v; at %s", p, doing)
	f.Record, f.Position = operator.InHand(doing), t.position()
	// The function may have met something that passes. If it has not, the same record
	// will fail again, and will be known by its text.
	f.Retryable = true
	if f.Position != "" {
		f.Message += "; source at " + f.Position
	}
	return f
}

// culprit is the last operator of the chain with something in hand, or with an
// exchange behind it whose key function is at work.
func (t *Task) culprit() (*node, string) {
	for i := len(t.nodes) - 1; i >= 0; i-- {
		for _, w := range t.nodes[i].writers {
			if fr, ok := w.(operator.Failer); ok {
				if doing := describe(fr.Failing); doing != "" {
					return t.nodes[i], doing
				}
			}
		}
		if fr, ok := t.nodes[i].op.(operator.Failer); ok {
			if doing := describe(fr.Failing); doing != "" {
				return t.nodes[i], doing
			}
		}
	}
	return nil, ""
}

// describe calls f, which is of an operator that has failed and may be in any
// state: a panic here must not hide the first one, nor end the process.
func describe(f func() string) (s string) {
	defer func() {
		if p := recover(); p != nil {
			s = fmt.Sprintf("(a place that cannot be told: %v)", p)
		}
	}()
	return f()
}

// position is where the task's source reads, if it has one.
func (t *Task) position() string {
	if w, ok := t.nodes[0].op.(operator.Positioner); ok {
		return describe(w.Where)
	}
	return ""
}

// failed makes the failure of an error that nobody in particular returned.
func (t *Task) failed(err error) error { return t.failure(nil, err) }

// failure makes the failure of an error that a call to n returned. An error comes
// up through the chain from where it arose: that is the operator that still has a
// record or timer in hand, and n only where there is none. What is a failure
// already, or the task's own end, stays what it is.
func (t *Task) failure(n *node, err error) error {
	if isEnd(err) {
		return err
	}
	if f := (*flow.Failure)(nil); errors.As(err, &f) && f.Task == t.cfg.ID {
		return f // made here already
	}
	c, doing := t.culprit()
	if c != nil {
		n = c
	}
	f := t.asFailure(n, err)
	if f.Domain != flow.DomainUser {
		return f
	}
	g := *f
	f = &g
	if c != nil && !errors.Is(err, operator.ErrBadRecord) {
		f.Message = f.Text() + "; at " + doing
		f.Record = operator.InHand(doing)
	}
	if f.Position = t.position(); f.Position != "" {
		f.Message = f.Text() + "; source at " + f.Position
	}
	return f
}

func (t *Task) asFailure(n *node, err error) *flow.Failure {
	var f *flow.Failure
	if errors.As(err, &f) {
		if f.Task != (flow.TaskID{}) {
			return f
		}
		c := *f
		f = &c
	} else {
		f = &flow.Failure{Cause: err, Message: err.Error()}
		if errors.Is(err, operator.ErrBadRecord) || errors.Is(err, operator.ErrUser) || errors.Is(err, state.ErrIncompatible) {
			f.Domain = flow.DomainUser
		}
	}
	f.Task = t.cfg.ID
	if n != nil && f.Operator == "" {
		f.Operator, f.Name = n.spec.ID, n.spec.Name
	}
	return f
}

// isEnd reports whether err is a task's cancellation, its own or that of the one
// it sends to, rather than a fault.
func isEnd(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, shuffle.ErrClosed)
}
