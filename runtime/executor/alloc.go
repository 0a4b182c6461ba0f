package executor

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirflow/weir/api"
)

// alloc is the shell of one life: it does what the life says, and tells it what happened. All
// of it belongs to the goroutine in run, but for what says otherwise.
type alloc struct {
	m      *Manager
	id     api.AllocID
	first  api.Assignment
	status atomic.Pointer[api.AllocStatus] // read by anyone
	log    atomic.Pointer[outputLog]       // once there is one; read by anyone
	wake   chan struct{}                   // there is mail
	gone   chan struct{}                   // closed when no process lives

	mu struct {
		sync.Mutex
		mail mail
		over bool // nothing is read any more
	}

	events  chan api.ExecutorEvent
	started chan spawned
	sent    chan bool
	exited  chan exit
	giveUp  context.CancelFunc
	process *process // once it lives
	release func()   // of the program
}

// mail is what others want of a life. Only the newest counts, so that there is never
// much of it.
type mail struct {
	want *api.Assignment
	stop bool
	kill string
	asks []api.Request // at most maxRequests
}

// spawned is what came of a start.
type spawned struct {
	p   *process
	err error
}

func newAlloc(m *Manager, a api.Assignment) *alloc {
	x := &alloc{
		m: m, id: a.Alloc.ID, first: a,
		wake: make(chan struct{}, 1), gone: make(chan struct{}),
		events: make(chan api.ExecutorEvent), started: make(chan spawned, 1),
		sent: make(chan bool, 1), exited: make(chan exit, 1),
	}
	x.status.Store(&api.AllocStatus{Alloc: x.id, State: api.AllocPending})
	return x
}

// lostAlloc is one that has ended before it could begin.
func lostAlloc(m *Manager, id api.AllocID, why string) *alloc {
	x := &alloc{m: m, id: id, gone: make(chan struct{})}
	x.mu.over = true
	close(x.gone)
	x.status.Store(&api.AllocStatus{Alloc: id, State: api.AllocLost, Exit: why})
	return x
}

// post puts mail into the box, from any goroutine. It returns false where nobody reads it.
func (x *alloc) post(put func(*mail)) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.mu.over {
		return false
	}
	put(&x.mu.mail)
	select {
	case x.wake <- struct{}{}:
	default:
	}
	return true
}

// open gives the life its mail.
func (x *alloc) open(l *life) {
	x.mu.Lock()
	m := x.mu.mail
	x.mu.mail = mail{}
	x.mu.Unlock()
	now := x.m.now()
	if m.want != nil {
		l.want(now, *m.want)
	}
	if m.stop {
		l.stop(now, "it is not wanted any more")
	}
	for _, r := range m.asks {
		l.ask(now, r)
	}
	if m.kill != "" {
		l.kill(now, m.kill)
	}
}

// run lives the life and clears up behind it.
func (x *alloc) run() {
	l := newLife(x.m.o.limits(), x.m.now(), x.first)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		x.perform(l.take())
		if l.phase == ended {
			break
		}
		var due <-chan time.Time
		if at, ok := l.next(); ok {
			timer.Reset(max(0, at-x.m.now()))
			due = timer.C
		}
		select {
		case <-x.wake:
			x.open(l)
		case e := <-x.events:
			l.event(x.m.now(), e)
		case s := <-x.started:
			if s.err != nil {
				l.unspawned(x.m.now(), s.err)
				break
			}
			x.process = s.p
			l.spawned(x.m.now(), s.p.PID)
		case ok := <-x.sent:
			l.sent(x.m.now(), ok)
		case e := <-x.exited:
			l.exited(x.m.now(), e)
		case <-due:
			l.tick(x.m.now())
		}
	}
	x.end(l)
}

// end clears up: nothing of this life goes on behind it.
func (x *alloc) end(l *life) {
	x.mu.Lock()
	x.mu.over = true
	x.mu.Unlock()
	x.open(l) // requests get an answer
	x.perform(l.take())
	x.giveUp()
	if x.release != nil {
		x.release()
	}
	if log := x.log.Load(); log != nil {
		if err := log.close(); err != nil {
			x.m.o.Log.Warn("a log was not closed", "alloc", x.id, "error", err)
		}
	}
	dir := ""
	if x.process != nil {
		x.process.closeInput()
		dir = x.process.dir
		if n := endProcesses(dir); n > 0 {
			x.m.o.Log.Warn("ended processes that an executor has left", "alloc", x.id, "processes", n)
		}
		x.process.cgroup.remove()
	}
	x.m.mu.Lock()
	x.m.endedLocked(x.id)
	x.m.mu.Unlock()
	k := x.m.keep(x.first.Alloc.Job, dir)
	close(x.gone)
	if err := logsBudget(x.m.logRoot(), x.m.o.LogBudget, x.m.logLives); err != nil {
		x.m.o.Log.Warn("old logs stay", "error", err)
	}
	x.m.discard(x.first.Alloc.Job, k)
}

