package state

import (
	"errors"
	"fmt"

	"github.com/weirflow/weir/flow"
)

// Kind is the shape of a state. It is stored.
type Kind uint8

const (
	KindValue  Kind = 1 // Cells
	KindList   Kind = 2 // Lists
	KindMap    Kind = 3 // Maps
	KindTimers Kind = 4 // Timers
)

// String is the kind's name in messages.
func (k Kind) String() string {
	switch k {
	case KindValue:
		return "value"
	case KindList:
		return "list"
	case KindMap:
		return "map"
	case KindTimers:
		return "timers"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Descriptor says which state is meant. Operator and Name find it again when a
// changed program is started from an older snapshot.
type Descriptor struct {
	Operator flow.OperatorID
	// Name is unique within the operator.
	Name string
	// Kind is set by the constructor: NewCells, NewLists, NewMaps, NewTimers.
	Kind Kind
}

// String is `value "name" of operator`.
func (d Descriptor) String() string { return fmt.Sprintf("%s %q of %s", d.Kind, d.Name, d.Operator) }

// ErrRegistered is wrapped by the error of a constructor when the store has a
// state of the same operator and name already.
var ErrRegistered = errors.New("state: declared twice")

// Store keeps the keyed state and timers of one task.
type Store interface {
	// MaxParallelism is the number of key groups of the job.
	MaxParallelism() int
	// KeyGroups is what the store's task owns of them.
	KeyGroups() flow.KeyGroupRange
	// Register makes a state known. The constructors call it; operators need not.
	Register(r Resident) error
	// Bytes is the memory that the states take, without what keys and values
	// point to.
	Bytes() int64
	// Err is the first error that the store met. Calls on state have no error of
	// their own; the task looks here after each batch.
	Err() error
	Close() error
}

// Resident is a state as its store sees it.
type Resident interface {
	Descriptor() Descriptor
	// Bytes is the memory that they take, without what keys and values point to.
	Bytes() int64
}
