package lsm

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"
	"reflect"
	"slices"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/state"
	"github.com/weirflow/weir/state/portable"
)

// fetchers is how many files are fetched at once.
const fetchers = 8

// Restore makes ready what snapshots hold of the store's key groups. One snapshot in
// FormLSM of exactly these is opened as it is, and nothing of it is read that is not
// needed. Of others, the ranges are copied.
func (s *Store) Restore(ctx context.Context, from []state.Saved) error {
	if err := s.Err(); err != nil {
		return err
	}
	if s.db != nil || len(s.states) > 0 {
		return errors.New("state/lsm: Restore comes before all else, and once")
	}
	if err := s.restore(ctx, from); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: a file is missing: %w", state.ErrCorrupt, err)
		}
		return s.fail(s.wrap("restore", err))
	}
	return nil
}

func (s *Store) restore(ctx context.Context, from []state.Saved) error {
	if len(from) == 1 && from[0].Form == state.FormLSM {
		m, err := s.readMeta(ctx, &from[0])
		if err != nil {
			return err
		}
		if m.KeyGroups == s.opts.KeyGroups && !slices.ContainsFunc(m.States, func(st savedState) bool { return !from[0].Takes(st.Descriptor.Operator) }) {
			return s.openInPlace(ctx, &from[0], m)
		}
	}
	if err := s.open(); err != nil {
		return err
	}
	for i := range from {
		var err error
		switch from[i].Form {
		case state.FormLSM:
			err = s.copyLSM(ctx, i+1, &from[i])
		case state.FormPortable:
			err = s.copyPortable(ctx, i+1, &from[i])
		default:
			err = fmt.Errorf("the snapshot is of %s", from[i].Form)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readMeta reads what a snapshot says of itself.
func (s *Store) readMeta(ctx context.Context, from *state.Saved) (*meta, error) {
	r, err := from.Files.Open(ctx, metaFile)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", metaFile, err)
	}
	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, fmt.Errorf("%s: %w", metaFile, err)
	}
	m, err := decodeMeta(b)
	if err != nil {
		return nil, err
	}
	h := portable.Header{MaxParallelism: m.MaxParallelism}
	return m, h.Check(s.opts.MaxParallelism)
}

// fetch brings Pebble's files of a snapshot to dir.
func (s *Store) fetch(ctx context.Context, from *state.Saved, m *meta, dir string) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(fetchers)
	for _, f := range m.Files {
		if f.Name != filepath.Base(f.Name) || !filepath.IsLocal(f.Name) {
			return errors.Join(fmt.Errorf("%w: a file with the name %q", state.ErrCorrupt, f.Name), g.Wait())
		}
		g.Go(func() error {
			if err := s.fetchOne(ctx, from, f, s.fs.PathJoin(dir, f.Name)); err != nil {
				return fmt.Errorf("%s: %w", f.Name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// fetchOne links tables, which do not change, where it can, and copies other files.
func (s *Store) fetchOne(ctx context.Context, from *state.Saved, f savedFile, path string) error {
	if s.linked && isTable(f.Name) {
		return from.Files.Fetch(ctx, f.Name, path)
	}
	r, err := from.Files.Open(ctx, f.Name)
	if err != nil {
		return err
	}
	w, err := s.fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return errors.Join(err, r.Close())
	}
	sum := crc32.New(castagnoli)
	// Only Read: a file may spoil what is written to it, as Pebble's do in tests, and a
	// reader that can WriteTo gives its own memory away.
	n, err := io.Copy(io.MultiWriter(sum, w), struct{ io.Reader }{r})
	if err == nil && !isTable(f.Name) && (n != f.Size || sum.Sum32() != f.CRC32C) {
		err = fmt.Errorf("%w: it has %d bytes, not %d, or others than it had", state.ErrCorrupt, n, f.Size)
	}
	return errors.Join(err, r.Close(), w.Close())
}

// openInPlace takes a snapshot over as it is.
func (s *Store) openInPlace(ctx context.Context, from *state.Saved, m *meta) error {
	if err := s.fetch(ctx, from, m, s.dirDB); err != nil {
		return err
	}
	s.dbOpts.ErrorIfNotExists = true
	err := s.open()
	s.dbOpts.ErrorIfNotExists = false
	if err != nil {
		return damaged(err)
	}
	s.nextID = m.NextID
	for _, st := range m.States {
		s.states = append(s.states, &held{id: st.ID, stored: st.Stored, count: st.Entries})
	}
	return nil
}

// damaged says that files cannot be opened, or read, for what they are: a table that
// the list names is missing or has another size, say. Other errors are the operating
// system's.
func damaged(err error) error {
	var sys syscall.Errno
	if errors.As(err, &sys) && !errors.Is(err, fs.ErrNotExist) || errors.Is(err, context.Canceled) || errors.Is(err, errAbandoned) {
		return err
	}
	return fmt.Errorf("%w: %w", state.ErrCorrupt, err)
}

// intake finds, or adds, the state that entries of a snapshot are for.
func (s *Store) intake(stored state.Stored) (*held, error) {
	for _, h := range s.states {
		if !sameState(h.stored.Descriptor, stored.Descriptor) {
			continue
		}
		if !reflect.DeepEqual(h.stored.Schema, stored.Schema) {
			return nil, fmt.Errorf("%w: two snapshots that are restored together hold %s with different types", state.ErrIncompatible, stored.Descriptor)
		}
		return h, nil
	}
	h, err := s.hold(stored)
	if err == nil {
		h.from = make([]int, s.opts.KeyGroups.Len())
	}
	return h, err
}

// takes counts an entry from snapshot number n, and refuses it if another one had
// entries of the state in the key group.
func (h *held) takes(g, first flow.KeyGroup, n int) error {
	if f := &h.from[g-first]; *f == 0 {
		*f = n
	} else if *f != n {
		return fmt.Errorf("%w: %s: two snapshots hold entries of key group %d: %w", state.ErrCorrupt, h.stored.Descriptor, g, errTwice)
	}
	h.count++
	return nil
}

// copyPortable takes entries from snapshot number n.
func (s *Store) copyPortable(ctx context.Context, n int, from *state.Saved) error {
	for _, name := range from.Files.Names() {
		r, err := from.Files.Open(ctx, name)
		if err == nil {
			err = errors.Join(s.copyStream(ctx, n, r, from.Takes), r.Close())
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (s *Store) copyStream(ctx context.Context, n int, r io.Reader, takes func(flow.OperatorID) bool) error {
	in, err := portable.NewReader(r)
	if err != nil {
		return err
	}
	if err := in.Header().Check(s.opts.MaxParallelism); err != nil {
		return err
	}
	to := map[uint16]*held{}
	for _, st := range in.Header().States {
		if takes(st.Descriptor.Operator) {
			if to[st.ID], err = s.intake(st.Stored); err != nil {
				return err
			}
		}
	}
	p := s.newPart()
	flush := func() error {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		err := s.guarded(func() error { return s.writePart(p, true) })
		p.reset()
		return err
	}
	for {
		e, err := in.Next()
		if errors.Is(err, io.EOF) {
			return flush()
		}
		if err != nil {
			return err
		}
		h := to[e.ID]
		if h == nil || !s.opts.KeyGroups.Contains(e.Group) {
			continue
		}
		if err := h.takes(e.Group, s.opts.KeyGroups.First, n); err != nil {
			return err
		}
		p.add(e.Group, h.id, e.Key, e.Value)
		if p.full() {
			if err := flush(); err != nil {
				return err
			}
		}
	}
}

// copyLSM takes ranges from snapshot number n.
func (s *Store) copyLSM(ctx context.Context, n int, from *state.Saved) error {
	m, err := s.readMeta(ctx, from)
	if err != nil {
		return err
	}
	dir := s.fs.PathJoin(s.dirFrom, fmt.Sprint(n))
	if err := s.fs.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := s.fetch(ctx, from, m, dir); err != nil {
		return err
	}
	o := s.pebbleOptions()
	o.ReadOnly, o.ErrorIfNotExists = true, true
	err = s.guarded(func() error {
		db, err := pebble.Open(dir, o)
		if err != nil {
			return damaged(err)
		}
		return errors.Join(s.copyRanges(ctx, n, db, m, from.Takes), db.Close())
	})
	return errors.Join(err, s.fs.RemoveAll(dir))
}

func (s *Store) copyRanges(ctx context.Context, n int, db *pebble.DB, m *meta, takes func(flow.OperatorID) bool) error {
	type source struct {
		id uint16
		to *held
	}
	var states []source
	for _, st := range m.States {
		if takes(st.Descriptor.Operator) {
			h, err := s.intake(st.Stored)
			if err != nil {
				return err
			}
			states = append(states, source{st.ID, h})
		}
	}
	slices.SortFunc(states, func(a, b source) int { return int(a.to.id) - int(b.to.id) }) // the order of what is written
	t := &tables{s: s}
	var end []byte
	first := max(m.KeyGroups.First, s.opts.KeyGroups.First)
	for g := first; g < min(m.KeyGroups.End, s.opts.KeyGroups.End); g++ {
		if ctx.Err() != nil {
			t.discard()
			return context.Cause(ctx)
		}
		for _, st := range states {
			var failed error
			err := scan(db, appendPrefix(nil, g, st.id), &end, nil, func(key, value []byte) bool {
				if failed = st.to.takes(g, s.opts.KeyGroups.First, n); failed == nil {
					failed = t.add(g, st.to.id, key, value)
				}
				return failed == nil
			})
			if err != nil {
				err = damaged(err)
			}
			if err := errors.Join(failed, err); err != nil {
				t.discard()
				return err
			}
		}
	}
	return t.finish(ctx)
}
