package store

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// dirFile is a file that is written aside.
type dirFile struct {
	vfs.File
	d      *Dir
	path   string
	closed bool
	gone   bool
}

func (d *Dir) create() (*dirFile, error) {
	dir := d.fs.PathJoin(d.root, temporary)
	path := d.fs.PathJoin(dir, d.own+strconv.FormatUint(d.next.Add(1), 10))
	if err := d.sync.makeDir(dir); err != nil {
		return nil, err
	}
	f, err := d.fs.Create(path, vfs.WriteCategoryUnspecified)
	if errors.Is(err, os.ErrNotExist) {
		// Somebody has removed the whole directory: begin again.
		d.sync.forget()
		if err := d.sync.makeDir(dir); err != nil {
			return nil, err
		}
		f, err = d.fs.Create(path, vfs.WriteCategoryUnspecified)
	}
	if err != nil {
		return nil, err
	}
	return &dirFile{File: f, d: d, path: path}, nil
}

func (w *dirFile) Write(p []byte) (int, error) { return w.File.Write(unshared(w.d.fs, p)) }

// finish syncs and closes the file.
func (w *dirFile) finish() error {
	err := w.Sync()
	w.closed = true
	return errors.Join(err, w.Close())
}

// publish moves the file to its key.
func (w *dirFile) publish(key string) error {
	if err := w.finish(); err != nil {
		return err
	}
	target := w.d.path(key)
	if err := w.d.inDir(target, func() error { return w.d.fs.Rename(w.path, target) }); err != nil {
		return err
	}
	w.gone = true
	return w.d.sync.of(w.d.fs.PathDir(target))
}

// drop removes the file where it was not moved.
func (w *dirFile) drop() {
	if !w.closed {
		w.closed = true
		_ = w.Close() // Nobody wants what is in it.
	}
	if !w.gone {
		w.gone = true
		_ = w.d.fs.Remove(w.path) // The next process that opens the directory tries again.
	}
}

// ownPrefix begins with host and process, so that others can see whether the one who
// made a file is gone.
func ownPrefix() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s,%d,%d-", keyName(host), os.Getpid(), instances.add())
}

// instances numbers the Dirs of this process.
var instances counter

type counter struct {
	sync.Mutex
	n int
}

func (c *counter) add() int {
	c.Lock()
	defer c.Unlock()
	c.n++
	return c.n
}

// removeLeftovers removes temporary files of processes of this host that are gone.
// Those of other hosts stay: nobody here can tell.
func (d *Dir) removeLeftovers() {
	dir := d.fs.PathJoin(d.root, temporary)
	names, err := d.fs.List(dir)
	if err != nil {
		return
	}
	host, _, _ := strings.Cut(d.own, ",")
	for _, name := range names {
		h, rest, ok := strings.Cut(name, ",")
		pid, _, _ := strings.Cut(rest, ",")
		if n, err := strconv.Atoi(pid); ok && h == host && err == nil && n != os.Getpid() && !alive(n) {
			_ = d.fs.Remove(d.fs.PathJoin(dir, name)) // It costs room and nothing else.
		}
	}
}

// alive reports whether a process of this host lives.
func alive(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	err = p.Signal(syscall.Signal(0))
	return err == nil || errors.Is(err, os.ErrPermission)
}

// dirSyncs makes folders and syncs them. Calls that wait for a sync of one folder
// share the next one: what they have changed was changed before it begins.
type dirSyncs struct {
	fs vfs.FS
	mu struct {
		sync.Mutex
		made  map[string]bool // folders that are there, and safe
		queue map[string]*dirSync
	}
}

type dirSync struct {
	running sync.Mutex // held by the one that syncs
	next    *syncing   // those that wait; guarded by dirSyncs.mu
}

type syncing struct {
	done chan struct{}
	err  error
}

// of returns when a sync of the folder that began after the call has ended.
func (s *dirSyncs) of(dir string) error {
	s.mu.Lock()
	if s.mu.queue == nil {
		s.mu.queue = map[string]*dirSync{}
	}
	q := s.mu.queue[dir]
	if q == nil {
		q = &dirSync{}
		s.mu.queue[dir] = q
	}
	if n := q.next; n != nil {
		s.mu.Unlock()
		<-n.done
		return n.err
	}
	n := &syncing{done: make(chan struct{})}
	q.next = n
	s.mu.Unlock()
	q.running.Lock()
	defer q.running.Unlock()
	s.mu.Lock()
	q.next = nil // Who comes now is too late for this one.
	s.mu.Unlock()
	n.err = s.syncNow(dir)
	close(n.done)
	return n.err
}

func (s *dirSyncs) syncNow(dir string) error {
	f, err := s.fs.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	err = f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("sync folder %s: %w", dir, err)
	}
	return nil
}

// makeDir makes a folder and those above it, each of them safe.
func (s *dirSyncs) makeDir(dir string) error {
	s.mu.Lock()
	made := s.mu.made[dir]
	s.mu.Unlock()
	if made {
		return nil
	}
	parent := s.fs.PathDir(dir)
	if _, err := s.fs.Stat(dir); errors.Is(err, os.ErrNotExist) && parent != dir {
		if err := s.makeDir(parent); err != nil {
			return err
		}
	}
	if err := s.fs.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	// Also where it was there: whoever made it may not have come to the sync.
	if parent != dir {
		if err := s.of(parent); err != nil {
			return err
		}
	}
	s.have(dir)
	return nil
}

// have notes that a folder is there.
func (s *dirSyncs) have(dir string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.made == nil {
		s.mu.made = map[string]bool{}
	}
	s.mu.made[dir] = true
}

// forget makes makeDir look again.
func (s *dirSyncs) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.mu.made)
	// Locks of folders that are gone: nobody waits for one that is not in a map.
	for dir, q := range s.mu.queue {
		if q.next == nil && q.running.TryLock() {
			q.running.Unlock()
			delete(s.mu.queue, dir)
		}
	}
}
