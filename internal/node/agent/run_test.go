package agent

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/cluster/registry"
	"github.com/weirflow/weir/internal/node/config"
	"github.com/weirflow/weir/runtime/artifact"
)

// TestMain is also the program of the tests' jobs: an executor that says it is ready and, as
// a coordinator, that its job runs, until somebody wants something else.
func TestMain(m *testing.M) {
	if os.Getenv(api.ExecutorEnv) != "" {
		os.Exit(program())
	}
	os.Exit(m.Run())
}

func program() int {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	out := json.NewEncoder(os.NewFile(3, "events"))
	if !in.Scan() {
		return 2
	}
	var c api.ExecutorConfig
	if err := json.Unmarshal(in.Bytes(), &c); err != nil {
		return 3
	}
	ready := api.ExecutorReady{Data: "127.0.0.1:1"}
	if c.Alloc.Coordinator {
		ready.Control = "127.0.0.1:2"
	}
	_ = out.Encode(api.ExecutorEvent{Ready: &ready})
	report := func(s api.JobStatus) {
		if c.Alloc.Coordinator {
			_ = out.Encode(api.ExecutorEvent{Job: &api.JobReport{Status: s, Attempt: c.Alloc.Term, Slots: c.Job.Parallelism}})
		}
	}
	report(api.JobRunning)
	for in.Scan() {
		var cmd api.ExecutorCommand
		if err := json.Unmarshal(in.Bytes(), &cmd); err != nil {
			return 4
		}
		if cmd.Parallelism > 0 {
			c.Job.Parallelism = cmd.Parallelism
			report(api.JobRunning)
		}
		if cmd.Ask != "" {
			if kind, _, _ := strings.Cut(cmd.Ask, " "); kind == "profile" || kind == api.AskMetrics {
				_ = out.Encode(answers(&c, &cmd))
				continue
			}
			ev := answerOf(&c, cmd.Ask)
			ev.Request = cmd.Request
			_ = out.Encode(ev)
			continue
		}
		switch cmd.Wish {
		case api.WishCancel:
			report(api.JobCancelled)
		case api.WishStop:
			report(api.JobFinished)
		default:
			continue
		}
		if c.Alloc.Coordinator {
			return 0
		}
	}
	return 0
}

