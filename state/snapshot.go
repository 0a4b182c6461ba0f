package state

import (
	"context"
	"io"

	"github.com/weirflow/weir/flow"
)

// Form is how a snapshot is stored. It is itself stored.
type Form uint8

const (
	// FormPortable is one file that any store can write and read; savepoints have
	// it. See docs/format.
	FormPortable Form = 1
	// FormLSM is the files of an LSM tree as they are: what did not change since
	// the last snapshot is not written again.
	FormLSM Form = 2
)

// String is "portable" or "lsm".
func (f Form) String() string {
	switch f {
	case FormPortable:
		return "portable"
	case FormLSM:
		return "lsm"
	}
	return "unknown form"
}

// Snapshot is what a store held at a barrier.
type Snapshot interface {
	// Form is that of the files: the one asked for, or FormPortable where the store
	// has no other.
	Form() Form
	// States lists the states in it.
	States() []Stored
	// Write hands all files over. It is called once, on any goroutine but the
	// task's; where it needs the task's Step it waits for it.
	Write(ctx context.Context, to Files) error
	// Close lets go of the snapshot, written or not. It may be called from any
	// goroutine, while Write runs too, which then ends with an error.
	Close()
}

// Stored describes a state within a snapshot.
type Stored struct {
	Descriptor Descriptor
	Schema     Schema
}

// Files takes the files of a snapshot. Names are unique within a snapshot.
type Files interface {
	// Create begins a file. It counts once Close has returned nil.
	Create(name string) (io.WriteCloser, error)
	// Link adds a file of the local disk that never changes. Wherever the name
	// appears in snapshots of this store, or in the one that it was restored from,
	// it is the same content, which need not be stored twice. The file may be
	// removed once Link has returned. It was not synced: whoever keeps a link and
	// wants it to outlive a power cut syncs it.
	Link(name, path string) error
}

// Saved is a snapshot, or a part of one, that a store restores from.
type Saved struct {
	Form Form
	// KeyGroups is what it holds: those of the task that wrote it.
	KeyGroups flow.KeyGroupRange
	// Operators is whose states shall be taken; nil is all.
	Operators []flow.OperatorID
	Files     SavedFiles
}

// Takes reports whether an operator's states shall be taken.
func (s *Saved) Takes(op flow.OperatorID) bool {
	if s.Operators == nil {
		return true
	}
	for _, o := range s.Operators {
		if o == op {
			return true
		}
	}
	return false
}

// SavedFiles gives the files of a snapshot back. Every byte that it gives was
// checked against the sums that were stored with the snapshot.
type SavedFiles interface {
	Names() []string
	Open(ctx context.Context, name string) (io.ReadCloser, error)
	// Fetch puts a file at path, which does not exist: by a link where storage is on
	// the same file system, otherwise by a copy. It must not be written to.
	Fetch(ctx context.Context, name, path string) error
}
