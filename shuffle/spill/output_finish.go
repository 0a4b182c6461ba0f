package spill

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirflow/weir/shuffle"
)

// Finish writes the rest, the index and the footer, and gives the file its name when
// it is on disk. All senders must have had the end of input. With an error the output
// is given up.
func (o *Output[T]) Finish() (Summary, error) {
	s, err := o.finish()
	if err != nil {
		o.err = err
		o.Abort()
		return Summary{}, err
	}
	o.over = true
	o.release()
	return s, o.host.Done(s)
}

func (o *Output[T]) finish() (s Summary, err error) {
	switch {
	case o.err != nil:
		return s, o.err
	case o.over:
		return s, shuffle.ErrClosed
	case o.ended < len(o.parts):
		return s, fmt.Errorf("shuffle/spill: %s: only %d of %d sub-partitions have had the end of input", o.id, o.ended, len(o.parts))
	}
	if o.used > 0 {
		if err := o.flush(); err != nil {
			return s, err
		}
	}
	o.blocks.Compression = None
	tail, err := o.blocks.Append(nil, o.index.appendTo(nil))
	if err != nil {
		return s, fmt.Errorf("shuffle/spill: the index of %s: %w: give the output more memory, so that it has fewer regions", o.id, err)
	}
	s = Summary{ID: o.id, Partitions: o.index.parts, Count: o.index.total()}
	tail = appendFooter(tail, o.offset, s.Count)
	if err := o.host.Reserve(o.id, int64(len(tail))); err != nil {
		return s, err
	}
	if err := o.write(tail); err != nil {
		return s, err
	}
	s.FileBytes = o.offset
	if !o.opt.NoSync {
		if err := o.file.Sync(); err != nil {
			return s, o.wrap("syncing the file", err)
		}
	}
	err = o.file.Close()
	o.file = nil
	if err != nil {
		return s, o.wrap("closing the file", err)
	}
	if err := o.fs.Rename(o.path+unfinished, o.path); err != nil {
		return s, o.wrap("naming the file", err)
	}
	if !o.opt.NoSync {
		if err := syncDir(o.fs, o.fs.PathDir(o.path)); err != nil {
			// Whether the name survives a loss of power is not known: it is not to be used.
			return s, errors.Join(err, o.fs.Remove(o.path))
		}
	}
	return s, nil
}

// Abort gives the output up and removes what was written. After Finish it does nothing.
func (o *Output[T]) Abort() {
	if o.over {
		return
	}
	o.over = true
	if o.file != nil {
		// What cannot be closed or removed is removed when the store opens next.
		_ = o.file.Close()
		o.file = nil
	}
	_ = o.fs.Remove(o.path + unfinished)
	o.release()
	o.host.Drop(o.id)
}

func (o *Output[T]) release() {
	o.free, o.spare, o.frame, o.block = nil, nil, nil, nil
	for i := range o.parts {
		o.parts[i].chunks = nil
	}
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("shuffle/spill: opening %s to sync it: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("shuffle/spill: syncing %s: %w", dir, err)
	}
	return nil
}
