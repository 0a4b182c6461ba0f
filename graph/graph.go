package graph

import (
	"fmt"

	"github.com/weirflow/weir/flow"
)

// The two kinds of operator that have a meaning to this package. All other kinds
// are names for people.
const (
	// KindSource marks an operator that makes records and has no inputs.
	KindSource = "source"
	// KindSink marks an operator that writes records to the world outside. A
	// sink may have outlets too, say for what it could not write.
	KindSink = "sink"
)

// Graph is a job: operators, and at each operator the edges that end there.
type Graph struct {
	// Name is the job's name, for people.
	Name string `msgpack:"name,omitempty"`
	// MaxParallelism is the number of key groups and the upper limit of every
	// operator's parallelism. It is fixed for the life of the job's state.
	// 0 means flow.DefaultMaxParallelism.
	MaxParallelism int `msgpack:"max_parallelism,omitempty"`
	// Operators are in the order in which they were added. Nothing but what
	// people see depends on the order.
	Operators []*Operator `msgpack:"operators,omitempty"`
}

// Operator is one step of a job.
type Operator struct {
	// ID is unique in the graph and stable: state is found by it. It is set by
	// the user or derived by [Graph.AssignIDs].
	ID flow.OperatorID `msgpack:"id"`
	// UserID says that the ID was set by the user and must not be derived.
	UserID bool `msgpack:"user_id,omitempty"`
	// Name is for people, and one of the things a derived id depends on.
	Name string `msgpack:"name,omitempty"`
	// Kind is "source", "map", "process", "sink", ...: see [KindSource] and
	// [KindSink] for those that have a meaning here.
	Kind string `msgpack:"kind,omitempty"`
	// Parallelism is the number of subtasks. 0 means the job's default, see
	// [PlanOptions].
	Parallelism int `msgpack:"parallelism,omitempty"`
	// NoChain makes the operator start a chain of its own.
	NoChain bool `msgpack:"no_chain,omitempty"`
	// Inputs are the ports, by flow.Port.
	Inputs []Input `msgpack:"inputs,omitempty"`
	// Outputs are the outlets, by flow.Outlet; 0 is the main one.
	Outputs []Output `msgpack:"outputs,omitempty"`
	// Attrs are what explain shows beside the name: window size, topic, path.
	Attrs []Attr `msgpack:"attrs,omitempty"`
	// States are the declared keyed states.
	States []State `msgpack:"states,omitempty"`
	// Unbounded says that a source has no end.
	Unbounded bool `msgpack:"unbounded,omitempty"`
	// Guarantee is what a sink promises: [ExactlyOnce], [AtLeastOnce], or "" if
	// it says nothing.
	Guarantee string `msgpack:"guarantee,omitempty"`
	// Impl makes the operator's code: an *operator.Impl. It is not part of the
	// serial form; whoever runs a graph has built it in the same process.
	Impl any `msgpack:"-"`
}

// What a sink may promise.
const (
	ExactlyOnce = "exactly-once"
	AtLeastOnce = "at-least-once"
)

// Input is one port. Several edges that end at it are a union.
type Input struct {
	Name string `msgpack:"name,omitempty"`
	// Type is the type of the records that the port takes, for the check of
	// edges; "" means unknown, and is not checked.
	Type  string `msgpack:"type,omitempty"`
	Edges []Edge `msgpack:"edges,omitempty"`
}

// Edge ends at the port that it is listed at; From and Output say where it
// starts.
type Edge struct {
	From     flow.OperatorID `msgpack:"from"`
	Output   flow.Outlet     `msgpack:"output,omitempty"`
	Exchange Exchange        `msgpack:"exchange"`
}

// Output is one outlet.
type Output struct {
	Name string `msgpack:"name,omitempty"`
	// Type is the type of the records; "" means unknown.
	Type string `msgpack:"type,omitempty"`
	// Impl is a typed handle for edges that start here. It is not part of the
	// serial form.
	Impl any `msgpack:"-"`
}

// Attr is one thing worth showing about an operator.
type Attr struct {
	Key   string `msgpack:"key"`
	Value string `msgpack:"value,omitempty"`
}

// State declares one keyed state of an operator. Key and Value are type names.
type State struct {
	Name  string `msgpack:"name"`
	Kind  string `msgpack:"kind,omitempty"`
	Key   string `msgpack:"key,omitempty"`
	Value string `msgpack:"value,omitempty"`
}

// Exchange says how an edge spreads records over the consumer's subtasks.
type Exchange struct {
	Kind ExchangeKind `msgpack:"kind"`
	// Key is the type of the key of a hash exchange, for people.
	Key string `msgpack:"key,omitempty"`
	// Impl is the key selector of a hash exchange. It is not part of the serial
	// form.
	Impl any `msgpack:"-"`
}

// ExchangeKind is how an exchange chooses the subtask for a record.
type ExchangeKind uint8

const (
	// Forward sends from subtask i to subtask i: both sides have the same
	// parallelism. Only forward edges can be chained.
	Forward ExchangeKind = iota
	// Hash sends a record to the subtask that owns its key's key group.
	Hash
	// Rebalance spreads records evenly, without regard to what they are.
	Rebalance
	// Broadcast sends every record to every subtask.
	Broadcast
)

var exchangeNames = [...]string{"forward", "hash", "rebalance", "broadcast"}

// String is the name in lower case: "forward", "hash", "rebalance", "broadcast".
func (k ExchangeKind) String() string {
	if int(k) < len(exchangeNames) {
		return exchangeNames[k]
	}
	return fmt.Sprintf("exchange(%d)", uint8(k))
}

// ParseExchangeKind is the inverse of [ExchangeKind.String].
func ParseExchangeKind(s string) (ExchangeKind, error) {
	for i, name := range exchangeNames {
		if s == name {
			return ExchangeKind(i), nil
		}
	}
	return 0, fmt.Errorf("graph: exchange kind %.40q is unknown: use forward, hash, rebalance or broadcast", s)
}

// String is "hash by string", or the kind alone where there is no key type.
func (x Exchange) String() string {
	if x.Key == "" {
		return x.Kind.String()
	}
	return x.Kind.String() + " by " + x.Key
}

// KeyGroups is the number of key groups: MaxParallelism, or the default where it
// is 0.
func (g *Graph) KeyGroups() int {
	if g.MaxParallelism == 0 {
		return flow.DefaultMaxParallelism
	}
	return g.MaxParallelism
}

// Operator is the first operator with the given id, or nil.
func (g *Graph) Operator(id flow.OperatorID) *Operator {
	for _, o := range g.Operators {
		if o != nil && o.ID == id {
			return o
		}
	}
	return nil
}

// String is the operator as error messages show it: kind, name and id. What is
// very long is cut, as an operator may be named in very many messages.
func (o *Operator) String() string {
	kind := o.Kind
	if kind == "" {
		kind = "operator"
	}
	return fmt.Sprintf("%.40s %.200q (id %.200q)", line(kind), o.Name, string(o.ID))
}