// logLives reports whether a log is being written.
func (m *Manager) logLives(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	x := m.mu.allocs[api.AllocID(name)]
	return x != nil && !x.status.Load().State.Ended()
}

// perform does what the life says.
func (x *alloc) perform(todo []action) {
	for _, a := range todo {
		switch a.verb {
		case doSpawn:
			var ctx context.Context
			ctx, x.giveUp = context.WithCancel(context.Background())
			x.m.wg.Go(func() {
				p, err := x.spawn(ctx)
				x.started <- spawned{p, err}
			})
		case doGiveUp:
			x.giveUp()
		case doConfig:
			c := a.config
			c.Dir = x.process.dir
			var err error
			if x.m.o.Configure != nil {
				err = x.m.o.Configure(&c)
			}
			x.line(c, err)
		case doCommand:
			x.line(a.command, nil)
		case doClose:
			x.process.closeInput()
		case doTerm:
			x.process.Term()
		case doKill:
			x.process.kill()
		case doReport:
			x.status.Store(&a.status)
			x.m.o.Report(a.status)
		case doAnswer:
			x.m.o.Answer(a.answer)
		case doNote:
			if log := x.log.Load(); log != nil {
				log.note(a.note)
			}
			x.m.o.Log.Debug("executor "+a.note, "alloc", x.id, "job", x.first.Alloc.Job)
		}
	}
}

// line sends v as a line of JSON. What cannot be sent ends the executor's input, and so
// the executor.
func (x *alloc) line(v any, err error) {
	var b []byte
	if err == nil {
		b, err = json.Marshal(v)
	}
	if err != nil {
		x.m.o.Log.Error("an executor cannot be told", "alloc", x.id, "error", err)
		if log := x.log.Load(); log != nil {
			log.note("not told what it is to do: " + err.Error())
		}
		x.process.closeInput()
		x.sent <- false
		return
	}
	x.process.lines <- append(b, '\n') // has room: the life waits for sent
}

// kept is the directory of an executor that has ended.
type kept struct {
	dir  string
	free chan struct{} // closed when nobody wants it kept any more
	once sync.Once
}

func (k *kept) give() { k.once.Do(func() { close(k.free) }) }

// keep holds the directory of an executor that has ended for the next one of its job, in
// the place of an older one.
func (m *Manager) keep(job, dir string) *kept {
	k := &kept{dir: dir, free: make(chan struct{})}
	m.mu.Lock()
	defer m.mu.Unlock()
	if dir == "" || m.o.KeepLocal == 0 || m.mu.closed {
		k.give()
		return k
	}
	if was := m.mu.kept[job]; was != nil {
		was.give()
	}
	m.mu.kept[job] = k
	return k
}

// discard removes a directory when nobody has wanted it for a while.
func (m *Manager) discard(job string, k *kept) {
	timer := time.NewTimer(m.o.KeepLocal)
	select {
	case <-timer.C:
	case <-k.free:
	}
	timer.Stop()
	m.mu.Lock()
	if m.mu.kept[job] == k {
		delete(m.mu.kept, job)
	}
	dir := k.dir
	k.dir = ""
	m.mu.Unlock()
	if dir == "" { // there was none, or another has it
		return
	}
	if err := os.RemoveAll(dir); err != nil {
		m.o.Log.Warn("the directory of an executor stays until the next start", "dir", dir, "error", err)
	}
	m.dirs.Lock()
	_ = os.Remove(filepath.Dir(dir)) // the job's, if this was the last in it
	m.dirs.Unlock()
}

// inherit makes the directory of a new executor: the one that was kept of its job, or an
// empty one.
func (m *Manager) inherit(job, dir string) error {
	m.mu.Lock()
	from := ""
	if k := m.mu.kept[job]; k != nil {
		from, k.dir = k.dir, ""
		delete(m.mu.kept, job)
		k.give()
	}
	m.mu.Unlock()
	if from != "" && os.Rename(from, dir) == nil {
		from = ""
	}
	if from != "" { // it is of no use, then
		if err := os.RemoveAll(from); err != nil {
			m.o.Log.Warn("the directory of an executor stays until the next start", "dir", from, "error", err)
		}
	}
	m.dirs.Lock()
	err := os.MkdirAll(dir, 0o750)
	m.dirs.Unlock()
	if err != nil {
		return fmt.Errorf("executor: make the directory of an executor: %w", err)
	}
	return nil
}
