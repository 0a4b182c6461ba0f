package artifact

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Put stores what r gives until its end, and returns its name and size. Above limit bytes it
// gives up with ErrTooLarge. A reader that blocks is the caller's to end; ctx is looked at
// between reads. A program that is here already is stored again, which mends it.
func (s *Store) Put(ctx context.Context, r io.Reader, limit int64) (Hash, int64, error) {
	h, size, err := s.put(ctx, r, limit, nil)
	if err != nil {
		return Hash{}, 0, fmt.Errorf("artifact: store a program: %w", err)
	}
	return h, size, nil
}

// put stores r, if its hash is want or nothing is wanted.
func (s *Store) put(ctx context.Context, r io.Reader, limit int64, want *Hash) (h Hash, size int64, err error) {
	s.mu.Lock()
	s.mu.temp++
	temp := filepath.Join(s.o.Dir, fmt.Sprintf("%s%d", tempPrefix, s.mu.temp))
	closed := s.mu.closed
	s.mu.Unlock()
	if closed {
		return h, 0, ErrClosed
	}
	done := false
	defer func() {
		if done {
			return
		}
		if rerr := s.o.FS.Remove(temp); rerr != nil && !errors.Is(rerr, os.ErrNotExist) {
			err = fmt.Errorf("%w (and its file stays until the next start: %w)", err, rerr)
		}
	}()
	h, size, err = s.write(ctx, temp, r, limit)
	if err != nil {
		return h, 0, noRoom(err, s.o.Dir)
	}
	if want != nil && h != *want {
		return h, 0, fmt.Errorf("%w: the bytes are those of %v", ErrCorrupt, h)
	}
	leave, err := s.makeRoom(h, size)
	if err != nil {
		return h, 0, err
	}
	defer leave()
	s.files.Lock()
	if err = s.o.FS.Rename(temp, s.path(h)); err == nil {
		done = true
		s.note(h, size)
	}
	s.files.Unlock()
	if err != nil {
		return h, 0, noRoom(err, s.o.Dir)
	}
	if err := s.syncDir(); err != nil {
		return h, 0, err
	}
	return h, size, nil
}

// write is the file under its first name: complete, on the disk, and not writable.
func (s *Store) write(ctx context.Context, temp string, r io.Reader, limit int64) (h Hash, size int64, err error) {
	f, err := s.o.FS.Create(temp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return h, 0, err
	}
	sum := sha256.New()
	buf := make([]byte, 256<<10)
	for {
		n, rerr := r.Read(buf)
		size += int64(n)
		switch {
		case ctx.Err() != nil:
			err = context.Cause(ctx)
		case size > limit:
			err = fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
		case size > s.o.Budget:
			err = fmt.Errorf("%w: the program is larger than the budget of %d bytes", ErrNoRoom, s.o.Budget)
		case n > 0:
			sum.Write(buf[:n])
			_, err = f.Write(buf[:n])
		}
		if err == nil && rerr != nil && rerr != io.EOF {
			err = fmt.Errorf("read it, after %d bytes: %w", size, rerr)
		}
		if err != nil || rerr == io.EOF {
			break
		}
	}
	if err == nil && size == 0 {
		err = errors.New("it is empty")
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil && s.real() {
		err = os.Chmod(temp, 0o555)
	}
	sum.Sum(h[:0])
	return h, size, err
}

// real reports whether there are modes and times to set.
func (s *Store) real() bool { return s.o.FS == vfs.Default }

// note enters a program whose bytes were just hashed.
func (s *Store) note(h Hash, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.mu.entries[h]
	if e == nil {
		e = &entry{}
		s.mu.entries[h] = e
	}
	s.mu.total += size - e.size
	e.size, e.used, e.verified = size, s.o.testing.now(), true
}

func (s *Store) syncDir() error {
	d, err := s.o.FS.OpenDir(s.o.Dir)
	if err != nil {
		return fmt.Errorf("open the directory to sync it: %w", err)
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("sync the directory: %w", err)
	}
	return nil
}

// noRoom says what to do about a disk that is full.
func noRoom(err error, dir string) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: make room on the disk of %s, or lower the budget of programs: %w", ErrNoRoom, dir, err)
	}
	return err
}
