package spill

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirflow/weir/flow"
)

// Errors of a store. Callers may use errors.Is.
var (
	// ErrBudget says that the disk budget is used up.
	ErrBudget = errors.New("shuffle/spill: disk budget used up")
	// ErrStale says that a newer attempt of the producer, or the end of the job, has
	// made this one void.
	ErrStale = errors.New("shuffle/spill: output of an attempt that does not count any more")
	// ErrUnknown says that the store has no such output.
	ErrUnknown = errors.New("shuffle/spill: no such output")
)

// StoreOptions configure a Store; the zero value works.
type StoreOptions struct {
	// Budget is the number of bytes that outputs may take on disk, finished and being
	// written. Default 0: as many as the disk has.
	Budget int64
}

// Store keeps the outputs of an agent in a directory, which is its own.
type Store struct {
	fs   vfs.FS
	dir  string
	opt  StoreOptions
	lock io.Closer
	// cleaned is what Open has found that nobody had finished, broken what was not
	// what had been written.
	cleaned []string
	broken  []error

	mu struct {
		sync.Mutex
		used    int64
		done    map[ID]Summary
		writing map[ID]int64 // bytes reserved
		// newest is the newest attempt of each producer, by ID.line.
		newest map[ID]flow.Attempt
	}
}

// Open opens the store in a directory, which is made if there is none. It reads the
// index of each output. What was never finished is removed, and so is what cannot be
// read: see Cleaned and Broken.
func Open(fs vfs.FS, dir string, opt StoreOptions) (*Store, error) {
	s := &Store{fs: fs, dir: dir, opt: opt}
	s.mu.done, s.mu.writing, s.mu.newest = map[ID]Summary{}, map[ID]int64{}, map[ID]flow.Attempt{}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("shuffle/spill: making the directory %s: %w", dir, err)
	}
	var err error
	if s.lock, err = fs.Lock(fs.PathJoin(dir, lockFile)); err != nil {
		return nil, fmt.Errorf("shuffle/spill: the directory %s is another's: give each agent its own: %w", dir, err)
	}
	if err := s.scan(); err != nil {
		return nil, errors.Join(err, s.lock.Close())
	}
	return s, nil
}

const lockFile = "LOCK"

// Close gives the directory free. Outputs stay.
func (s *Store) Close() error { return s.lock.Close() }

// Cleaned are the files that Open has removed since nobody had finished them.
func (s *Store) Cleaned() []string { return s.cleaned }

// Broken says of each output that Open has removed what was wrong with it.
func (s *Store) Broken() []error { return s.broken }

// scan finds what there is.
func (s *Store) scan() error {
	jobs, err := s.fs.List(s.dir)
	if err != nil {
		return fmt.Errorf("shuffle/spill: listing %s: %w", s.dir, err)
	}
	slices.Sort(jobs)
	for _, job := range jobs {
		if job == lockFile {
			continue
		}
		dir := s.fs.PathJoin(s.dir, job)
		if info, err := s.fs.Stat(dir); err != nil {
			return fmt.Errorf("shuffle/spill: %s: %w", dir, err)
		} else if !info.IsDir() {
			continue // not ours
		}
		files, err := s.fs.List(dir)
		if err != nil {
			return fmt.Errorf("shuffle/spill: listing %s: %w", dir, err)
		}
		slices.Sort(files)
		kept := 0
		for _, name := range files {
			ok, err := s.found(s.fs.PathJoin(dir, name))
			if err != nil {
				return err
			}
			if ok {
				kept++
			}
		}
		if kept == 0 {
			_ = s.fs.Remove(dir) // It may have something in it that is not ours.
		}
	}
	// Older attempts than the newest are of no use.
	void := s.takeLocked(func(id ID) bool { return id.Attempt < s.mu.newest[id.line()] })
	for _, id := range void {
		s.cleaned = append(s.cleaned, s.path(id))
	}
	return s.remove(void)
}

