//go:build linux

package executor

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/runtime/artifact"
)

// rig is a Manager, and what it has told.
type rig struct {
	*Manager
	t       *testing.T
	answers chan api.Answer

	mu      sync.Mutex
	told    map[api.AllocID][]api.AllocStatus
	changed chan struct{}
}

func newRig(t *testing.T, o Options) *rig {
	t.Helper()
	r := &rig{t: t, told: map[api.AllocID][]api.AllocStatus{}, changed: make(chan struct{}), answers: make(chan api.Answer, 64)}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Program == "" {
		o.Program = os.Args[0]
	}
	if o.Cgroup == "" {
		o.Cgroup = "none"
	}
	o.Report = func(s api.AllocStatus) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.told[s.Alloc] = append(r.told[s.Alloc], s)
		close(r.changed)
		r.changed = make(chan struct{})
	}
	o.Answer = func(a api.Answer) { r.answers <- a }
	var err error
	if r.Manager, err = New(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		for _, c := range children(t) {
			r.mu.Lock()
			for _, told := range r.told {
				if pid := fmt.Sprint(told[len(told)-1].PID, " "); strings.HasPrefix(c, pid) {
					t.Errorf("left: %s", c)
				}
			}
			r.mu.Unlock()
		}
	})
	return r
}

func (r *rig) apply(as ...api.Assignment) {
	r.t.Helper()
	if err := r.Apply(as); err != nil {
		r.t.Fatal(err)
	}
}

// await waits until a status of the allocation is as wanted.
func (r *rig) await(id api.AllocID, ok func(api.AllocStatus) bool) api.AllocStatus {
	r.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		r.mu.Lock()
		i := slices.IndexFunc(r.told[id], ok)
		all, changed := slices.Clone(r.told[id]), r.changed
		r.mu.Unlock()
		if i >= 0 {
			return all[i]
		}
		select {
		case <-changed:
		case <-deadline:
			r.t.Fatalf("%v: waited in vain, was told %+v", id, all)
		}
	}
}

func (r *rig) state(id api.AllocID, want api.AllocState) api.AllocStatus {
	r.t.Helper()
	return r.await(id, func(s api.AllocStatus) bool { return s.State == want })
}

// logOf is an ended executor's whole log, without times.
func (r *rig) logOf(id api.AllocID) string {
	r.t.Helper()
	l, err := r.Logs(r.t.Context(), id, LogOptions{Follow: true})
	if err != nil {
		r.t.Fatal(err)
	}
	defer l.Close()
	b, err := io.ReadAll(l)
	if err != nil {
		r.t.Fatal(err)
	}
	var out strings.Builder
	for line := range strings.Lines(string(b)) {
		out.WriteString(line[min(len(line), len(logTime)+1):])
	}
	return out.String()
}

// children are the processes that this one has started and that are not waited for.
func children(t *testing.T) (found []string) {
	for _, pid := range processes() {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		_, rest, ok := strings.Cut(string(b), ") ")
		if f := strings.Fields(rest); ok && len(f) > 1 && f[1] == strconv.Itoa(os.Getpid()) {
			found = append(found, string(b))
		}
	}
	return found
}

// dies waits for the end of a process that may be anybody's.
func dies(t *testing.T, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
	}
	if err != nil || n == 0 {
		t.Fatalf("process %d lives on: %v", pid, err)
	}
}

