package window

import (
	"errors"
	"fmt"
	"time"

	"github.com/weirflow/weir/operator"
)

// Aggregator folds records into an accumulator: what is kept of a window is one
// Acc and not its records.
type Aggregator[In, Acc, Out any] = operator.Aggregator[In, Acc, Out]

// Process is a function of all records of a window, for what no accumulator can
// do. elements are lent for the call; their order is not defined.
type Process[K comparable, In, R any] func(key K, w Window, pane Pane, elements []In, emit func(R))

// Config is what a window operator needs beside the aggregate.
type Config[K comparable, In any] struct {
	Spec
	// Name is the name of the operator's state. Default: "window".
	Name string
	// Key finds the key of a record.
	Key operator.Key[In, K]
	// Gap is the gap of sessions made by [SessionDynamic].
	Gap func(In) time.Duration
}

// Validate refuses a configuration that is not complete.
func (c *Config[K, In]) Validate() error {
	if err := c.Spec.Validate(); err != nil {
		return err
	}
	switch {
	case c.Key.Of == nil || c.Key.Hash == nil:
		return errors.New("window: no key; windows are made for each key, use KeyBy before them")
	case c.Assigner.Dynamic != (c.Gap != nil):
		return fmt.Errorf("window: windows %v, and a function for the gap: %t; SessionDynamic and Gap go together",
			c.Assigner, c.Gap != nil)
	}
	return nil
}

// needsMerge reports whether accumulators will be merged.
func (s Spec) needsMerge() bool {
	switch a := s.Assigner; a.Kind {
	case KindSession:
		return true
	case KindSliding, KindCumulative:
		return s.plain() && a.Size != a.Slide
	case KindCount:
		return a.N > a.Every
	}
	return false
}
