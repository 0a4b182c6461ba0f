// Package profile takes profiles of this process, as go tool pprof reads them.
//
// Its words: a kind is what is looked at (cpu, heap, goroutine ...); kinds that look for a
// time are sampled, the others are of the moment.
//
// Invariants:
//
//  1. A profile is never longer than [Most] bytes, nor takes longer than [Longest].
//  2. One CPU profile or trace is taken at a time in a process; a second is refused.
//
// Everything may be called from any goroutine.
package profile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/pprof"
	"runtime/trace"
	"slices"
	"strings"
	"time"
)

const (
	// Most is the largest profile, in bytes.
	Most = 64 << 20
	// Longest is for how long one is sampled at most.
	Longest = 2 * time.Minute
)

// Kinds are those that there are, those that are sampled first.
var Kinds = []string{"cpu", "trace", "heap", "allocs", "goroutine", "mutex", "block", "threadcreate"}

// Sampled reports whether a kind looks for a time.
func Sampled(kind string) bool { return kind == "cpu" || kind == "trace" }

// Check refuses a profile that cannot be taken.
func Check(kind string, over time.Duration) error {
	switch {
	case !slices.Contains(Kinds, kind):
		return fmt.Errorf("there is no profile of %.40q: there are %s", kind, strings.Join(Kinds, ", "))
	case Sampled(kind) && (over <= 0 || over > Longest):
		return fmt.Errorf("a profile over %s: it takes more than nothing and at most %s", over, Longest)
	}
	return nil
}

// errLong ends what writes too much.
var errLong = fmt.Errorf("the profile is longer than %d bytes: take it over a shorter time", Most)

// Write takes a profile and returns how long it is. It ends early with ctx.
func Write(ctx context.Context, w io.Writer, kind string, over time.Duration) (int64, error) {
	if err := Check(kind, over); err != nil {
		return 0, err
	}
	to := &bounded{to: w}
	var start func(io.Writer) error
	var stop func()
	switch kind {
	case "cpu":
		start, stop = pprof.StartCPUProfile, pprof.StopCPUProfile
	case "trace":
		start, stop = trace.Start, trace.Stop
	default:
		err := pprof.Lookup(kind).WriteTo(to, 0)
		return to.size, errors.Join(err, to.err)
	}
	if err := start(to); err != nil {
		return 0, fmt.Errorf("taking a profile of %s: %w", kind, err)
	}
	t := time.NewTimer(over)
	defer t.Stop()
	var err error
	select {
	case <-t.C:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	stop()
	return to.size, errors.Join(err, to.err)
}

// bounded writes no more than Most.
type bounded struct {
	to   io.Writer
	size int64
	err  error
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.err == nil && b.size+int64(len(p)) > Most {
		b.err = errLong
	}
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.to.Write(p)
	b.size += int64(n)
	b.err = err
	return n, err
}