// found enters a file, or removes it.
func (s *Store) found(path string) (kept bool, err error) {
	switch {
	case hasSuffix(path, unfinished):
		s.cleaned = append(s.cleaned, path)
	case hasSuffix(path, suffix):
		f, x, err := openContents(s.fs, path)
		if err == nil {
			err = f.Close()
		}
		if err == nil && path == s.path(x.head.ID) {
			s.enterLocked(x.summary())
			return true, nil
		}
		if err == nil {
			err = fmt.Errorf("%w: it is of %s", ErrCorrupt, x.head.ID)
		}
		s.broken = append(s.broken, fmt.Errorf("shuffle/spill: %s: %w", path, err))
	default:
		return true, nil // not ours
	}
	if err := s.fs.Remove(path); err != nil {
		return false, fmt.Errorf("shuffle/spill: removing %s: %w", path, err)
	}
	return false, nil
}

func hasSuffix(path, suffix string) bool {
	return len(path) > len(suffix) && path[len(path)-len(suffix):] == suffix
}

func (s *Store) enterLocked(sum Summary) {
	s.mu.done[sum.ID] = sum
	s.mu.used += sum.FileBytes
	s.mu.newest[sum.ID.line()] = max(s.mu.newest[sum.ID.line()], sum.ID.Attempt)
}

func (s *Store) path(id ID) string {
	return s.fs.PathJoin(s.dir, escape(string(id.Job)), id.file())
}

// Begin admits an output. It makes older attempts of the same producer void.
func (s *Store) Begin(id ID) (string, error) {
	if err := id.check(); err != nil {
		return "", err
	}
	path := s.path(id)
	dir := s.fs.PathDir(path)
	s.mu.Lock()
	_, writing := s.mu.writing[id]
	_, done := s.mu.done[id]
	newest := s.mu.newest[id.line()]
	if !writing && !done && newest <= id.Attempt {
		s.mu.newest[id.line()] = id.Attempt
		s.mu.writing[id] = 0
	}
	s.mu.Unlock()
	switch {
	case newest > id.Attempt:
		return "", fmt.Errorf("%w: %s: there is attempt %d", ErrStale, id, newest)
	case writing || done:
		return "", fmt.Errorf("shuffle/spill: %s: it is written already, and an attempt writes once", id)
	}
	err := s.fs.MkdirAll(dir, 0o700)
	if err == nil {
		err = syncDir(s.fs, s.dir)
	}
	if err != nil {
		s.Drop(id)
		return "", fmt.Errorf("shuffle/spill: making %s: %w", dir, err)
	}
	return path, nil
}

// Fence makes attempts of a producer older than id's void.
func (s *Store) Fence(id ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.newest[id.line()] = max(s.mu.newest[id.line()], id.Attempt)
}

// Reserve admits so many bytes more for an output that is being written.
func (s *Store) Reserve(id ID, bytes int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.currentLocked(id); err != nil {
		return err
	}
	if s.opt.Budget > 0 && s.mu.used+bytes > s.opt.Budget {
		return fmt.Errorf("%w: %s wants %d bytes more, and %d of %d are taken: give the agent a larger budget, or end jobs that have outputs here",
			ErrBudget, id, bytes, s.mu.used, s.opt.Budget)
	}
	s.mu.used += bytes
	s.mu.writing[id] += bytes
	return nil
}

func (s *Store) currentLocked(id ID) error {
	if _, ok := s.mu.writing[id]; !ok {
		return fmt.Errorf("%w: %s: it was not begun, or its job was removed", ErrStale, id)
	}
	if newest := s.mu.newest[id.line()]; newest > id.Attempt {
		return fmt.Errorf("%w: %s: there is attempt %d", ErrStale, id, newest)
	}
	return nil
}

// Done enters a finished output and removes older ones of the same producer. One that
// does not count any more is removed itself.
func (s *Store) Done(sum Summary) error {
	s.mu.Lock()
	err := s.currentLocked(sum.ID)
	s.dropLocked(sum.ID)
	void := []ID{sum.ID}
	if err == nil {
		s.enterLocked(sum)
		void = s.takeLocked(func(id ID) bool { return id.line() == sum.ID.line() && id.Attempt < sum.ID.Attempt })
	}
	s.mu.Unlock()
	return errors.Join(err, s.remove(void))
}

