package operator

import (
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirflow/weir/shuffle/spill"
)

// Spilled is a spill.Output of an [Edge]'s type, with what NewWriter takes.
type Spilled interface {
	spill.Written
	// Ends are the senders, one for each sub-partition.
	Ends() []any
}

// spilled is the output with its senders.
type spilled[T any] struct{ *spill.Output[T] }

func (s spilled[T]) Ends() []any {
	senders := s.Senders()
	ends := make([]any, len(senders))
	for i, x := range senders {
		ends[i] = x
	}
	return ends
}

func (edge[T]) NewSpilled(fs vfs.FS, host spill.Host, id spill.ID, opt spill.Options) (Spilled, error) {
	o, err := spill.NewOutput[T](fs, host, id, opt)
	if err != nil {
		return nil, err
	}
	return spilled[T]{o}, nil
}

func (edge[T]) NewFeed(from spill.Opener, inputs []spill.ID, of spill.Range, opt spill.ReaderOptions) (spill.Feed, error) {
	r, err := spill.NewReader[T](from, inputs, of, opt)
	if err != nil {
		return nil, err
	}
	return r, nil
}
