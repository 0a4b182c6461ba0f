package lsm

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/state"
)

var (
	// ErrClosed is wrapped by what is called after Close, or cut off by it.
	ErrClosed = errors.New("state/lsm: the store is closed")

	errAbandoned = errors.New("state/lsm: Pebble has given up")
	errTwice     = errors.New("an entry is there twice")
)

// Store is a state.Store in Pebble. It belongs to the goroutine of its task.
type Store struct {
	env    *Env
	opts   Options
	fs     vfs.FS
	linked bool // fs is the operating system's

	dirDB, dirIn, dirOut, dirFrom string

	db          *pebble.DB // nil until the first Restore or Register
	dbOpts      *pebble.Options
	tableNumber atomic.Uint64

	states []*held
	nextID uint16
	sweeps state.Sweepers

	jobs      []*job // cuts that have not settled, the earliest first: at most two
	filling   *job   // the last of jobs, while it is drained
	part      *part
	drainAt   int     // of filling.paged
	pace      pace    // of draining
	entrySize float64 // bytes of an entry in a part, on average
	snap      *snapshot
	snapshots uint64
	counted   int64 // of env.tables

	work      chan *job
	compacted chan struct{} // 1: a compaction has ended
	closing   chan struct{}
	closed    bool
	worker    sync.WaitGroup
	spare     chan *part
	notify    atomic.Pointer[func()]
	abandoned atomic.Bool
	givenUp   chan struct{} // closed when abandoned
	bad       atomic.Bool
	mu        struct {
		sync.Mutex
		err error
	}
}

// held is one state: registered, or carried along.
type held struct {
	id     uint16
	stored state.Stored
	disk   *disk
	paged  state.Paged // nil while it is not registered
	count  int64       // entries, while it is not registered
	from   []int       // by key group: number of the snapshot that it was restored from, and one
}

func (h *held) entries() int64 {
	if h.paged != nil {
		return h.paged.Entries()
	}
	return h.count
}

var _ state.Store = (*Store)(nil)

// Open makes an empty store. It removes what an earlier store has left in the
// directory, and starts a goroutine, which Close ends.
func (e *Env) Open(o Options) (*Store, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	s := &Store{
		env: e, opts: o, fs: o.FS, entrySize: 48,
		work:      make(chan *job, 4),
		compacted: make(chan struct{}, 1),
		closing:   make(chan struct{}),
		givenUp:   make(chan struct{}),
		spare:     make(chan *part, 2),
	}
	if s.fs == nil {
		s.fs, s.linked = vfs.Default, true
	}
	s.fs = scratch{s.fs}
	s.dirDB, s.dirIn = s.fs.PathJoin(o.Dir, "db"), s.fs.PathJoin(o.Dir, "in")
	s.dirOut, s.dirFrom = s.fs.PathJoin(o.Dir, "out"), s.fs.PathJoin(o.Dir, "from")
	for _, d := range s.dirs() {
		if err := errors.Join(s.fs.RemoveAll(d), s.fs.MkdirAll(d, 0o755)); err != nil {
			return nil, fmt.Errorf("state/lsm: making room in %s: %w", o.Dir, err)
		}
	}
	s.dbOpts = s.pebbleOptions()
	e.stores.Add(1)
	s.worker.Go(s.run)
	return s, nil
}

func (s *Store) dirs() []string { return []string{s.dirDB, s.dirIn, s.dirOut, s.dirFrom} }

// open opens the database if it is not open.
func (s *Store) open() error {
	if s.db != nil {
		return nil
	}
	return s.guarded(func() (err error) {
		s.db, err = pebble.Open(s.dirDB, s.dbOpts)
		return err
	})
}

// guarded calls f on a goroutine of its own, which Pebble can end by its Fatalf, and
// turns a panic of Pebble over the files it was given into an error. If Pebble gives up
// meanwhile the goroutine may stay for good: nothing else can be done with a lock that
// its holder will not release.
func (s *Store) guarded(f func() error) error {
	if s.abandoned.Load() {
		return errAbandoned
	}
	err := errAbandoned
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("%w: %v", state.ErrCorrupt, r)
			}
		}()
		err = f()
	}()
	select {
	case <-done:
		return err
	case <-s.givenUp:
		// One of Pebble's goroutines has ended, perhaps with a lock that f waits for.
		return errAbandoned
	}
}

// abandon gives up Pebble, on one of its goroutines. It does not return.
func (s *Store) abandon() {
	if !s.abandoned.Swap(true) {
		close(s.givenUp)
	}
	runtime.Goexit()
}

// MaxParallelism is the number of key groups of the job.
func (s *Store) MaxParallelism() int { return s.opts.MaxParallelism }

// KeyGroups is what the store's task owns of them.
func (s *Store) KeyGroups() flow.KeyGroupRange { return s.opts.KeyGroups }