func TestRun(t *testing.T) {
	r := newRig(t, Options{Configure: func(c *api.ExecutorConfig) error { c.Node.ID = "n1"; return nil }})
	a := assignment("a1", "good")
	r.apply(a)
	s := r.state("a1", api.AllocRunning)
	if s.Data != "127.0.0.1:1" || s.Control != "127.0.0.1:2" || s.PID == 0 {
		t.Fatalf("%+v", s)
	}
	dir := r.localDir(a.Alloc)
	if _, err := os.Stat(filepath.Join(dir, "tmp")); err != nil {
		t.Fatal(err)
	}
	a.Coordinator, a.Term = "h:2", 2
	r.apply(a)
	r.apply(a) // a repeat says nothing new
	for id := range uint64(3) {
		r.Ask(api.Request{ID: id + 1, Alloc: "a1", Savepoint: fmt.Sprint("s", id+1)})
		if got := <-r.answers; got.ID != id+1 || got.Answer != fmt.Sprint("saved to s", id+1) {
			t.Fatalf("%+v", got)
		}
	}
	// An executor that is no coordinator is asked too, and may have much to say.
	r.Ask(api.Request{ID: 4, Alloc: "a1", Ask: api.AskStats})
	if got := <-r.answers; got.ID != 4 || got.Error != "" || got.Answer != strings.Repeat("stats", 20_000) {
		t.Fatalf("%.100q, %q", got.Answer, got.Error)
	}
	r.Ask(api.Request{ID: 9, Alloc: "nobody"})
	if got := <-r.answers; got.ID != 9 || got.Error == "" {
		t.Fatalf("%+v", got)
	}
	r.apply()
	if s := r.state("a1", api.AllocEnded); s.ExitCode != 0 {
		t.Fatalf("%+v", s)
	}
	want := fmt.Sprintf(`O config for a1, coordinator "h:1", node "n1", in %s
O command {"coordinator":"h:2","term":2}
O command {"wish":"run","savepoint":"s1","request":1}
O command {"wish":"run","savepoint":"s2","request":2}
O command {"wish":"run","savepoint":"s3","request":3}
O command {"request":4,"ask":"stats"}
A ended: it is not wanted any more: exit code 0
`, dir)
	// The agent's note comes before or behind what the executor has printed last.
	if got := strings.Replace(r.logOf("a1"), "A being stopped: it is not wanted any more\n", "", 1); got != want {
		t.Fatalf("got\n%swant\n%s", got, want)
	}
	r.apply(a) // it has ended, and is not started again
	if all := r.Statuses(); len(all) != 1 || all[0].State != api.AllocEnded {
		t.Fatalf("%+v", all)
	}
	if err := r.Kill(t.Context(), "to wait for what clears up"); err != nil {
		t.Fatal(err)
	}
	r.Known([]api.AllocID{"a1", "nobody"})
	if all := r.Statuses(); len(all) != 0 {
		t.Fatalf("%+v", all)
	}
	stop := assignment("a2", "good")
	stop.Alloc.Stop = true
	r.apply(stop)
	r.state("a2", api.AllocLost)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("its directory is left: %v", err)
	}
	if err := r.Apply(nil); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
}

// TestEnds has executors of all kinds, and looks at how their end is told.
func TestEnds(t *testing.T) {
	patient := newRig(t, Options{StopGrace: time.Minute})
	hasty := newRig(t, Options{StopGrace: 20 * time.Millisecond, TermGrace: 20 * time.Millisecond})
	for _, c := range []struct {
		mode  string
		until api.AllocState // before it is stopped; empty: it ends by itself
		state api.AllocState
		code  int
		exit  string
		log   string
	}{
		{"deaf", api.AllocRunning, api.AllocFailed, 137, "it is not wanted any more: killed by SIGKILL", ""},
		{"silent", api.AllocRunning, api.AllocFailed, 137, "it is not wanted any more: killed by SIGKILL", ""},
		{"garbage", api.AllocRunning, api.AllocEnded, 0, "it is not wanted any more: exit code 0", "A wrote an event of 1048577 bytes"},
		{"exit", "", api.AllocFailed, 3, "exit code 3: cannot go on", "E cannot go on"},
		{"panic", "", api.AllocFailed, 2, "exit code 2: panic: boom", "E goroutine 1 [running]:"},
		{"flood", api.AllocRunning, api.AllocEnded, 0, "it is not wanted any more: exit code 0", ""},
		{"last", api.AllocRunning, api.AllocEnded, 0, "it is not wanted any more: exit code 0", "O no end of line\n"},
	} {
		t.Run(c.mode, func(t *testing.T) {
			id, r := api.AllocID("a-"+c.mode), patient
			if c.code == 137 { // it has to be killed
				r = hasty
			}
			r.apply(assignment(string(id), c.mode))
			if c.until != "" {
				r.state(id, c.until)
				r.apply()
			}
			s := r.await(id, func(s api.AllocStatus) bool { return s.State.Ended() })
			if s.State != c.state || s.ExitCode != c.code || s.Exit != c.exit {
				t.Fatalf("%+v", s)
			}
			if log := r.logOf(id); !strings.Contains(log, c.log) || !strings.HasSuffix(log, "A ended: "+c.exit+"\n") {
				t.Fatalf("%.2000s", log)
			}
			switch c.mode {
			case "panic":
				lines := strings.Join(s.Lines, "\n")
				if !strings.Contains(lines, "panic: boom\n") || len(s.Lines) > headLines+lastLines+1 {
					t.Fatalf("%s", lines)
				}
			case "last": // what is said right before the end is told
				if s.Job == nil || s.Job.Reason != "all is done" {
					t.Fatalf("%+v", s)
				}
			}
		})
	}
}

