package run_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/cluster/certs"
	"github.com/weirflow/weir/connector/file"
	"github.com/weirflow/weir/sdk"
	"github.com/weirflow/weir/sdk/run"
)

// numbers is the program of the job that the tests run: it counts numbers by their last
// two digits.
func numbers() {
	flag.CommandLine = flag.NewFlagSet("numbers", flag.ContinueOnError)
	in, out := flag.String("in", "", ""), flag.String("out", "", "")
	more := flag.Int("more", 0, "")
	run.Main("numbers", func(p *sdk.Pipeline) error {
		lines := sdk.Read(p, file.Text(*in, file.SplitSize(2<<10)), sdk.ID("lines"))
		paced := sdk.Map(lines, func(s string) int {
			n, _ := strconv.Atoi(s)
			if n%16 < 4 { // a job that lasts: the files have the numbers by 4
				<-time.After(time.Millisecond)
			}
			return n
		}, sdk.ID("parse"))
		numbers := sdk.Rebalance(paced)
		for i := range *more {
			numbers = sdk.Filter(numbers, func(int) bool { return true }, sdk.ID(fmt.Sprint("more", i)))
		}
		counts := sdk.Aggregate(sdk.KeyBy(numbers, func(n int) int { return n % 100 }), sdk.Count[int](), sdk.ID("count"))
		sdk.Write(sdk.Map(counts, func(kv sdk.KeyValue[int, int64]) string { return fmt.Sprint(kv.Key, " ", kv.Value) }, sdk.ID("print")),
			file.TextSink(*out), sdk.ID("write"))
		return nil
	})
}

// processes are those of one job, started as an agent starts them.
type processes struct {
	t    *testing.T
	dir  string
	spec api.JobSpec
	// For mutual TLS, where set.
	ca, own certs.Pair
}

// trust gives the processes certificates.
func (ps *processes) trust() {
	ps.t.Helper()
	a, ca, err := certs.NewAuthority("test", time.Now(), time.Hour)
	if err != nil {
		ps.t.Fatal(err)
	}
	if ps.own, err = a.Issue(certs.Wanted{Role: certs.Executor, Name: "x", Job: ps.spec.Name, TTL: time.Hour}, time.Now()); err != nil {
		ps.t.Fatal(err)
	}
	ps.ca = ca
}

// process is an executor's.
type process struct {
	t      *testing.T
	dir    string
	cmd    *exec.Cmd
	in     io.WriteCloser
	events chan api.ExecutorEvent
	ended  chan struct{}
	err    error
	mu     sync.Mutex
	output bytes.Buffer
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.Write(b)
}

func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

func newProcesses(t *testing.T, lines, parallelism int) *processes {
	t.Helper()
	ps := &processes{t: t, dir: t.TempDir()}
	in := filepath.Join(ps.dir, "in")
	if err := os.Mkdir(in, 0o777); err != nil {
		t.Fatal(err)
	}
	for f := range 4 {
		var b bytes.Buffer
		for i := f; i < lines; i += 4 {
			fmt.Fprintln(&b, i)
		}
		if err := os.WriteFile(filepath.Join(in, fmt.Sprint(f, ".txt")), b.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	ps.spec = api.JobSpec{Name: "numbers", Version: 1, Parallelism: parallelism, State: filepath.Join(ps.dir, "state"),
		Args: []string{"--epoch=50ms", "--batch-size=16", "--in=" + in, "--out=" + filepath.Join(ps.dir, "out")}}
	return ps
}

// start starts an executor; at is where it dials, "" for a coordinator.
func (ps *processes) start(alloc string, term uint64, at string, args ...string) *process {
	t := ps.t
	t.Helper()
	dir := filepath.Join(ps.dir, "local-"+alloc)
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	spec := ps.spec
	spec.Args = append(slices.Clone(spec.Args), args...)
	line, err := json.Marshal(api.ExecutorConfig{Job: spec, Coordinator: at, Dir: dir, Listen: "127.0.0.1", Node: api.Node{ID: "here"},
		CA: ps.ca.Cert, Cert: ps.own.Cert, Key: ps.own.Key,
		Alloc: api.Alloc{ID: api.AllocID(alloc), Job: spec.Name, Version: 1, Coordinator: at == "", Slots: 1, Term: term}})
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, dir: dir, cmd: exec.Command(os.Args[0]), events: make(chan api.ExecutorEvent, 1000), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), api.ExecutorEnv+"="+api.ExecutorProtocol)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.ExtraFiles = []*os.File{w}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		defer r.Close()
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			var e api.ExecutorEvent
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				t.Errorf("event %q: %v", lines.Text(), err)
			}
			p.events <- e
		}
	}()
	go func() {
		<-heard
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
	})
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		t.Fatal(err)
	}
	return p
}

