package main

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/weirflow/weir/internal/node/agent"
	"github.com/weirflow/weir/internal/node/config"
)

// TestAgentScripts runs testdata/agent: commands that speak to an agent which is a cluster by
// itself, and starts real programs.
func TestAgentScripts(t *testing.T) {
	env := goEnv(t)
	jobs, err := filepath.Abs("testdata/jobs")
	if err != nil {
		t.Fatal(err)
	}
	cache := t.TempDir()
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/agent",
		UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(e *testscript.Env) error {
			e.Vars = append(e.Vars, env...)
			e.Setenv("JOBS", jobs)
			e.Setenv("XDG_CACHE_HOME", cache)
			e.Setenv("WEIR_CONFIG", filepath.Join(e.WorkDir, "contexts.yaml"))
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"exits": exits, "agent": startAgent, "until": until},
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

// startAgent runs an agent as weir agent --dev does, at ports that are free, until the script
// ends, and puts its address into WEIR_ADDRESS.
func startAgent(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: agent")
	}
	c := config.Default()
	c.Name, c.DataDir, c.Slots = "host1", ts.MkAbs("data"), 2
	c.Listen.HTTP, c.Listen.RPC, c.Listen.Gossip = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	c.Server.Enabled, c.Server.BootstrapExpect = true, 1
	exe, err := os.Executable()
	ts.Check(err)
	a, err := agent.Open(agent.Options{Config: c, Version: "0.1.0", Program: exe})
	ts.Check(err)
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- a.Run(ctx) }()
	ts.Defer(func() {
		cancel()
		if err := <-over; err != nil {
			ts.Logf("agent: %v", err)
		}
	})
	ts.Setenv("WEIR_ADDRESS", a.Node().HTTP)
}