func TestNeverReady(t *testing.T) {
	r := newRig(t, Options{StartTimeout: 50 * time.Millisecond, StopGrace: 10 * time.Millisecond, TermGrace: 10 * time.Millisecond})
	r.apply(assignment("a1", "never"))
	if s := r.state("a1", api.AllocFailed); !strings.HasPrefix(s.Exit, "it did not say within 50ms that it listens: killed by SIG") {
		t.Fatalf("%+v", s) // by which signal is a matter of how fast it was
	}
}

func TestNotStarted(t *testing.T) {
	store, err := artifact.Open(artifact.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	h, _, err := store.Put(t.Context(), strings.NewReader("no program at all"), 100)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, Options{Artifacts: store, Secrets: t.TempDir(), MaxExecutors: 100})
	for _, c := range []struct {
		name   string
		change func(*api.Assignment)
		exit   string
	}{
		{"unknown artifact", func(a *api.Assignment) { a.Job.Artifact = artifact.Hash{}.String() }, "not found here"},
		{"no hash", func(a *api.Assignment) { a.Job.Artifact = "../../bin/sh" }, "no hash"},
		{"no program", func(a *api.Assignment) { a.Job.Artifact = h.String() }, "exec format error"},
		{"job's name", func(a *api.Assignment) { a.Alloc.Job = "../../etc" }, "no job name"},
		{"alloc's name", func(a *api.Assignment) { a.Alloc.ID = "../../etc/x" }, "no allocation name"},
		{"secret's name", func(a *api.Assignment) { a.Job.Secrets = map[string]string{"X": "../x"} }, "no secret name"},
		{"no secret", func(a *api.Assignment) { a.Job.Secrets = map[string]string{"X": "x"} }, "not known to this agent"},
		{"variable", func(a *api.Assignment) { a.Job.Env["A=B"] = "x" }, "no name of a variable"},
		{"our variable", func(a *api.Assignment) { a.Job.Env[DirEnv] = "/" }, "agent's own"},
		{"NUL", func(a *api.Assignment) { a.Job.Args = []string{"a\x00b"} }, "byte 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := assignment("n-"+strings.Map(func(r rune) rune {
				if r == ' ' || r == '\'' {
					return '-'
				}
				return r
			}, c.name), "good")
			c.change(&a)
			r.apply(a)
			s := r.state(a.Alloc.ID, api.AllocFailed)
			if !strings.HasPrefix(s.Exit, "not started: ") || !strings.Contains(s.Exit, c.exit) {
				t.Fatal(s.Exit)
			}
		})
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(filepath.Join(r.localRoot(), "*/*")); err != nil || len(left) > 0 {
		t.Fatal("left", left, err)
	}
	for _, i := range store.List() {
		if i.Pinned {
			t.Fatalf("%v is pinned", i.Hash)
		}
	}
}

