package state

import (
	"errors"
	"fmt"
	"io"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
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

// Schema is the shape of a state's entries. It is stored with them, so that a
// program with other types can read them, or say why not.
type Schema struct {
	Kind      Kind
	Key       codec.Schema
	Namespace codec.Schema
	Value     codec.Schema
}

var (
	// ErrRegistered is wrapped by the error of a constructor when the store has a
	// state of the same operator and name already.
	ErrRegistered = errors.New("state: declared twice")
	// ErrIncompatible is wrapped by the error of a constructor, or of Restore, when
	// a snapshot holds the state with types that the program's cannot take over.
	ErrIncompatible = errors.New("state: snapshot has other types")
	// ErrCorrupt is wrapped by the error of Restore when what it reads is not a
	// snapshot, or not whole.
	ErrCorrupt = errors.New("state: snapshot is damaged")
)

// Store keeps the keyed state and timers of one task.
type Store interface {
	// MaxParallelism is the number of key groups of the job.
	MaxParallelism() int
	// KeyGroups is what the store's task owns of them.
	KeyGroups() flow.KeyGroupRange
	// Register makes a state known, and loads what a snapshot held of it. The
	// constructors call it; operators need not.
	Register(r Resident) error
	// Snapshot writes all states, with their schemas, in the portable form that any
	// store can restore.
	Snapshot(w io.Writer) error
	// Restore adds what a snapshot holds of the store's key groups. It is called
	// before the first record, once for each snapshot that holds some of them; what
	// is of states that are not registered yet waits until they are. After an error
	// the store is good for nothing but Close.
	Restore(r io.Reader) error
	// Unclaimed is what was restored and is of no registered state. It is part of
	// further snapshots.
	Unclaimed() []Descriptor
	// Bytes is the memory that the states take, without what keys and values
	// point to.
	Bytes() int64
	// Err is the first error that the store met. Calls on state have no error of
	// their own; the task looks here after each batch.
	Err() error
	Close() error
}

// Resident is a state as its store sees it: entries of bytes. An entry's key is
// the encoded key and namespace, one behind the other, for maps the key of the
// entry taking the place of the namespace, for timers namespace and time. Its
// value is the encoded value; a list is one value; a timer's is its place among
// those of its key group.
type Resident interface {
	Descriptor() Descriptor
	Schema() Schema
	// Bytes is the memory that the entries take, without what keys and values
	// point to.
	Bytes() int64
	// Freeze gives access to all entries by key group, until the next call on the
	// state. The error says that there is a key outside of groups.
	Freeze(maxParallelism int, groups flow.KeyGroupRange) (Frozen, error)
	// Loader takes entries that were written with another schema, or the same.
	Loader(maxParallelism int, written Schema) (Loader, error)
}

// Frozen is the entries of a state at a moment.
type Frozen interface {
	// Each calls f for all entries of a key group, until it returns an error. Key
	// and value are lent until f returns.
	Each(g flow.KeyGroup, f func(key, value []byte) error) error
}

// Loader puts entries into a state.
type Loader interface {
	// Load adds one entry. It keeps neither key nor value.
	Load(g flow.KeyGroup, key, value []byte) error
	// Done is called when there are no more.
	Done()
}
