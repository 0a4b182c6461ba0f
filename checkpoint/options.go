package checkpoint

import (
	"errors"
	"fmt"
	"time"

	"github.com/weirflow/weir/flow"
)

// Options says when a [Coordinator] starts epochs and when it gives them up.
type Options struct {
	// Interval is the time from one periodic epoch's start to the next one's.
	// Default 0: no periodic epochs, only those that are asked for.
	Interval time.Duration
	// MinPause is the least time between an epoch's end and the start of the next
	// periodic one, and before an aborted final epoch is tried again. Default 0.
	MinPause time.Duration
	// Timeout aborts an epoch that has not been acknowledged by all tasks. A final
	// epoch is reported as late instead. Default 10 minutes.
	Timeout time.Duration
	// MaxConcurrent is how many epochs may be in flight at once. Default 1.
	MaxConcurrent int
	// TolerableFailures is how many epochs may be aborted in a row before the
	// attempt fails; savepoints don't count. Negative is none. Default 3.
	TolerableFailures int
	// First is the number of the first epoch: one more than that of the checkpoint
	// the attempt was restored from. Default 1.
	First flow.Epoch
}

// EnsureDefaults fills what is not set.
func (o *Options) EnsureDefaults() {
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Minute
	}
	if o.MaxConcurrent == 0 {
		o.MaxConcurrent = 1
	}
	if o.TolerableFailures == 0 {
		o.TolerableFailures = 3
	}
	if o.First == 0 {
		o.First = 1
	}
}

// Validate refuses what makes no sense. It is called after EnsureDefaults.
func (o *Options) Validate() error {
	var errs []error
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"interval", o.Interval}, {"min pause", o.MinPause}, {"timeout", o.Timeout}} {
		if d.value < 0 {
			errs = append(errs, fmt.Errorf("checkpoint: %s %s is negative", d.name, d.value))
		}
	}
	if o.Timeout > 0 && o.Timeout < time.Microsecond {
		errs = append(errs, fmt.Errorf("checkpoint: timeout %s is below a microsecond", o.Timeout))
	}
	if o.Interval > 0 && o.Interval < time.Microsecond {
		errs = append(errs, fmt.Errorf("checkpoint: interval %s is below a microsecond", o.Interval))
	}
	if o.MaxConcurrent < 1 {
		errs = append(errs, fmt.Errorf("checkpoint: %d epochs in flight; at least 1 is needed", o.MaxConcurrent))
	}
	return errors.Join(errs...)
}