// TestStopWhileFetched gives an allocation up whose program is still on its way.
func TestStopWhileFetched(t *testing.T) {
	store, err := artifact.Open(artifact.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	begun := make(chan struct{})
	r := newRig(t, Options{Artifacts: store, Sources: func(api.JobSpec) []artifact.Source {
		return []artifact.Source{hang(begun)}
	}})
	a := assignment("a1", "good")
	a.Job.Artifact = artifact.Hash{}.String()
	r.apply(a)
	<-begun
	r.apply()
	if s := r.state("a1", api.AllocFailed); s.Exit != "not started: it is not wanted any more" {
		t.Fatal(s.Exit)
	}
}

// hang is a source whose bytes never come.
type hang chan struct{}

func (h hang) Get(context.Context, artifact.Hash) (io.ReadCloser, error) {
	close(h)
	r, _ := io.Pipe()
	return r, nil
}

// TestDescendants wants that nothing of an executor outlives it.
func TestDescendants(t *testing.T) {
	for _, mode := range []string{"fork", "escape"} {
		t.Run(mode, func(t *testing.T) {
			r := newRig(t, Options{})
			r.apply(assignment("a1", mode))
			s := r.await("a1", func(s api.AllocStatus) bool { return s.State == api.AllocRunning && s.Job != nil })
			pid, err := strconv.Atoi(s.Job.Reason)
			if err != nil {
				t.Fatal(err)
			}
			r.apply()
			r.state("a1", api.AllocEnded)
			dies(t, pid)
		})
	}
}

func TestKillAll(t *testing.T) {
	r := newRig(t, Options{StopGrace: time.Hour})
	r.apply(assignment("a1", "deaf"), assignment("a2", "good"))
	r.state("a1", api.AllocRunning)
	s := r.state("a2", api.AllocRunning)
	if err := syscall.Kill(s.PID, syscall.SIGSTOP); err != nil { // one that is suspended dies too
		t.Fatal(err)
	}
	if err := r.Kill(t.Context(), "the lease is over"); err != nil {
		t.Fatal(err)
	}
	for _, s := range r.Statuses() {
		if s.State != api.AllocFailed || s.Exit != "the lease is over: killed by SIGKILL" {
			t.Fatalf("%+v", s)
		}
	}
	if left := children(t); len(left) > 0 {
		t.Fatalf("children are left: %v", left)
	}
	r.apply(assignment("a3", "good"))
	r.state("a3", api.AllocRunning)
}

// TestReports wants few reports of an executor that says much.
func TestReports(t *testing.T) {
	r := newRig(t, Options{ReportEvery: 50 * time.Millisecond})
	begin := time.Now()
	r.apply(assignment("a1", "chatty"))
	r.await("a1", func(s api.AllocStatus) bool { return s.Job != nil && s.Job.Epoch > 400 })
	if err := r.Kill(t.Context(), "enough"); err != nil {
		t.Fatal(err)
	}
	most := 5 + int(time.Since(begin)/(50*time.Millisecond))
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.told["a1"]); n > most {
		t.Fatalf("%d reports, at most %d wanted", n, most)
	}
}

func TestEnvironment(t *testing.T) {
	secrets := t.TempDir()
	if err := os.WriteFile(filepath.Join(secrets, "db.password"), []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AGENT_TOKEN", "never to be seen")
	t.Setenv("TZ", "UTC")
	r := newRig(t, Options{Secrets: secrets})
	a := assignment("a1", "env")
	a.Job.Secrets = map[string]string{"PASSWORD": "db.password"}
	a.Job.Memory, a.Job.CPUs = 1<<30, 2
	r.apply(a)
	r.state("a1", api.AllocRunning)
	r.apply()
	r.state("a1", api.AllocEnded)
	var names []string
	for line := range strings.Lines(r.logOf("a1")) {
		if v, ok := strings.CutPrefix(line, "O env "); ok {
			names = append(names, strings.TrimSpace(v))
		}
	}
	for _, want := range []string{"PASSWORD=hunter2", "GOMEMLIMIT=966367641", "GOMAXPROCS=2", "TZ=UTC", "WEIR_EXECUTOR=1",
		"PATH=" + os.Getenv("PATH"), "TMPDIR=" + filepath.Join(r.localDir(a.Alloc), "tmp"), DirEnv + "=" + r.localDir(a.Alloc)} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is missing in %q", want, names)
		}
	}
	for _, v := range names {
		k, _, _ := strings.Cut(v, "=")
		if !slices.Contains([]string{"PASSWORD", "GOMEMLIMIT", "GOMAXPROCS", "TZ", "PATH", "HOME", "LANG", "TMPDIR", api.ExecutorEnv, DirEnv, modeEnv, "GORACE"}, k) {
			t.Errorf("%s has no business there", v)
		}
	}
	b, err := os.ReadFile(filepath.Join(r.o.Dir, "lock"))
	if err != nil || bytes.Contains(b, []byte("hunter2")) {
		t.Fatal(err)
	}
}

