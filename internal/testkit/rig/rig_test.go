package rig

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weirflow/weir/api/client"
	"github.com/weirflow/weir/web/token"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := os.RemoveAll(built.dir); err != nil {
			code = 1
		}
		os.Exit(code)
	}))
}

// built is weir, for all tests.
var built struct {
	sync.Once
	dir, path string
	err       error
}

func binary(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("it starts real clusters")
	}
	built.Do(func() {
		// It outlives the test that builds it.
		if built.dir, built.err = os.MkdirTemp("", "rig-"); built.err == nil { //nolint:usetesting // see above
			built.path, built.err = Build(context.WithoutCancel(t.Context()), built.dir, "cmd/weir")
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

// TestLife kills a worker and the leader of a secured cluster, and wants them back.
func TestLife(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var log strings.Builder
	c, err := Start(ctx, Options{Binary: binary(t), Dir: t.TempDir(), Servers: 3, Workers: 2, Secure: true, Log: &log})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		t.Log(log.String())
	}()
	list, err := c.Client(token.Read).Nodes(ctx, client.Page{}, client.Wait{})
	if err != nil || len(list.Items) != 5 {
		t.Fatalf("%d nodes, %v", len(list.Items), err)
	}
	out, err := c.Run(ctx, "members")
	if err != nil || !strings.Contains(out, "worker2") {
		t.Fatalf("weir members: %v\n%s", err, out)
	}
	if _, err := c.Run(ctx, "--no-such-flag"); err == nil || !strings.Contains(err.Error(), "unknown flag") {
		t.Errorf("a wrong flag: %v", err)
	}

	worker := c.Node("worker1")
	pid := worker.PID()
	if err := worker.Kill(); err != nil || worker.Running() {
		t.Fatal("the worker runs", err)
	}
	if err := worker.Signal(os.Interrupt); !errors.Is(err, errNotRunning) {
		t.Errorf("a signal to a worker that is dead: %v", err)
	}
	if err := worker.Start(ctx); err != nil || worker.PID() == pid {
		t.Fatal("the worker is what it was", err)
	}
	if err := c.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	if err := worker.Stop(ctx); err != nil {
		t.Error(err)
	}

	leader, err := c.Leader(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := leader.Kill(); err != nil {
		t.Fatal(err)
	}
	next, err := c.Leader(ctx)
	if err != nil || next == leader {
		t.Fatal(next, err)
	}
	for _, n := range []*Node{leader, worker} {
		if err := n.Start(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Ready(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestLeft has Close find what was left behind, and a cluster of two listen where another
// does not.
func TestLeft(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux shows the environment of processes")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	bin := binary(t)
	var all []*Cluster
	for range 2 {
		c, err := Start(ctx, Options{Binary: bin, Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	stray := exec.Command("sleep", "1000")
	stray.Env = []string{markEnv + "=" + all[0].Dir()}
	if err := stray.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- stray.Wait() }()
	if got := strings.Join(all[0].Left(), "\n"); !strings.Contains(got, "sleep 1000") || !strings.Contains(got, "agent --config") {
		t.Errorf("processes of the cluster: %s", got)
	}
	if err := endLeft(all[0].Dir(), 10*time.Millisecond); err == nil || !strings.Contains(err.Error(), "sleep 1000") {
		t.Errorf("what was left: %v", err)
	}
	<-ended
	for i, c := range all {
		if err := c.Close(); err != nil {
			t.Errorf("cluster %d: %v", i, err)
		}
		if err := c.Nodes()[0].Start(ctx); err == nil {
			t.Error("a closed cluster starts a node")
		}
	}
}

// TestRefused is of what cannot be a cluster.
func TestRefused(t *testing.T) {
	dir := t.TempDir()
	for _, o := range []Options{{Dir: dir}, {Binary: "weir"}, {Binary: "weir", Dir: dir, Servers: 2}, {Binary: "weir", Dir: dir, Workers: -1}} {
		if c, err := Start(t.Context(), o); err == nil {
			t.Errorf("%+v was started: %v", o, c.Close())
		}
	}
	// An agent that does not start is told of, with what it has said.
	_, err := Start(t.Context(), Options{Binary: "/bin/false", Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "server1 has ended: exit status 1") {
		t.Errorf("an agent that ends at once: %v", err)
	}
}