// until waits for an event.
func (p *process) until(what string, is func(api.ExecutorEvent) bool) api.ExecutorEvent {
	p.t.Helper()
	patience := time.NewTimer(time.Minute)
	defer patience.Stop()
	for {
		select {
		case e := <-p.events:
			if is(e) {
				return e
			}
			continue
		default:
		}
		select {
		case e := <-p.events:
			if is(e) {
				return e
			}
		case <-p.ended:
			if len(p.events) == 0 {
				p.t.Fatalf("it ended before %s: %v\n%s", what, p.err, p.text())
			}
		case <-patience.C:
			p.t.Fatalf("%s did not come\n%s", what, p.text())
		}
	}
}

func (p *process) ready() *api.ExecutorReady {
	p.t.Helper()
	return p.until("readiness", func(e api.ExecutorEvent) bool { return e.Ready != nil }).Ready
}

func (p *process) epoch(n uint64) uint64 {
	p.t.Helper()
	return p.until(fmt.Sprint("epoch ", n), func(e api.ExecutorEvent) bool {
		return e.Job != nil && e.Job.Epoch >= n && e.Job.Status == api.JobRunning
	}).Job.Epoch
}

func (p *process) command(c api.ExecutorCommand) {
	p.t.Helper()
	line, err := json.Marshal(c)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// finish waits for the end of a process that is to end by itself.
func (p *process) finish() {
	p.t.Helper()
	select {
	case <-p.ended:
		if p.err != nil {
			p.t.Errorf("%v:\n%s", p.err, p.text())
		}
	case <-time.After(time.Minute):
		p.t.Fatalf("it does not end:\n%s", p.text())
	}
}

// want wants each key's counts once.
func (ps *processes) want(lines int) {
	ps.t.Helper()
	got := map[string]int{}
	err := filepath.WalkDir(filepath.Join(ps.dir, "out"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			return err
		}
		data, err := os.ReadFile(path)
		for line := range strings.Lines(string(data)) {
			got[strings.TrimSpace(line)]++
		}
		return err
	})
	if err != nil {
		ps.t.Fatal(err)
	}
	for i := range lines {
		line := fmt.Sprint(i%100, " ", i/100+1)
		if got[line] != 1 {
			ps.t.Fatalf("%q is there %d times", line, got[line])
		}
		delete(got, line)
	}
	if len(got) > 0 {
		ps.t.Fatalf("too much: %v", got)
	}
}