// TestKeepLocal hands the files of an executor to the next one of its job, once.
func TestKeepLocal(t *testing.T) {
	r := newRig(t, Options{KeepLocal: time.Hour})
	first, second, third := assignment("a1", "good"), assignment("a2", "good"), assignment("a3", "good")
	r.apply(first)
	r.state("a1", api.AllocRunning)
	if err := os.WriteFile(filepath.Join(r.localDir(first.Alloc), "state"), []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.Kill(t.Context(), "it is to recover"); err != nil {
		t.Fatal(err)
	}
	r.apply(second, third)
	r.state("a2", api.AllocRunning)
	r.state("a3", api.AllocRunning)
	var found []string
	for _, a := range []api.Assignment{first, second, third} {
		if b, err := os.ReadFile(filepath.Join(r.localDir(a.Alloc), "state")); err == nil {
			found = append(found, fmt.Sprint(a.Alloc.ID, " ", string(b)))
		}
	}
	if len(found) != 1 || found[0] == "a1 kept" {
		t.Fatal(found)
	}
}

// TestAgentKilled kills a process with a Manager in it. All it has started is gone, at the
// latest when the next one begins, which knows what was lost.
func TestAgentKilled(t *testing.T) {
	dir := t.TempDir()
	agent := exec.CommandContext(t.Context(), os.Args[0])
	agent.Env = append(os.Environ(), agentEnv+"="+dir)
	agent.Stderr = os.Stderr
	out, err := agent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	var executors, others []int
	for in := bufio.NewScanner(out); in.Scan() && in.Text() != "all"; {
		for i, f := range strings.Fields(in.Text()) {
			pid, err := strconv.Atoi(f)
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				executors = append(executors, pid)
			} else {
				others = append(others, pid)
			}
		}
	}
	if len(executors) != 4 || len(others) != 2 {
		t.Fatal(executors, others)
	}
	if _, err := New(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "another agent's") {
		t.Fatalf("two agents in one directory: %v", err)
	}
	if err := agent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = agent.Wait()
	for _, pid := range executors {
		dies(t, pid)
	}
	r := newRig(t, Options{Dir: dir})
	for _, pid := range others {
		dies(t, pid)
	}
	var lost []string
	for _, s := range r.Statuses() {
		lost = append(lost, fmt.Sprint(s.Alloc, " ", s.State))
	}
	if !slices.Equal(lost, []string{"a-deaf lost", "a-escape lost", "a-fork lost", "a-good lost"}) {
		t.Fatal(lost)
	}
	if left, err := filepath.Glob(filepath.Join(r.localRoot(), "*")); err != nil || len(left) > 0 {
		t.Fatal("left", left, err)
	}
	if log := r.logOf("a-good"); !strings.HasPrefix(log, "O config for a-good") {
		t.Fatal(log)
	}
	again := assignment("a-deaf", "good") // the leader insists: its log goes on
	r.Known([]api.AllocID{"a-deaf"})
	r.apply(assignment("a-good", "good"), again) // the lost one is not started again
	r.state("a-deaf", api.AllocRunning)
	if seqs, err := logFiles(r.logDir("a-deaf")); err != nil || len(seqs) != 2 {
		t.Fatal(seqs, err)
	}
	if n := len(children(t)); n != 1 {
		t.Fatalf("%d children", n)
	}
}

