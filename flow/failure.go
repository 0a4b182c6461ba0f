package flow

import (
	"errors"
	"fmt"
	"strings"
)

// Domain says whose the fault of a [Failure] is, and with it who can mend it.
type Domain uint8

const (
	// DomainInternal is a fault of the engine itself. It is the zero value: what
	// nobody has classified is ours until shown otherwise.
	DomainInternal Domain = iota
	// DomainUser is a fault of the program or its input: a user function that
	// panicked or returned an error, a record that can't be read.
	DomainUser
	// DomainExternal is a fault of something the job depends on: a broker, a
	// disk, a peer that is gone.
	DomainExternal
)

// String is "internal", "user" or "external".
func (d Domain) String() string {
	switch d {
	case DomainInternal:
		return "internal"
	case DomainUser:
		return "user"
	case DomainExternal:
		return "external"
	}
	return fmt.Sprintf("domain(%d)", uint8(d))
}

// Failure is why a task ended before its time. It is an error; errors.Is and
// errors.As reach the Cause.
//
// A failure is made once, where it happened, and is not changed afterwards: it is
// handed from goroutine to goroutine.
type Failure struct {
	Task     TaskID     // zero if it is the job as a whole
	Operator OperatorID // empty if no single operator is to blame
	Name     string     // the operator's name for people; may be empty
	Domain   Domain
	// Retryable says that the same attempt on the same input may succeed.
	Retryable bool
	// Message says what happened, and where and what to do as far as that is
	// known. If it is empty the Cause speaks.
	Message string
	// Record is the record or timer in hand, as text, "" where there was none. It is
	// the same when the same record fails again in another attempt.
	Record string
	// Position is where the task's source had come to, "" where it has none.
	Position string
	// Stack is the goroutine's stack where a function panicked.
	Stack string
	// Cause is the error below, in the process where it happened; it is nil once
	// a failure has crossed to another process.
	Cause error
}

// Error is one line: task, operator, and the message. The stack is not in it.
func (f *Failure) Error() string {
	var b strings.Builder
	if f.Task != (TaskID{}) {
		fmt.Fprintf(&b, "task %s: ", f.Task)
	}
	switch {
	case f.Name != "" && f.Operator != "" && f.Name != string(f.Operator):
		fmt.Fprintf(&b, "operator %q (%s): ", f.Name, f.Operator)
	case f.Name != "":
		fmt.Fprintf(&b, "operator %q: ", f.Name)
	case f.Operator != "":
		fmt.Fprintf(&b, "operator %q: ", string(f.Operator))
	}
	b.WriteString(f.Text())
	return b.String()
}

// Text is what happened, without the place: the message, or the cause's if there
// is none.
func (f *Failure) Text() string {
	switch {
	case f.Message != "":
		return f.Message
	case f.Cause != nil:
		return f.Cause.Error()
	}
	return f.Domain.String() + " failure"
}

// Unwrap is the cause.
func (f *Failure) Unwrap() error { return f.Cause }

// FailureOf makes a failure of any error. An error that has a Failure in its
// chain keeps that one's place, domain, retryability and stack, under the whole
// error's text; any other becomes an internal failure. Nobody has said of it whether a retry
// may help, so one is tried, as often as the job's restart policy allows. FailureOf(nil) is nil.
func FailureOf(err error) *Failure {
	if err == nil {
		return nil
	}
	if f, ok := err.(*Failure); ok { //nolint:errorlint // a wrapped one is handled below
		return f
	}
	if f, ok := errors.AsType[*Failure](err); ok {
		g := *f
		g.Message, g.Cause = err.Error(), err
		// Error says the place in front; it need not stand in the middle too.
		if before, ok := strings.CutSuffix(g.Message, f.Error()); ok {
			g.Message = before + f.Text()
		}
		return &g
	}
	return &Failure{Message: err.Error(), Cause: err, Retryable: true}
}
