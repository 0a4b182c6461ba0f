package executor

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

	"github.com/weirflow/weir/api"
)

// ErrClosed is for what is asked after Close.
var ErrClosed = errors.New("executor: closed")

// maxEnded bounds the allocations that have ended and are remembered until the leader knows.
const maxEnded = 1024

// Manager runs the executors of an agent.
type Manager struct {
	dirs    sync.Mutex // of who makes a directory in a job's, and who removes an empty one
	o       Options
	started time.Time
	lock    io.Closer
	spawner *spawner
	cgroups *cgroups // nil: there are none
	wg      sync.WaitGroup

	mu struct {
		sync.Mutex
		allocs map[api.AllocID]*alloc
		ended  []api.AllocID    // those of allocs that have ended, in order
		kept   map[string]*kept // by job
		closed bool
	}
}

// New takes the directory, and ends and removes what an agent that was killed has left in it:
// its allocations are in Statuses, as lost. It starts a goroutine, which ends with
// Close.
func New(o Options) (*Manager, error) {
	if err := errors.Join(o.Validate(), o.checkPlaces()); err != nil {
		return nil, err
	}
	o.EnsureDefaults()
	m := &Manager{o: o, started: time.Now()}
	m.mu.allocs, m.mu.kept = map[api.AllocID]*alloc{}, map[string]*kept{}
	if err := os.MkdirAll(o.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("executor: make the directory: %w", err)
	}
	var err error
	if m.lock, err = vfs.Default.Lock(filepath.Join(o.Dir, "lock")); err != nil {
		return nil, fmt.Errorf("executor: %s is another agent's: %w", o.Dir, err)
	}
	if err := m.takeOver(); err != nil {
		return nil, errors.Join(err, m.lock.Close())
	}
	if err := m.findCgroups(); err != nil {
		o.Log.Info("memory and CPU of executors are limited by the Go runtime alone", "reason", err)
	}
	m.spawner = newSpawner()
	return m, nil
}

// findCgroups looks whether there are any, and says what they cannot do.
func (m *Manager) findCgroups() (err error) {
	if m.o.Cgroup == "none" {
		return errors.New("cgroups are off")
	}
	if err := checkCgroup2(m.o.Cgroup); err != nil {
		return err
	}
	if m.cgroups, err = openCgroups(m.o.Cgroup, m.o.Dir); err != nil {
		return err
	}
	if !m.cgroups.memory || !m.cgroups.cpu {
		return fmt.Errorf("below %s, memory can be limited: %v, CPU: %v", m.o.Cgroup, m.cgroups.memory, m.cgroups.cpu)
	}
	return nil
}

// takeOver clears the directory of what was left.
func (m *Manager) takeOver() error {
	local := m.localRoot()
	jobs, err := os.ReadDir(local)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("executor: look for what is left: %w", err)
	}
	for _, job := range jobs {
		allocs, err := os.ReadDir(filepath.Join(local, job.Name()))
		if err != nil {
			continue // no directory: it goes with the rest
		}
		for _, a := range allocs {
			m.mu.allocs[api.AllocID(a.Name())] = lostAlloc(m, api.AllocID(a.Name()), "its agent was killed")
			m.mu.ended = append(m.mu.ended, api.AllocID(a.Name()))
		}
	}
	if n := endProcesses(local); n > 0 {
		m.o.Log.Warn("ended processes that an earlier agent has left", "processes", n)
	}
	if err := os.RemoveAll(local); err != nil {
		return fmt.Errorf("executor: remove what is left of executors: %w", err)
	}
	if err := os.MkdirAll(local, 0o750); err != nil {
		return fmt.Errorf("executor: make the directory of executors: %w", err)
	}
	return logsBudget(m.logRoot(), m.o.LogBudget, func(string) bool { return false })
}

func (m *Manager) localRoot() string { return filepath.Join(m.o.Dir, "local") }
func (m *Manager) logRoot() string   { return filepath.Join(m.o.Dir, "logs") }

func (m *Manager) localDir(a api.Alloc) string {
	return filepath.Join(m.localRoot(), a.Job, string(a.ID))
}
func (m *Manager) logDir(id api.AllocID) string { return filepath.Join(m.logRoot(), string(id)) }

// now is the clock of lives. It never goes back.
func (m *Manager) now() time.Duration { return time.Since(m.started) }