// DoneFile is Done for an output that another process has written: its summary is read
// from the file. A repeat does nothing.
func (s *Store) DoneFile(id ID) error {
	if err := id.check(); err != nil {
		return err
	}
	s.mu.Lock()
	_, done := s.mu.done[id]
	s.mu.Unlock()
	if done {
		return nil
	}
	f, x, err := openContents(s.fs, s.path(id))
	if err == nil {
		if err = f.Close(); err == nil && x.head.ID != id {
			err = fmt.Errorf("%w: it is of %s", ErrCorrupt, x.head.ID)
		}
	}
	if err != nil {
		s.Drop(id)
		return errors.Join(fmt.Errorf("shuffle/spill: %s: what was written: %w", id, err), s.remove([]ID{id}))
	}
	return s.Done(x.summary())
}

// Drop forgets an output that was given up.
func (s *Store) Drop(id ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropLocked(id)
}

func (s *Store) dropLocked(id ID) {
	s.mu.used -= s.mu.writing[id]
	delete(s.mu.writing, id)
}

// Used is the number of bytes on disk, with those that are reserved.
func (s *Store) Used() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.used
}

// Outputs are the finished outputs of a job, or of all jobs where job is "", in order.
func (s *Store) Outputs(job flow.JobID) (out []Summary) {
	s.mu.Lock()
	for id, sum := range s.mu.done {
		if job == "" || id.Job == job {
			out = append(out, sum)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(out, func(a, b Summary) int { return compare(a.ID, b.ID) })
	return out
}

func compare(a, b ID) int {
	return cmp.Or(cmp.Compare(a.Job, b.Job), cmp.Compare(a.Exchange.To, b.Exchange.To), cmp.Compare(a.Exchange.Port, b.Exchange.Port),
		cmp.Compare(a.Exchange.Index, b.Exchange.Index), cmp.Compare(a.Producer, b.Producer), cmp.Compare(a.Attempt, b.Attempt))
}

// Remove removes an output, or gives up one that is being written. It makes its
// attempt void.
func (s *Store) Remove(id ID) error {
	s.mu.Lock()
	s.mu.newest[id.line()] = max(s.mu.newest[id.line()], id.Attempt+1)
	s.dropLocked(id)
	void := s.takeLocked(func(other ID) bool { return other == id })
	s.mu.Unlock()
	return s.remove(void)
}

// RemoveJob removes all outputs of a job. What is being written is not taken any more.
func (s *Store) RemoveJob(job flow.JobID) error {
	s.mu.Lock()
	for id := range s.mu.writing {
		if id.Job == job {
			s.dropLocked(id)
		}
	}
	void := s.takeLocked(func(id ID) bool { return id.Job == job })
	for line := range s.mu.newest {
		if line.Job == job {
			delete(s.mu.newest, line)
		}
	}
	s.mu.Unlock()
	err := s.remove(void)
	if err == nil {
		// A writer that has not noticed may still have a file in it.
		_ = s.fs.Remove(s.fs.PathJoin(s.dir, escape(string(job))))
	}
	return err
}

// takeLocked forgets finished outputs, whose files are then to be removed without the
// lock. None of them can be begun again meanwhile but by a job that was removed.
func (s *Store) takeLocked(which func(ID) bool) (ids []ID) {
	for id, sum := range s.mu.done {
		if which(id) {
			ids = append(ids, id)
			s.mu.used -= sum.FileBytes
			delete(s.mu.done, id)
		}
	}
	return ids
}

// remove removes files. Whoever reads one goes on: it is there until it is closed.
func (s *Store) remove(ids []ID) error {
	var errs []error
	for _, id := range ids {
		if err := s.fs.Remove(s.path(id)); err != nil && !isNotExist(err) {
			errs = append(errs, fmt.Errorf("shuffle/spill: removing the output of %s: %w", id, err))
		}
	}
	return errors.Join(errs...)
}
