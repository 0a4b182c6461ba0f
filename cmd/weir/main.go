// Command weir builds, runs, explains and measures pipelines.
//
// A pipeline is a Go program whose main function is run.Main. weir run builds it
// and becomes it; weir graph asks it for its graph. Both talk to it through the
// environment (WEIR_*), so that a program's own flags stay its own.
//
// Exit codes: 0 done, 1 failed, 2 a wrong command line, a program that does not
// compile or a pipeline with mistakes, 130 stopped by a signal. Errors are one line on
// the standard error; what a compiler or a pipeline says is passed on as it is.
//
// Each subcommand has a file of its own, with a function new...Cmd that root.go
// lists.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/bench"
)

func main() {
	if os.Getenv(api.ExecutorEnv) != "" {
		bench.Program() // the only jobs that need no program of their own
	}
	os.Exit(execute(os.Args[1:]))
}

// execute is main without the end of the process.
func execute(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRootCmd()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	code := 1
	if e, ok := errors.AsType[*exitError](err); ok {
		code, err = e.code, e.err
	} else if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		code, err = 130, nil
	}
	if err != nil {
		// Errors that were joined are one line each.
		for line := range strings.SplitSeq(err.Error(), "\n") {
			fmt.Fprintf(os.Stderr, "weir: %s\n", line)
		}
	}
	return code
}

// exitError ends weir with a code of its own. A nil err means that everything has
// been said.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// misuse is a wrong command line.
func misuse(format string, args ...any) error {
	return &exitError{code: 2, err: fmt.Errorf(format, args...)}
}
