package lsm

import (
	"context"
	"fmt"
	"path"

	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirflow/weir/flow"
)

// tables writes entries that come in order into tables, and ingests them together.
type tables struct {
	s     *Store
	w     *sstable.Writer
	key   []byte
	paths []string
}

// add writes an entry, or a deletion if value is nil.
func (t *tables) add(g flow.KeyGroup, id uint16, key, value []byte) error {
	if t.w == nil {
		if err := t.begin(); err != nil {
			return err
		}
	}
	t.key = append(appendPrefix(t.key[:0], g, id), key...)
	var err error
	if value == nil {
		err = t.w.Delete(t.key)
	} else {
		err = t.w.Set(t.key, value)
	}
	if err == nil && t.w.Raw().EstimatedSize() >= tableFile {
		err = t.end()
	}
	return err
}

func (t *tables) begin() error {
	name := path.Join(t.s.dirIn, fmt.Sprintf("%06d.sst", t.s.tableNumber.Add(1)))
	f, err := t.s.fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	t.paths = append(t.paths, name)
	t.w = sstable.NewWriter(objstorageprovider.NewFileWritable(f), t.s.dbOpts.MakeWriterOptions(0, t.s.db.TableFormat()))
	return nil
}

func (t *tables) end() error {
	w := t.w
	t.w = nil
	return w.Close()
}

// finish ingests the tables.
func (t *tables) finish(ctx context.Context) error {
	if t.w != nil {
		if err := t.end(); err != nil {
			t.discard()
			return err
		}
	}
	if len(t.paths) == 0 {
		return nil
	}
	if err := t.s.db.Ingest(ctx, t.paths); err != nil {
		t.discard()
		return err
	}
	t.discard() // Ingest has linked them
	return nil
}

// discard removes the tables.
func (t *tables) discard() {
	if t.w != nil {
		_ = t.end() // it is removed anyway
	}
	for _, p := range t.paths {
		_ = t.s.fs.Remove(p) // what is left is removed by the next Open
	}
	t.paths = nil
}
