package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weirflow/weir/checkpoint/store"
	"github.com/weirflow/weir/flow"
)

// patience is how long a process may take: far more than any needs.
const patience = 2 * time.Minute

// built are the programs under test, built once.
var built struct {
	sync.Mutex
	dir  string
	kept bool
	done map[string]bool
}

// program builds a main package of the tree and returns its path. The environment's
// GOFLAGS hold for it too: that is how bugs are planted. WEIR_CHAOS_BIN names a directory
// that keeps the programs from one run of the tests to the next.
func program(t *testing.T, pkg string) string {
	t.Helper()
	built.Lock()
	defer built.Unlock()
	if keep := os.Getenv("WEIR_CHAOS_BIN"); keep != "" {
		built.dir, built.kept = keep, true
	}
	if built.dir == "" {
		// It outlives the test that builds first.
		dir, err := os.MkdirTemp("", "chaos-") //nolint:usetesting // for all tests of the package
		if err != nil {
			t.Fatal(err)
		}
		built.dir = dir
	}
	path := filepath.Join(built.dir, filepath.Base(pkg))
	if built.done[path] {
		return path
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", path, "github.com/weirflow/weir/"+pkg)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", pkg, err, out)
	}
	if built.done == nil {
		built.done = map[string]bool{}
	}
	built.done[path] = true
	return path
}

func TestMain(m *testing.M) {
	code := m.Run()
	if !built.kept {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// process is one that runs.
type process struct {
	cmd    *exec.Cmd
	output bytes.Buffer // of both kinds; to be read when it has ended
	ended  chan struct{}
	err    error
}

func start(t *testing.T, path string, args, env []string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(path, args...), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	p.cmd.Env = append(os.Environ(), env...)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() { p.kill() })
	return p
}

// kill ends the process with SIGKILL. It reports whether it was that which ended it.
func (p *process) kill() bool {
	_ = p.cmd.Process.Kill() // one that has ended cannot be killed
	<-p.ended
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// finish waits for the end of a process that is to end by itself, without an error.
func (p *process) finish() error {
	select {
	case <-p.ended:
	case <-time.After(patience):
		_ = p.cmd.Process.Signal(syscall.SIGQUIT) // says where its goroutines are
		select {
		case <-p.ended:
		case <-time.After(10 * time.Second):
			p.kill()
		}
		return fmt.Errorf("it did not end within %v:\n%s", patience, tail(p.output.Bytes(), 20_000))
	}
	if p.err != nil {
		return fmt.Errorf("%w:\n%s", p.err, tail(p.output.Bytes(), 6000))
	}
	return nil
}

func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

// folder is where results go, as a reader sees it.
type folder struct {
	root string
	// seen are the files that were there, with what was in them.
	seen map[string]string
}

// look reads all results that are published, and says what no reader should see.
func (f *folder) look() (results, error) {
	now, all := map[string]string{}, results{}
	err := filepath.WalkDir(f.root, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // not made yet, or a hidden file that has its name now
		}
		if err != nil || e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(f.root, path)
		now[name] = string(data)
		if len(data) == 0 || data[len(data)-1] != '\n' {
			return fmt.Errorf("%s does not end with a line: %q", name, tail(data, 100))
		}
		for line := range strings.Lines(string(data)) {
			all.add(filepath.Dir(name), "%s", strings.TrimSuffix(line, "\n"))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for name, was := range f.seen {
		if is, ok := now[name]; !ok {
			return nil, fmt.Errorf("%s was there, and is not any more", name)
		} else if is != was {
			return nil, fmt.Errorf("%s has changed after it was published: %d bytes, then %d", name, len(was), len(is))
		}
	}
	f.seen = now
	return all, nil
}

// epoch is the newest epoch of which there is a result.
func (f *folder) epoch() (newest flow.Epoch, name string) {
	for path := range f.seen {
		fields := strings.Split(strings.SplitN(filepath.Base(path), ".", 2)[0], "-")
		var e flow.Epoch
		if len(fields) > 2 {
			fmt.Sscan(fields[len(fields)-2], &e)
		}
		if e > newest {
			newest, name = e, path
		}
	}
	return newest, name
}

// extra says what is in got and not in want.
func (r results) extra(got results) string {
	for folder, lines := range got {
		for line, n := range lines {
			if n > r[folder][line] {
				return fmt.Sprintf("%s: %q comes %d times, may %d", folder, line[:min(len(line), 200)], n, r[folder][line])
			}
		}
	}
	return ""
}

// newestEpoch is that of the newest checkpoint in a directory of a job that no process
// runs; 0 for none.
func newestEpoch(ctx context.Context, dir string, job flow.JobID) (flow.Epoch, error) {
	if _, err := os.Stat(dir); err != nil {
		return 0, nil //nolint:nilerr // a process that was killed before it made anything
	}
	st, err := store.Open(ctx, dir)
	if err != nil {
		return 0, err
	}
	j := store.OpenJob(st, job, store.JobOptions{})
	all, err := j.List(ctx)
	newest := flow.Epoch(0)
	if err == nil && len(all) > 0 {
		newest = flow.Epoch(all[len(all)-1].Epoch)
	}
	return newest, errors.Join(err, j.Close(), st.Close())
}

// writeEvents writes events to files that follow one another.
func writeEvents(t *testing.T, dir string, all []event, files int) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	per := (len(all) + files - 1) / files
	for i := 0; len(all) > 0; i++ {
		var b bytes.Buffer
		for _, e := range all[:min(per, len(all))] {
			line, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			b.Write(append(line, '\n'))
		}
		all = all[min(per, len(all)):]
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%03d.jsonl", i)), b.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// left is what a job should have removed from below a directory.
func left(dir string, of func(name string) bool) (names []string) {
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && of(e.Name()) {
			names = append(names, path)
		}
		return nil
	})
	slices.Sort(names)
	return names
}