// startAgent runs an agent until the test, or the returned function, ends it.
func startAgent(t *testing.T, name string, change func(*config.Config)) (*Agent, func()) {
	t.Helper()
	c := config.Default()
	c.Name, c.DataDir, c.Slots = name, t.TempDir(), 2
	c.Listen.RPC, c.Listen.Gossip, c.Listen.HTTP = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	change(&c)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	a, err := Open(Options{Config: c, Version: "0.1.0", Program: exe, Log: slog.New(slog.NewTextHandler(newTestLog(t), nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- a.Run(ctx) }()
	var stopped bool
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-over; err != nil {
			t.Errorf("agent %s: %v", name, err)
		}
	}
	t.Cleanup(stop)
	return a, stop
}

// testLog is a log while the test runs: the gossip library's goroutines end a little later.
type testLog struct {
	mu   sync.Mutex
	t    *testing.T
	over bool
}

func newTestLog(t *testing.T) *testLog {
	l := &testLog{t: t}
	t.Cleanup(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.over = true
	})
	return l
}

func (l *testLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.over {
		l.t.Log(strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

// await waits for something to be true of what an agent knows to be decided.
func await(t *testing.T, a *Agent, what string, f func(v *registry.View) bool) *registry.View {
	t.Helper()
	late := time.After(30 * time.Second)
	for {
		changed := a.Registry().Watch(a.Registry().Index())
		v := a.Registry().View()
		if f(v) {
			return v
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("it never came that %s\n%s", what, describe(v))
		}
	}
}

// decide asks the leader, whoever that is.
func decide(t *testing.T, c registry.Command, agents ...*Agent) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		for _, a := range agents {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			_, err := a.Decide(ctx, c, "test")
			cancel()
			if err == nil {
				return
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
		<-time.After(20 * time.Millisecond)
	}
}

// TestAgent runs a job on an agent that is alone, and cancels it.
func TestAgent(t *testing.T) {
	a, stop := startAgent(t, "alone", func(c *config.Config) { c.Server.Enabled, c.Server.BootstrapExpect = true, 1 })
	decide(t, &registry.SubmitJob{Spec: api.JobSpec{Name: "clicks", Parallelism: 2, Submitted: time.Now().UnixMicro()}, Request: "1"}, a)
	v := await(t, a, "the job runs", func(v *registry.View) bool { return running(v, "clicks") })
	if all := v.AllocsOf("clicks"); len(all) == 0 || all[0].Status.PID == 0 {
		t.Errorf("no process runs\n%s", describe(v))
	}
	decide(t, &registry.SetWish{Job: "clicks", Wish: api.WishCancel}, a)
	await(t, a, "nothing of the job runs", func(v *registry.View) bool {
		return v.Job("clicks").Status == api.JobCancelled &&
			!slices.ContainsFunc(v.AllocsOf("clicks"), func(x *registry.Alloc) bool { return x.Live() })
	})
	stop()
}

// TestCluster has three servers, one of which goes: its executors run elsewhere.
func TestCluster(t *testing.T) {
	server := func(join ...string) func(*config.Config) {
		return func(c *config.Config) {
			c.Server.Enabled, c.Server.BootstrapExpect, c.Join, c.Slots = true, 3, join, 1
		}
	}
	a, stopA := startAgent(t, "a", server())
	seed := a.gossip.Load().Addr()
	b, stopB := startAgent(t, "b", server(seed))
	c, stopC := startAgent(t, "c", server(seed))
	all, stops := []*Agent{a, b, c}, []func(){stopA, stopB, stopC}
	decide(t, &registry.SubmitJob{Spec: api.JobSpec{Name: "clicks", Parallelism: 2, Submitted: time.Now().UnixMicro()}, Request: "1"}, all...)
	v := await(t, a, "the job runs", func(v *registry.View) bool { return running(v, "clicks") && len(v.Nodes()) == 3 })
	// The agent of the coordinator leaves, be it the leader or not.
	gone := slices.IndexFunc(all, func(x *Agent) bool {
		return slices.ContainsFunc(v.AllocsOn(x.node.ID), func(y *registry.Alloc) bool { return y.Alloc.Coordinator })
	})
	if gone < 0 {
		t.Fatalf("the coordinator is nowhere\n%s", describe(v))
	}
	term := v.Job("clicks").Term
	left := all[(gone+1)%3]
	stops[gone]()
	await(t, left, "the job runs with another coordinator", func(v *registry.View) bool {
		return running(v, "clicks") && v.Job("clicks").Term > term && v.Node(all[gone].node.ID).Gone()
	})
}

// TestSpread gives a program to one server of three: the others have it when that is answered.
func TestSpread(t *testing.T) {
	server := func(join ...string) func(*config.Config) {
		return func(c *config.Config) { c.Server.Enabled, c.Server.BootstrapExpect, c.Join = true, 3, join }
	}
	a, _ := startAgent(t, "a", server())
	seed := a.gossip.Load().Addr()
	b, _ := startAgent(t, "b", server(seed))
	c, _ := startAgent(t, "c", server(seed))
	all := []*Agent{a, b, c}
	decide(t, &registry.AddEvent{Kind: registry.EventNode, Text: "somebody leads"}, all...)
	program := []byte("a program")
	sum := sha256.Sum256(program)
	hash := "sha256:" + hex.EncodeToString(sum[:])
	h, err := artifact.ParseHash(hash)
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for put := false; !put; {
		for _, x := range all {
			// Only the leader takes it, and it must see the others.
			if _, leads := x.raft.Leading(); !leads || len(x.servers()) < 3 {
				continue
			}
			_, err = (&backend{x}).PutArtifact(t.Context(), hash, int64(len(program)), bytes.NewReader(program))
			if put = err == nil; put {
				break
			}
		}
		if !put && time.Now().After(deadline) {
			t.Fatal("nobody takes it: ", err)
		}
		if !put {
			<-time.After(20 * time.Millisecond)
		}
	}
	for _, x := range all {
		if !x.artifacts.Has(h) {
			t.Errorf("%s does not have it", x.node.Name)
		}
	}
}
