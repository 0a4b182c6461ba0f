package main

import (
	"context"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/weirflow/weir/internal/node/agent"
	"github.com/weirflow/weir/internal/node/config"
)

// TestAgentScripts runs testdata/agent: commands that speak to an agent which is a cluster by
// itself, and starts real programs.
func TestAgentScripts(t *testing.T) {
	runScripts(t, "testdata/agent", scriptCmds{"agent": startAgent}, nil)
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