// Apply takes all allocations that are wanted of this agent: starts what is new, tells
// executors what is new for them, stops what is not among them. It returns at once;
// what becomes of each is in its status. An allocation that has ended is not started again, one
// that is to be stopped and is not here is told as lost.
func (m *Manager) Apply(wanted []api.Assignment) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.closed {
		return ErrClosed
	}
	seen := make(map[api.AllocID]bool, len(wanted))
	live := len(m.mu.allocs) - len(m.mu.ended)
	for _, a := range wanted {
		id := a.Alloc.ID
		if seen[id] {
			continue
		}
		seen[id] = true
		switch x := m.mu.allocs[id]; {
		case x != nil:
			x.post(func(b *mail) { b.want = &a })
		case a.Alloc.Stop:
			m.lostLocked(id, "it does not run on this agent")
		case live >= m.o.MaxExecutors:
			m.lostLocked(id, fmt.Sprintf("this agent has %d executors already, as many as it may", live))
		default:
			live++
			m.startLocked(a)
		}
	}
	for id, x := range m.mu.allocs {
		if !seen[id] {
			x.post(func(b *mail) { b.stop = true })
		}
	}
	return nil
}

// startLocked begins a life.
func (m *Manager) startLocked(a api.Assignment) {
	x := newAlloc(m, a)
	m.mu.allocs[a.Alloc.ID] = x
	m.wg.Go(x.run)
}

// lostLocked notes an allocation that has no life here, and tells of it.
func (m *Manager) lostLocked(id api.AllocID, why string) {
	x := lostAlloc(m, id, why)
	m.mu.allocs[id] = x
	m.endedLocked(id)
	status := *x.status.Load()
	m.wg.Go(func() { m.o.Report(status) }) // not under the lock
}

// endedLocked notes that an allocation has ended, and forgets the oldest of too many.
func (m *Manager) endedLocked(id api.AllocID) {
	if m.mu.ended = append(m.mu.ended, id); len(m.mu.ended) > maxEnded {
		delete(m.mu.allocs, m.mu.ended[0])
		m.mu.ended = slices.Delete(m.mu.ended, 0, 1)
	}
}

// Ask hands a request to an executor. Its answer comes by Options.Answer; a repeat does no harm.
func (m *Manager) Ask(r api.Request) {
	m.mu.Lock()
	x := m.mu.allocs[r.Alloc]
	m.mu.Unlock()
	refuse := fmt.Sprintf("the executor %.80q does not run on this agent", r.Alloc)
	if x != nil && x.post(func(b *mail) {
		refuse = ""
		if slices.Contains(b.asks, r) {
			return
		}
		if len(b.asks) == maxRequests {
			refuse = fmt.Sprintf("%d requests wait already", maxRequests)
			return
		}
		b.asks = append(b.asks, r)
	}) && refuse == "" {
		return
	}
	m.o.Answer(api.Answer{ID: r.ID, Error: refuse})
}

// Statuses are those of all executors, and of those that have ended of which nobody has said yet
// that it is Known; by allocation.
func (m *Manager) Statuses() []api.AllocStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]api.AllocStatus, 0, len(m.mu.allocs))
	for _, x := range m.mu.allocs {
		all = append(all, *x.status.Load())
	}
	slices.SortFunc(all, func(a, b api.AllocStatus) int { return strings.Compare(string(a.Alloc), string(b.Alloc)) })
	return all
}

// Known forgets allocations that have ended: the leader knows.
func (m *Manager) Known(ids []api.AllocID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range ids {
		if i := slices.Index(m.mu.ended, id); i >= 0 {
			m.mu.ended = slices.Delete(m.mu.ended, i, i+1)
			delete(m.mu.allocs, id)
		}
	}
}

// Kill ends all executors at once, without grace, as an agent must whose lease is over. It
// returns when no process lives any more, or with ctx. What is applied later is started.
func (m *Manager) Kill(ctx context.Context, why string) error {
	m.mu.Lock()
	all := make([]*alloc, 0, len(m.mu.allocs))
	for _, x := range m.mu.allocs {
		x.post(func(b *mail) { b.kill = why })
		all = append(all, x)
	}
	m.mu.Unlock()
	for _, x := range all {
		select {
		case <-x.gone:
		case <-ctx.Done():
			return fmt.Errorf("executor: wait for %v to die: %w", x.id, context.Cause(ctx))
		}
	}
	return nil
}

// closePatience is how long Close waits for processes that were killed. The kernel cannot end one
// that waits for a disk which has gone.
const closePatience = 30 * time.Second

// Close kills what lives and waits for it; an error says what does not die. Logs stay. Who wants executors to end in order
// applies an empty set before, and waits for their statuses.
func (m *Manager) Close() error {
	m.mu.Lock()
	was := m.mu.closed
	m.mu.closed = true
	for _, k := range m.mu.kept {
		k.give()
	}
	m.mu.Unlock()
	if was {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	if err := m.Kill(ctx, "the agent ends"); err != nil {
		return fmt.Errorf("executor: close: %w", err)
	}
	m.wg.Wait()
	m.spawner.close()
	m.cgroups.close()
	if err := m.lock.Close(); err != nil {
		return fmt.Errorf("executor: give the directory back: %w", err)
	}
	return nil
}
