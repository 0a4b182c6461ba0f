package lsm

import (
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/state"
)

// disk is one state's access to the store.
type disk struct {
	s   *Store
	id  uint16
	key []byte
	end []byte
	got io.Closer // of what the last Get has lent
}

// Get loads the value of an entry.
func (d *disk) Get(g flow.KeyGroup, key []byte) ([]byte, bool) {
	d.release()
	if d.s.db == nil || d.s.failed() {
		return nil, false
	}
	d.key = append(appendPrefix(d.key[:0], g, d.id), key...)
	v, c, err := d.s.db.Get(d.key)
	if err != nil {
		if !errors.Is(err, pebble.ErrNotFound) {
			d.s.fail(d.s.wrap("loading an entry", err))
		}
		return nil, false
	}
	d.got = c
	return v, true
}

func (d *disk) release() {
	if d.got != nil {
		_ = d.got.Close() // it lets go of a block; there is nothing to fail
		d.got = nil
	}
}

// Scan calls f for the entries of a key group.
func (d *disk) Scan(g flow.KeyGroup, prefix, from []byte, f func(key, value []byte) bool) {
	if d.s.db == nil || d.s.failed() {
		return
	}
	d.key = append(appendPrefix(d.key[:0], g, d.id), prefix...)
	if err := scan(d.s.db, d.key, &d.end, from, f); err != nil {
		d.s.fail(d.s.wrap("reading entries", err))
	}
}

// reader is a database, or a snapshot of one.
type reader interface {
	NewIter(o *pebble.IterOptions) (*pebble.Iterator, error)
}

// scan calls f for the entries with a prefix, of which key group and id are cut off,
// from the one with the key from on.
func scan(r reader, prefix []byte, end *[]byte, from []byte, f func(key, value []byte) bool) error {
	*end = appendEnd(*end, prefix)
	lower := prefix
	if from != nil {
		if at := append(append([]byte(nil), prefix[:prefixSize]...), from...); string(at) > string(prefix) {
			lower = at
		}
	}
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: *end})
	if err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return errors.Join(err, it.Close())
		}
		if !f(it.Key()[prefixSize:], v) {
			break
		}
	}
	return it.Close()
}

// Room reports whether the tables may take n bytes more.
func (d *disk) Room(n int64) bool {
	s := d.s
	mine, all := s.count()
	budget := s.env.tableBudget()
	return all+n <= budget || mine+n <= s.env.share(budget)
}

// Fail makes err the store's.
func (d *disk) Fail(err error) { d.s.fail(err) }

// wrap says where an error of Pebble came from, and tells damage from other errors.
func (s *Store) wrap(what string, err error) error {
	if pebble.IsCorruptionError(err) {
		return fmt.Errorf("%w: state/lsm: %s: %s: %w", state.ErrCorrupt, s.opts.Dir, what, err)
	}
	return fmt.Errorf("state/lsm: %s: %s: %w", s.opts.Dir, what, err)
}
