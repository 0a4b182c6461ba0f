package state

import (
	"context"
	"errors"
	"fmt"

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
	// Restore loads, or makes ready to be loaded when it is needed, what snapshots
	// hold of the store's key groups. It is called once, before the first Register.
	// After an error the store is good for nothing but Close.
	Restore(ctx context.Context, from []Saved) error
	// Freeze ends an epoch: what the states hold now is what the snapshot will
	// write, whatever is done to them later. It returns at once, without writing or
	// encoding more than a bounded amount. While an earlier snapshot is neither
	// written nor closed, Freeze waits for it.
	Freeze(form Form) (Snapshot, error)
	// Step does a bounded piece of the work that the store has put off, at most
	// some tens of microseconds: encoding what was frozen, making room. It reports
	// whether there is more at once. The task calls it between batches, and again
	// and again when it has nothing else to do.
	Step() (more bool)
	// Notify sets what the store calls, on any goroutine, when Step has something to
	// do again after it had not.
	Notify(f func())
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

// Sized is a Store that can say what each operator's states take. It is asked by the goroutine
// of the store's task.
type Sized interface {
	Sizes() map[flow.OperatorID]Size
}

// Size is what states take, in bytes: of memory as in [Store] Bytes, and of local disk, where
// what is in memory may be too.
type Size struct{ Memory, Disk int64 }

// Resident is a state as its store sees it: entries of bytes. An entry's key is
// the encoded key and namespace, one behind the other, for maps the key of the
// entry taking the place of the namespace. For timers the time comes before both,
// 8 bytes, the highest first and with the top bit turned over, so that they stand in
// the order of their times. An entry's value is the encoded value; a list is one
// value; a timer's is its place among those of its key group, or 0.
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