// TestProcesses runs a job in processes of its own, and kills an executor and then the
// coordinator.
func TestProcesses(t *testing.T) {
	const lines = 20_000
	ps := newProcesses(t, lines, 3)
	co := ps.start("co", 1, "")
	at := co.ready().Control
	co.until("waiting", func(e api.ExecutorEvent) bool {
		return e.Job != nil && e.Job.Status == api.JobPending && e.Job.Reason == "waits for 2 of 3 slots" && e.Job.Slots == 3
	})
	// Another program is told why it cannot take part.
	other := ps.start("other", 1, at, "--more=1")
	select {
	case <-other.ended:
	case <-time.After(time.Minute):
	}
	if got := other.text(); !strings.Contains(got, "the program on this agent builds another graph") {
		t.Errorf("another program: %v\n%s", other.err, got)
	}
	a, b := ps.start("a", 1, at), ps.start("b", 1, at)
	epoch := co.epoch(2)
	began := time.Now()
	a.kill()
	c := ps.start("c", 1, at)
	co.until("an attempt more", func(e api.ExecutorEvent) bool {
		return e.Job != nil && e.Job.Attempt >= 2 && e.Job.Status == api.JobRunning
	})
	t.Logf("all tasks run again %v after an executor was killed and another was started", time.Since(began).Round(time.Millisecond))
	epoch = co.epoch(epoch + 2)
	began = time.Now()
	co.kill()
	co = ps.start("co2", 2, "")
	at = co.ready().Control
	for _, p := range []*process{b, c} {
		p.command(api.ExecutorCommand{Coordinator: at, Term: 2})
	}
	if next := co.epoch(1); next < epoch {
		t.Errorf("it goes on from epoch %d; there was %d", next, epoch)
	}
	t.Logf("all tasks run again %v after the coordinator was killed and another was started", time.Since(began).Round(time.Millisecond))
	last := co.until("the end", func(e api.ExecutorEvent) bool { return e.Job != nil && e.Job.Status.Ended() })
	if last.Job.Status != api.JobFinished {
		t.Errorf("%+v", last.Job)
	}
	co.finish()
	b.finish()
	c.finish()
	ps.want(lines)
	for _, p := range []string{"co2", "b", "c"} {
		if left, err := os.ReadDir(filepath.Join(ps.dir, "local-"+p)); err != nil || len(left) > 0 {
			t.Errorf("%s has left %v, %v", p, left, err)
		}
	}
}

// TestProcessesWish ends a job with a savepoint, and processes with their agent. They
// know each other by certificates.
func TestProcessesWish(t *testing.T) {
	ps := newProcesses(t, 50_000, 2)
	ps.trust()
	co := ps.start("co", 1, "")
	a := ps.start("a", 1, co.ready().Control)
	co.epoch(1)
	save := filepath.Join(ps.dir, "save")
	answer := func(n uint64) api.ExecutorEvent {
		return co.until("an answer", func(e api.ExecutorEvent) bool { return e.Request == n })
	}
	co.command(api.ExecutorCommand{Wish: "fly", Request: 1})
	if e := answer(1); !strings.Contains(e.Error, `"fly" is no wish`) {
		t.Errorf("%+v", e)
	}
	a.command(api.ExecutorCommand{Wish: api.WishStop, Request: 1})
	if e := a.until("an answer", func(e api.ExecutorEvent) bool { return e.Request == 1 }); !strings.Contains(e.Error, "not the job's coordinator") {
		t.Errorf("%+v", e)
	}
	co.command(api.ExecutorCommand{Wish: api.WishSave, Savepoint: save, Request: 2})
	if e := answer(2); e.Error != "" || !strings.Contains(e.Answer, "savepoint of epoch") {
		t.Errorf("%+v", e)
	}
	if last := co.until("the end", func(e api.ExecutorEvent) bool { return e.Job != nil && e.Job.Status.Ended() }); last.Job.Status != api.JobStopped {
		t.Errorf("%+v", last.Job)
	}
	co.finish()
	a.finish()
	if _, err := os.Stat(save); err != nil {
		t.Error(err)
	}
	// It goes on from where it was, until its agent is gone.
	co = ps.start("co2", 2, "")
	b := ps.start("b", 2, co.ready().Control)
	co.epoch(1)
	for _, p := range []*process{co, b} {
		p.in.Close()
		select {
		case <-p.ended:
		case <-time.After(time.Minute):
			t.Fatal("it lives on without its agent")
		}
		if code := p.cmd.ProcessState.ExitCode(); code != run.ExitFailed {
			t.Errorf("exit code %d\n%s", code, p.text())
		}
	}
	for len(co.events) > 0 {
		if e := <-co.events; e.Job != nil && e.Job.Status.Ended() {
			t.Errorf("%+v, though the job can go on", e.Job)
		}
	}
}