// TestMany starts, changes and stops many at one time.
func TestMany(t *testing.T) {
	before := descriptors(t)
	r := newRig(t, Options{MaxExecutors: 10})
	var as []api.Assignment
	for i := range 12 {
		as = append(as, assignment(fmt.Sprint("a", i), []string{"good", "exit", "last"}[i%3]))
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for i := range 12 {
				if err := r.Apply(as[:i+1]); err != nil {
					t.Error(err)
				}
				r.Statuses()
				r.Ask(api.Request{ID: uint64(i + 1), Alloc: as[i].Alloc.ID})
			}
		})
	}
	go func() {
		for range r.answers {
		}
	}()
	wg.Wait()
	r.apply()
	for _, a := range as {
		r.await(a.Alloc.ID, func(s api.AllocStatus) bool { return s.State.Ended() })
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	close(r.answers)
	if after := descriptors(t); after > before {
		t.Fatalf("%d files are open, %d were", after, before)
	}
}

// descriptors are the files that this process has open.
func descriptors(t *testing.T) int {
	r, w, err := os.Pipe() // what the first pipe opens for good is open then
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}

// BenchmarkStart measures from Apply until an executor has said that it is ready, and the
// same process started without any of it, for comparison.
func BenchmarkStart(b *testing.B) {
	b.Run("apply", func(b *testing.B) {
		running := make(chan struct{}, 1)
		m, err := New(Options{Dir: b.TempDir(), Program: os.Args[0], Cgroup: "none", Report: func(s api.AllocStatus) {
			if s.State == api.AllocRunning {
				running <- struct{}{}
			}
		}})
		if err != nil {
			b.Fatal(err)
		}
		defer m.Close()
		for i := 0; b.Loop(); i++ {
			a := assignment(fmt.Sprint("a", i), "good")
			if err := m.Apply([]api.Assignment{a}); err != nil {
				b.Fatal(err)
			}
			<-running
			b.StopTimer()
			if err := m.Kill(b.Context(), "next"); err != nil {
				b.Fatal(err)
			}
			m.Known([]api.AllocID{a.Alloc.ID})
			b.StartTimer()
		}
	})
	b.Run("bare", func(b *testing.B) {
		for b.Loop() {
			c := exec.CommandContext(b.Context(), os.Args[0])
			r, w, err := os.Pipe()
			if err != nil {
				b.Fatal(err)
			}
			c.Env = []string{api.ExecutorEnv + "=1"}
			c.ExtraFiles = []*os.File{w}
			c.Stdin = strings.NewReader("{}\n")
			if err := c.Start(); err != nil {
				b.Fatal(err)
			}
			w.Close()
			if _, err := r.Read(make([]byte, 100)); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			r.Close()
			_ = c.Process.Kill()
			_ = c.Wait()
			b.StartTimer()
		}
	})
}

// TestFromStore runs programs that were stored a moment ago, while others are being started:
// none is too busy to be executed, and none stays pinned.
func TestFromStore(t *testing.T) {
	store, err := artifact.Open(artifact.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	r := newRig(t, Options{Artifacts: store})
	self, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	var as []api.Assignment
	for i := range 4 {
		program := append(slices.Clip(self), fmt.Sprint("program ", i)...)
		h, _, err := store.Put(t.Context(), bytes.NewReader(program), 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		a := assignment(fmt.Sprint("a", i), "good")
		a.Job.Artifact = h.String()
		as = append(as, a)
		r.apply(as...)
	}
	for _, a := range as {
		r.state(a.Alloc.ID, api.AllocRunning)
	}
	for _, i := range store.List() {
		if !i.Pinned {
			t.Errorf("%v runs, and is not pinned", i.Hash)
		}
	}
	if err := r.Kill(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	for _, i := range store.List() {
		if i.Pinned {
			t.Errorf("%v is pinned by nobody", i.Hash)
		}
	}
}
