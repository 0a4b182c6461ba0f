package scheduler

import (
	"fmt"
	"runtime/debug"

	"github.com/weirflow/weir/flow"
)

// guard runs a connector's code and turns a panic into a failure: the process is
// not the connector's to end.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			cause, _ := p.(error)
			err = &flow.Failure{Domain: flow.DomainUser, Message: fmt.Sprintf("panic: %v", p), Stack: string(debug.Stack()), Cause: cause}
		}
	}()
	return f()
}