// Register makes a state known. If a snapshot held it with another schema, its
// entries are read and written again; with the same one nothing is read.
func (s *Store) Register(r state.Resident) error {
	if err := s.Err(); err != nil {
		return err
	}
	d := r.Descriptor()
	i := slices.IndexFunc(s.states, func(h *held) bool { return sameState(h.stored.Descriptor, d) })
	if i >= 0 && s.states[i].paged != nil {
		return fmt.Errorf("%w: %s is declared as %s already; give it another name", state.ErrRegistered, d, s.states[i].stored.Descriptor)
	}
	p, ok := r.(state.Paged)
	if !ok {
		return fmt.Errorf("state/lsm: %s cannot be kept on disk; use the memory backend", d)
	}
	err := s.open()
	if err != nil {
		err = s.wrap("opening the database", err)
	} else if i < 0 {
		var h *held
		if h, err = s.hold(state.Stored{Descriptor: d, Schema: r.Schema()}); err == nil {
			s.mount(h, p)
		}
	} else if h := s.states[i]; reflect.DeepEqual(h.stored.Schema, r.Schema()) {
		h.stored.Descriptor = d
		s.mount(h, p)
	} else {
		err = s.rewrite(h, p)
	}
	if err != nil {
		return s.fail(err)
	}
	s.sweeps.Add(r)
	return s.Err()
}

// hold adds a state.
func (s *Store) hold(stored state.Stored) (*held, error) {
	if s.nextID == 1<<16-1 {
		return nil, fmt.Errorf("state/lsm: %s: there are no numbers left for %s, after %d states", s.opts.Dir, stored.Descriptor, s.nextID)
	}
	h := &held{id: s.nextID, stored: stored}
	s.nextID++
	s.states = append(s.states, h)
	return h, nil
}

func (s *Store) mount(h *held, p state.Paged) {
	h.disk = &disk{s: s, id: h.id}
	h.paged, h.from = p, nil
	p.Mount(state.Mount{Disk: h.disk, MaxParallelism: s.opts.MaxParallelism, KeyGroups: s.opts.KeyGroups, Entries: h.count})
}

func sameState(a, b state.Descriptor) bool { return a.Operator == b.Operator && a.Name == b.Name }

// rewrite registers a state whose entries on disk have another schema: they are read
// as they were written, and become changed entries under a new number. The memory
// that it takes is bounded as always.
func (s *Store) rewrite(h *held, p state.Paged) error {
	written, old := h.stored.Schema, h.id
	fresh, err := s.hold(state.Stored{Descriptor: p.Descriptor(), Schema: p.Schema()})
	if err != nil {
		return err
	}
	s.mount(fresh, p)
	l, err := p.Loader(s.opts.MaxParallelism, written)
	if err != nil {
		return err
	}
	from := disk{s: s, id: old}
	var end []byte
	for g := s.opts.KeyGroups.First; g < s.opts.KeyGroups.End; g++ {
		n := 0
		var loading error
		err := scan(s.db, appendPrefix(nil, g, old), &end, nil, func(key, value []byte) bool {
			loading = l.Load(g, key, value)
			if n++; n%256 == 0 && loading == nil {
				loading = s.relieve()
			}
			return loading == nil
		})
		if err := errors.Join(loading, err); err != nil {
			return err
		}
	}
	l.Done()
	s.states = slices.DeleteFunc(s.states, func(o *held) bool { return o == h })
	return from.clear()
}

// clear deletes all entries.
func (d *disk) clear() error {
	b := d.s.db.NewBatch()
	for g := d.s.opts.KeyGroups.First; g < d.s.opts.KeyGroups.End; g++ {
		from := appendPrefix(nil, g, d.id)
		if err := b.DeleteRange(from, appendEnd(nil, from), nil); err != nil {
			return errors.Join(err, b.Close())
		}
	}
	return d.s.guarded(func() error { return errors.Join(b.Commit(pebble.NoSync), d.s.db.Flush()) })
}

// Unclaimed is what was restored and is of no registered state.
func (s *Store) Unclaimed() []state.Descriptor {
	var all []state.Descriptor
	for _, h := range s.states {
		if h.paged == nil {
			all = append(all, h.stored.Descriptor)
		}
	}
	return all
}

// Bytes is the memory that the tables take, with about what their entries point to.
func (s *Store) Bytes() int64 {
	mine, _ := s.count()
	return mine
}

// count brings the environment's books up to date.
func (s *Store) count() (mine, all int64) {
	for _, h := range s.states {
		if h.paged != nil {
			mine += h.paged.Bytes()
		}
	}
	all = s.env.tables.Add(mine - s.counted)
	s.counted = mine
	return mine, all
}

// fail keeps the first error.
func (s *Store) fail(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.err == nil {
		s.mu.err = err
		s.bad.Store(true)
	}
	return err
}

func (s *Store) failed() bool { return s.bad.Load() }

// Err is the first error that the store met.
func (s *Store) Err() error {
	if !s.bad.Load() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.err
}

// Close ends what is under way, and removes the store's files.
func (s *Store) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	_ = s.fail(ErrClosed) // for calls that come later; an earlier error stays
	close(s.closing)
	if s.filling != nil {
		close(s.filling.parts)
	}
	close(s.work)
	s.worker.Wait()
	if s.snap != nil {
		s.snap.Close()
		<-s.snap.over
	}
	for _, h := range s.states {
		if h.disk != nil {
			h.disk.release()
		}
	}
	s.env.tables.Add(-s.counted)
	s.env.stores.Add(-1)
	if s.abandoned.Load() {
		s.env.abandoned.Store(true)
		return nil
	}
	var err error
	if s.db != nil {
		err = s.guarded(s.db.Close)
	}
	for _, d := range s.dirs() {
		err = errors.Join(err, s.fs.RemoveAll(d))
	}
	if err != nil {
		return fmt.Errorf("state/lsm: closing %s: %w", s.opts.Dir, err)
	}
	return nil
}
