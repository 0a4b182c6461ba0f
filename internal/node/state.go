package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/checkpoint/store"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/runtime/worker"
	"github.com/weirflow/weir/scheduler"
	"github.com/weirflow/weir/state"
	"github.com/weirflow/weir/state/memory"
)

// Backend is where the state of running tasks is.
type Backend string

const (
	// LSM keeps it on disk, behind a cache.
	LSM Backend = "lsm"
	// Memory keeps it in memory.
	Memory Backend = "memory"
)

// State says what of a job outlives its process, and where.
type State struct {
	// Location is a directory or a URL; see checkpoint/store.Open. Default: nothing
	// outlives the process.
	Location string
	// From is the location of a savepoint, from which a job starts that has no
	// checkpoint of its own.
	From string
	// Fresh gives up the checkpoints that the job has, and starts it anew.
	Fresh bool
	// AllowDropped goes on without state of which the program has no operator.
	AllowDropped bool
	// Retain is how many checkpoints are kept. Default 3.
	Retain int
	// Backend is where the state of running tasks is. Default LSM where Location is
	// set, otherwise Memory.
	Backend Backend
	// Work is a directory for the working files, which is this process's alone. It is
	// removed with what is in it, at the start and at the end. Default: one that the
	// location and the job determine.
	Work string
	// Memory is how many bytes the backend may use for all tasks. Default 1 GiB. Memory
	// as a backend knows no bound.
	Memory int64
}

func (s *State) durable() bool { return s.Location != "" }

func (s *State) ensureDefaults() {
	if s.Backend == "" {
		s.Backend = Memory
		if s.durable() {
			s.Backend = LSM
		}
	}
	if s.Retain == 0 {
		s.Retain = 3
	}
	if s.Memory == 0 {
		s.Memory = 1 << 30
	}
}

// Validate refuses what makes no sense.
func (s *State) Validate() error {
	switch {
	case s.Backend != "" && s.Backend != LSM && s.Backend != Memory:
		return fmt.Errorf("backend %q: it must be %s or %s", s.Backend, LSM, Memory)
	case s.Retain < 0:
		return errors.New("at least 1 checkpoint must be retained")
	case s.Memory < 0:
		return errors.New("the memory of state must be positive")
	case !s.durable() && (s.From != "" || s.Fresh):
		return errors.New("a savepoint to start from, and a fresh start, are for jobs with a state directory")
	}
	return nil
}

// durable is the opened state of one run.
type durable struct {
	opt  Options
	id   flow.JobID // by which sinks know the job
	job  *store.Job // nil where the job keeps nothing
	from *checkpoint.Manifest
	// staging keeps files of sinks.
	staging func(flow.Attempt) operator.Staging
	backend backend
	work    string // directory of working files; "" until one is wanted
	opened  atomic.Int64
	closers []func() error // in the order of opening
	scratch struct {
		sync.Mutex
		job *store.Job
	}
}

// backend makes the stores of tasks.
type backend interface {
	open(dir string, maxParallelism int, groups flow.KeyGroupRange) (state.Store, error)
	close() error
}

type inMemory struct{}

func (inMemory) open(_ string, maxParallelism int, groups flow.KeyGroupRange) (state.Store, error) {
	return memory.New(memory.Options{MaxParallelism: maxParallelism, KeyGroups: groups}), nil
}
func (inMemory) close() error { return nil }

// part says how a process takes part in a job.
type part uint8

const (
	whole       part = iota // alone
	coordinates             // with the scheduler, beside others
	executes                // without
)

// openState opens what the job has, and makes room for what it will have.
func openState(ctx context.Context, opt Options, as part) (d *durable, err error) {
	if err := opt.State.Validate(); err != nil {
		return nil, err
	}
	d = &durable{opt: opt, id: opt.Job, backend: inMemory{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
			d = nil
		}
	}()
	if opt.State.durable() {
		if err := d.openJob(ctx, as); err != nil {
			return d, err
		}
	} else if as != whole {
		d.staging = func(flow.Attempt) operator.Staging { return apart{} }
	} else {
		d.staging = func(at flow.Attempt) operator.Staging { return &scratch{d: d, at: at} }
	}
	return d, d.openBackend()
}

