package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"weir": main})
}

// TestScripts runs testdata/script. What the scripts run is built from
// testdata/jobs, which is $JOBS there, with the build cache of this test run: no
// network is needed. UPDATE_SCRIPTS=1 rewrites what they compare with.
func TestScripts(t *testing.T) {
	runScripts(t, "testdata/script", scriptCmds{"interrupt": interrupt}, nil)
}

// scriptCmds are those of scripts.
type scriptCmds = map[string]func(ts *testscript.TestScript, neg bool, args []string)

// runScripts runs the scripts of a directory, with commands of their own beside exits and until.
func runScripts(t *testing.T, dir string, own scriptCmds, setup func(*testscript.Env) error) {
	env := goEnv(t)
	jobs, err := filepath.Abs("testdata/jobs")
	if err != nil {
		t.Fatal(err)
	}
	cache := t.TempDir() // one for all scripts: the job is linked once
	all := scriptCmds{"exits": exits, "until": until}
	maps.Copy(all, own)
	testscript.Run(t, testscript.Params{
		Dir:           dir,
		UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(e *testscript.Env) error {
			e.Vars = append(e.Vars, env...)
			e.Setenv("JOBS", jobs)
			e.Setenv("XDG_CACHE_HOME", cache)
			e.Setenv("WEIR_CONFIG", filepath.Join(e.WorkDir, "contexts.yaml"))
			if setup != nil {
				return setup(e)
			}
			return nil
		},
		Cmds: all,
	})
}

// until runs a command until its output matches: until PATTERN COMMAND ...
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until PATTERN COMMAND ...")
	}
	want, err := regexp.Compile(args[0])
	ts.Check(err)
	late := time.After(time.Minute)
	for {
		err := ts.Exec(args[1], args[2:]...)
		if out := ts.ReadFile("stdout"); err == nil && want.MatchString(out) {
			return
		}
		select {
		case <-late:
			ts.Fatalf("%s never matched %s:\n%s%s", args[1:], args[0], ts.ReadFile("stdout"), ts.ReadFile("stderr"))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// goEnv is what the go command needs in an environment where it finds no home.
func goEnv(t *testing.T) []string {
	out, err := exec.Command("go", "env", "-json", "GOCACHE", "GOMODCACHE", "GOFLAGS").Output()
	if err != nil {
		t.Skipf("the scripts build programs, and there is no go command: %v", err)
	}
	var vars map[string]string
	if err := json.Unmarshal(out, &vars); err != nil {
		t.Fatal(err)
	}
	env := []string{"GOPROXY=off", "GOTOOLCHAIN=local"}
	for k, v := range vars {
		env = append(env, k+"="+v)
	}
	return env
}

// exits runs a program and wants an exit code: exits CODE PROGRAM ARGS...
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	wantCode(ts, args[0], ts.Exec(args[1], args[2:]...))
}

// interrupt runs a program, sends it SIGINT when it has printed its first line,
// and wants an exit code: interrupt CODE PROGRAM ARGS... What it printed is in
// the files out and err.
func interrupt(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: interrupt CODE PROGRAM ARGS...")
	}
	cmd := exec.Command(args[1], args[2:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = os.Environ()
	for _, k := range []string{"XDG_CACHE_HOME", "GOCACHE", "GOMODCACHE", "GOFLAGS", "GOPROXY", "GOTOOLCHAIN"} {
		cmd.Env = append(cmd.Env, k+"="+ts.Getenv(k))
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	r := bufio.NewReader(stdout)
	first, err := r.ReadString('\n')
	if err != nil {
		ts.Logf("no first line: %v", err)
	}
	ts.Check(cmd.Process.Signal(os.Interrupt))
	rest, err := io.ReadAll(r)
	ts.Check(err)
	err = cmd.Wait()
	ts.Check(os.WriteFile(ts.MkAbs("out"), append([]byte(first), rest...), 0o666))
	ts.Check(os.WriteFile(ts.MkAbs("err"), stderr.Bytes(), 0o666))
	ts.Logf("%s%s", first, stderr.Bytes())
	wantCode(ts, args[0], err)
}

func wantCode(ts *testscript.TestScript, want string, err error) {
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(code) != want {
		ts.Fatalf("exit code %d, want %s", code, want)
	}
}
