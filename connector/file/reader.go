package file

import (
	"errors"
	"fmt"

	"github.com/weirflow/weir/operator"
)

// cursor reads one split of one format.
type cursor[T any] interface {
	// read appends at most max records. It may append none and not be done: after
	// bad records, or within a very long one. It does not look at more than some
	// hundred kilobytes.
	read(into *operator.Records[T], max int) (done bool, err error)
	// position is the place after the last record read returned.
	position() position
	// where is that of the last record, for people.
	where() string
	close() error
}

// opener makes a cursor that goes on at d.At. It owns in from then on, also if it
// fails.
type opener[T any] func(in *input, d splitData, env *environment) (cursor[T], error)

// environment is what cursors need besides their split.
type environment struct {
	set *settings
	ctx *operator.ReaderContext
}

// bad hands over a bad record. raw may be of any length.
func (e *environment) bad(where string, raw []byte, reason string) error {
	return e.ctx.Bad(operator.BadRecord{
		Operator: e.ctx.Name,
		Where:    where,
		Raw:      append([]byte(nil), raw[:min(len(raw), operator.MaxBadRaw)]...),
		Reason:   reason,
		Time:     noTime,
	})
}

// reader reads splits one after the other. All formats share it.
type reader[T any] struct {
	env    environment
	open   opener[T]
	splits []*held[T]
	last   *held[T] // the split of the last Read, for Where
}

// held is a split of a reader.
type held[T any] struct {
	id     string
	data   splitData
	in     *input
	cur    cursor[T] // nil until it is read
	paused bool
	read   int64 // of in.read, what was reported
}

// Add takes one more split.
func (r *reader[T]) Add(s operator.Split) error {
	d, err := decodeSplit(s)
	if err != nil {
		return err
	}
	r.splits = append(r.splits, &held[T]{id: s.ID, data: d})
	return nil
}

// Read reads on in the first split that is not paused.
func (r *reader[T]) Read(into *operator.Records[T], max int) (operator.Status, error) {
	for i, h := range r.splits {
		if h.paused {
			continue
		}
		r.last = h
		into.Split = h.id
		before := h.data.At.Read
		done, err := r.step(h, into, max)
		if err != nil {
			return operator.More, err
		}
		if done {
			into.Done = true
			into.Progress = h.data.Work - before
			r.splits = append(r.splits[:i], r.splits[i+1:]...)
		}
		return operator.More, nil
	}
	return operator.WaitForWake, nil
}

// step opens the split if need be, and reads once.
func (r *reader[T]) step(h *held[T], into *operator.Records[T], max int) (done bool, err error) {
	if h.cur == nil {
		if h.in, err = openInput(r.env.set.testing.fs, &h.data); err != nil {
			return false, err
		}
		h.cur, err = r.open(h.in, h.data, &r.env)
	}
	if err == nil {
		done, err = h.cur.read(into, max)
		at := h.cur.position()
		if at.Read < h.data.At.Read { // a decoder's read-ahead differs from run to run
			at.Read = h.data.At.Read
		}
		into.Progress = at.Read - h.data.At.Read
		h.data.At = at
	}
	into.Bytes = h.in.read - h.read
	h.read = h.in.read
	if errors.Is(err, errCorrupt) {
		// Before the file is blamed: is it still the one that was found?
		if cerr := h.in.check(h.data.At.Offset); cerr != nil {
			return false, cerr
		}
		var rest []byte
		if c, ok := h.cur.(interface{ rest() []byte }); ok {
			rest = c.rest()
		}
		if err = r.env.bad(r.Where(), rest, err.Error()+"; the rest of the file is not read"); err != nil {
			return false, err
		}
		done = true
	}
	if err != nil || !done {
		return false, err
	}
	if err := h.in.check(h.data.At.Offset); err != nil {
		return false, err
	}
	return true, h.close()
}

func (h *held[T]) close() error {
	var err error
	if h.cur != nil {
		err = h.cur.close()
		h.cur = nil
	}
	if h.in != nil {
		err = errors.Join(err, h.in.Close())
		h.in = nil
	}
	if err != nil {
		return external(true, fmt.Errorf("file: closing %s: %w", h.data.Path, err))
	}
	return nil
}

// Where is the place of the last record.
func (r *reader[T]) Where() string {
	switch {
	case r.last == nil:
		return "no file yet"
	case r.last.cur != nil:
		return r.last.cur.where()
	}
	return r.last.data.Path
}

// Snapshot is the splits it holds, with their positions.
func (r *reader[T]) Snapshot() ([]operator.Split, error) {
	splits := make([]operator.Split, 0, len(r.splits))
	for _, h := range r.splits {
		s, err := h.data.split(h.id)
		if err != nil {
			return nil, err
		}
		splits = append(splits, s)
	}
	return splits, nil
}

// Pause stops and resumes a split.
func (r *reader[T]) Pause(split string, paused bool) {
	for _, h := range r.splits {
		if h.id == split {
			h.paused = paused
			if !paused {
				r.env.ctx.Wake()
			}
		}
	}
}

// Close closes the open files.
func (r *reader[T]) Close() error {
	var err error
	for _, h := range r.splits {
		err = errors.Join(err, h.close())
	}
	r.splits = nil
	return err
}