// openJob opens the job's storage, and takes the job for this process if it runs the
// scheduler. What keeps two coordinators apart is the claim that the scheduler makes: one
// that is cut off from its cluster may hold a lock for as long as it likes.
func (d *durable) openJob(ctx context.Context, as part) error {
	o := d.opt.State
	st, err := store.Open(ctx, o.Location)
	if err != nil {
		return err
	}
	d.closers = append(d.closers, st.Close)
	d.job = store.OpenJob(st, d.opt.Job, store.JobOptions{Retain: o.Retain, Log: d.opt.Log})
	d.closers = append(d.closers, d.job.Close)
	d.staging = worker.Staged(d.job)
	if as == executes {
		return nil
	}
	if as == whole {
		lock, err := d.job.Lock()
		if err != nil {
			return err
		}
		d.closers = append(d.closers, lock.Close)
	}
	word, err := d.job.Identity(ctx)
	if err != nil {
		return err
	}
	d.id = d.opt.Job + "-" + flow.JobID(word)
	if o.From == "" {
		return nil
	}
	m, from, err := store.LoadSavepoint(ctx, o.From)
	if err != nil {
		return err
	}
	d.from = m
	d.closers = append(d.closers, from.Close)
	return nil
}

// workDir makes the empty directory of working files, once.
func (d *durable) workDir() (string, error) {
	if d.work != "" {
		return d.work, nil
	}
	local, isDir := localDir(d.opt.State.Location)
	if d.opt.State.Work == "" && !isDir {
		dir, err := os.MkdirTemp("", "weir-work-")
		if err != nil {
			return "", fmt.Errorf("making a directory for working files: %w", err)
		}
		d.work = dir
	} else {
		d.work = d.opt.State.Work
		if d.work == "" {
			d.work = filepath.Join(local, "local", url.PathEscape(string(d.opt.Job)))
		}
		// What is there is of a process that was killed: the lock says that it is gone, or
		// nobody else ever had the directory.
		if err := os.RemoveAll(d.work); err != nil {
			return "", fmt.Errorf("removing the working files of an earlier run: %w", err)
		}
		if err := os.MkdirAll(d.work, 0o777); err != nil {
			return "", fmt.Errorf("making a directory for working files: %w", err)
		}
	}
	d.closers = append(d.closers, func() error { return os.RemoveAll(d.work) })
	return d.work, nil
}

// localDir is the directory that a location names, if it names one.
func localDir(location string) (string, bool) {
	if rest, ok := strings.CutPrefix(location, "file://"); ok {
		u, err := url.Parse(location)
		if err != nil {
			return rest, rest != ""
		}
		return u.Path, true
	}
	return location, location != "" && !strings.Contains(location, "://")
}

// open makes the empty store of a task. Each has a directory that no other has had:
// files of an attempt that ended may be in use for a moment.
func (d *durable) open(id flow.TaskID, maxParallelism int, groups flow.KeyGroupRange) (state.Store, error) {
	dir := filepath.Join(d.work, fmt.Sprintf("%d-%s-%d", d.opened.Add(1), url.PathEscape(string(id.Chain)), id.Subtask))
	return d.backend.open(dir, maxParallelism, groups)
}

func (d *durable) close() error {
	errs := []error{d.backend.close()}
	for i := len(d.closers) - 1; i >= 0; i-- {
		errs = append(errs, d.closers[i]())
	}
	d.closers = nil
	return errors.Join(errs...)
}

// closeOr closes, and logs what goes wrong with that.
func (d *durable) closeOr(log *slog.Logger) {
	if err := d.close(); err != nil {
		log.Warn("closing the job's state", "err", err)
	}
}

// kept is a job's storage as the scheduler sees it.
type kept struct{ j *store.Job }

func (k kept) Claim(ctx context.Context, at flow.Attempt, fresh bool) (c scheduler.Claimed, err error) {
	if fresh {
		c.Attempt, err = k.j.ClaimFresh(ctx, at)
	} else {
		c.Attempt, c.Manifest, err = k.j.Claim(ctx, at)
	}
	c.Newest = k.j.LastEpoch()
	return c, err
}

// Commit writes the manifest under the name that the job has in its storage; sinks
// know it by another.
func (k kept) Commit(ctx context.Context, m *checkpoint.Manifest) error {
	own := *m
	own.Job = string(k.j.ID())
	return k.j.Commit(ctx, &own)
}

func (k kept) Savepoint(ctx context.Context, dest string, m *checkpoint.Manifest) (err error) {
	if local, ok := localDir(dest); ok {
		if dest, err = filepath.Abs(local); err != nil {
			return err
		}
	}
	st, err := store.Open(ctx, dest)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	own := *m
	own.Job = string(k.j.ID())
	return k.j.Savepoint(ctx, st, "", &own)
}

func (k kept) Collect(ctx context.Context) error {
	_, err := k.j.Collect(ctx)
	return err
}

// release is the engine's version, as the program was built with it.
func release() string {
	const module = "github.com/weirflow/weir"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == module {
			return m.Version
		}
	}
	return "unknown"
}
