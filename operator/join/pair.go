package join

import (
	"fmt"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
)

// Outlets of all joins, beside the results at outlet 0.
const (
	// LateLeft is where left records leave that came too late.
	LateLeft flow.Outlet = 1
	// LateRight is where right records leave that came too late.
	LateRight flow.Outlet = 2
)

// Kind says what becomes of records that meet none.
type Kind uint8

const (
	// Inner drops them.
	Inner Kind = iota
	// Left keeps the left ones.
	Left
	// Full keeps both.
	Full
)

// String is "inner", "left" or "full".
func (k Kind) String() string {
	switch k {
	case Inner:
		return "inner"
	case Left:
		return "left"
	case Full:
		return "full"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

func (k Kind) keepsLeft() bool  { return k != Inner }
func (k Kind) keepsRight() bool { return k == Full }

// Pair is what a join gives: two records that met, or one that is unmatched.
type Pair[L, R any] struct {
	Left     L
	Right    R
	HasLeft  bool
	HasRight bool
	// Retract says that the pair was given before and no longer holds.
	Retract bool
}

func both[L, R any](l L, r R) Pair[L, R] {
	return Pair[L, R]{Left: l, Right: r, HasLeft: true, HasRight: true}
}

func onlyLeft[L, R any](l L) Pair[L, R]  { return Pair[L, R]{Left: l, HasLeft: true} }
func onlyRight[L, R any](r R) Pair[L, R] { return Pair[L, R]{Right: r, HasRight: true} }

// Attrs describes the join for explain.
func (c *Window[K, L, R]) Attrs() []graph.Attr {
	return []graph.Attr{{Key: "join", Value: c.Kind.String()}, {Key: "window", Value: c.Assigner.String()}}
}

// Attrs describes the join for explain.
func (c *Interval[K, L, R]) Attrs() []graph.Attr {
	return []graph.Attr{{Key: "join", Value: Inner.String()}, {Key: "interval", Value: fmt.Sprintf("%v to %v", c.Lower, c.Upper)}}
}

// Attrs describes the join for explain.
func (c *Temporal[K, L, R]) Attrs() []graph.Attr {
	return []graph.Attr{{Key: "join", Value: c.Kind.String()}}
}

// Attrs describes the join for explain.
func (c *Regular[K, L, R]) Attrs() []graph.Attr {
	return []graph.Attr{{Key: "join", Value: c.Kind.String()}}
}
