package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

var (
	// ErrNotFound is for programs that are not here; errors.Is finds it.
	ErrNotFound = errors.New("not found")
	// ErrInUse is for programs that are pinned.
	ErrInUse = errors.New("in use")
	// ErrTooLarge is for programs above the limit.
	ErrTooLarge = errors.New("too large")
	// ErrNoRoom is for programs that neither the budget nor the disk has room for.
	ErrNoRoom = errors.New("no room")
	// ErrCorrupt is for bytes that are not those of the hash.
	ErrCorrupt = errors.New("corrupt")
	// ErrClosed is for all that is asked after Close.
	ErrClosed = errors.New("artifact: closed")
)

// Options of a Store.
type Options struct {
	// Dir is the directory, of this Store alone.
	Dir string
	// Budget is how much the programs may take, in bytes. Default: 4 GiB.
	Budget int64
	// MaxSize is that of one program which is fetched, in bytes. Default: 1 GiB.
	MaxSize int64
	// Keep is how long a program is kept after it was last used, whatever the budget.
	// Default: 10 minutes.
	Keep time.Duration
	// Parallel is how many are fetched at a time. Default: 2.
	Parallel int
	// FS is where Dir is. Default: the system's.
	FS vfs.FS

	testing struct {
		now func() time.Time
	}
}

// EnsureDefaults fills what is not set.
func (o *Options) EnsureDefaults() {
	if o.Budget == 0 {
		o.Budget = 4 << 30
	}
	if o.MaxSize == 0 {
		o.MaxSize = 1 << 30
	}
	if o.Keep == 0 {
		o.Keep = 10 * time.Minute
	}
	if o.Parallel == 0 {
		o.Parallel = 2
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.testing.now == nil {
		o.testing.now = time.Now
	}
}

// Validate refuses what cannot work.
func (o *Options) Validate() error {
	switch {
	case o.Dir == "":
		return errors.New("artifact: no directory given")
	case o.Budget < 0 || o.MaxSize < 0 || o.Keep < 0 || o.Parallel < 0:
		return fmt.Errorf("artifact: budget %d, largest program %d, time to keep %v and parallel fetches %d must not be below 0",
			o.Budget, o.MaxSize, o.Keep, o.Parallel)
	}
	return nil
}

// Info is what is known of a stored program.
type Info struct {
	Hash   Hash
	Size   int64
	Used   time.Time // last
	Pinned bool
	Wanted bool
}

// Store holds programs.
type Store struct {
	o      Options
	slots  chan struct{} // of fetches
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	// files is held while a name appears or goes, so that a program which is removed and
	// stored again at one time is there afterwards. It is taken before mu.
	files sync.Mutex
	mu    struct {
		sync.Mutex
		entries map[Hash]*entry
		total   int64        // of entries
		coming  int64        // of what is about to become one
		pins    map[Hash]int // by hash: a program that is on its way can be pinned too
		wanted  map[Hash]bool
		flights map[flightKey]*flight
		temp    uint64
		closed  bool
	}
}

type entry struct {
	size     int64
	used     time.Time
	verified bool // in this process
}

const tempPrefix = "tmp-"

// Open reads the directory, which it makes if there is none, and removes what a process that
// ended early has left. It starts no goroutine.
func Open(o Options) (*Store, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o.EnsureDefaults()
	s := &Store{o: o, slots: make(chan struct{}, o.Parallel)}
	s.mu.entries, s.mu.pins = map[Hash]*entry{}, map[Hash]int{}
	s.mu.wanted, s.mu.flights = map[Hash]bool{}, map[flightKey]*flight{}
	if err := o.FS.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("artifact: make the directory: %w", err)
	}
	names, err := o.FS.List(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("artifact: list %s: %w", o.Dir, err)
	}
	for _, name := range names {
		path := filepath.Join(o.Dir, name)
		if strings.HasPrefix(name, tempPrefix) {
			if err := o.FS.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
				return nil, fmt.Errorf("artifact: remove what an earlier process left: %w", err)
			}
			continue
		}
		h, err := parseName(name)
		if err != nil {
			continue // not ours; nothing looks at it
		}
		info, err := o.FS.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("artifact: look at %s: %w", path, err)
		}
		s.mu.entries[h] = &entry{size: info.Size(), used: info.ModTime()}
		s.mu.total += info.Size()
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Close ends fetches and waits for them. Programs that are pinned stay where they are.
func (s *Store) Close() error {
	s.mu.Lock()
	s.mu.closed = true
	s.mu.Unlock()
	s.cancel()
	s.wg.Wait()
	return nil
}

func (s *Store) path(h Hash) string { return filepath.Join(s.o.Dir, h.name()) }

// Has reports whether the program is here, as far as its name tells.
func (s *Store) Has(h Hash) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.entries[h] != nil
}

// List is all programs, by hash.
func (s *Store) List() []Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	infos := make([]Info, 0, len(s.mu.entries))
	for h, e := range s.mu.entries {
		infos = append(infos, Info{Hash: h, Size: e.size, Used: e.used, Pinned: s.mu.pins[h] > 0, Wanted: s.mu.wanted[h]})
	}
	slices.SortFunc(infos, func(a, b Info) int { return slices.Compare(a.Hash[:], b.Hash[:]) })
	return infos
}

// Get opens the program's bytes, so that a Store is a Source for others. Who reads them
// checks them.
func (s *Store) Get(_ context.Context, h Hash) (io.ReadCloser, error) {
	s.mu.Lock()
	e := s.mu.entries[h]
	if e != nil {
		e.used = s.o.testing.now()
	}
	s.mu.Unlock()
	if e == nil {
		return nil, fmt.Errorf("artifact: %v: %w", h, ErrNotFound)
	}
	f, err := s.o.FS.Open(s.path(h))
	if errors.Is(err, os.ErrNotExist) { // collected meanwhile
		return nil, fmt.Errorf("artifact: %v: %w", h, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("artifact: open %v: %w", h, err)
	}
	return f, nil
}

// Want says which programs jobs name: they are not collected. It replaces what was said before.
func (s *Store) Want(hashes []Hash) {
	wanted := make(map[Hash]bool, len(hashes))
	for _, h := range hashes {
		wanted[h] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.wanted = wanted
}
