package executor

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/weirflow/weir/api"
)

// modeEnv says how the test's binary behaves when it is run as an executor.
const modeEnv = "FAKE_MODE"

// agentEnv makes it an agent in that directory instead.
const agentEnv = "FAKE_AGENT"

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(agentEnv) != "":
		fakeAgent(os.Getenv(agentEnv))
	case os.Getenv(api.ExecutorEnv) != "":
		fakeExecutor(os.Getenv(modeEnv))
	default:
		goleak.VerifyTestMain(m)
	}
}

// forever blocks until it is killed.
func forever() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	<-c
}

func fakeExecutor(mode string) {
	if mode == "deaf" || mode == "silent" || mode == "orphan" {
		signal.Ignore(syscall.SIGTERM) // before anybody can send it
	}
	events := os.NewFile(3, "events")
	say := func(e api.ExecutorEvent) {
		b, err := json.Marshal(e)
		if err != nil {
			panic(err)
		}
		if _, err := events.Write(append(b, '\n')); err != nil {
			os.Exit(9)
		}
	}
	ready := func() {
		say(api.ExecutorEvent{Ready: &api.ExecutorReady{Data: "127.0.0.1:1", Control: "127.0.0.1:2"}})
	}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	if mode == "orphan" {
		forever()
	}
	if mode == "exit" {
		fmt.Fprintln(os.Stderr, "cannot go on")
		os.Exit(3)
	}
	var config api.ExecutorConfig
	if !in.Scan() || json.Unmarshal(in.Bytes(), &config) != nil {
		os.Exit(8)
	}
	fmt.Printf("config for %s, coordinator %q, node %q, in %s\n", config.Alloc.ID, config.Coordinator, config.Node.ID, config.Dir)
	switch mode {
	case "deaf":
		ready()
		forever()
	case "never":
		forever()
	case "silent": // closes its outputs and lives on
		ready()
		for _, f := range []*os.File{os.Stdin, os.Stdout, os.Stderr, events} {
			f.Close()
		}
		forever()
	case "garbage":
		fmt.Fprintln(events, `{"ready": 7}`)
		fmt.Fprintln(events, "\x00\xff garbage")
		fmt.Fprintln(events, strings.Repeat("x", 1<<20))
		fmt.Fprintln(events, `{"ready":{"data":"`+strings.Repeat("y", 1<<20)+`:1"}}`)
		fmt.Fprintln(events, `[1]`)
		for range 20 {
			fmt.Fprintln(events, "more")
		}
		ready()
	case "fork", "escape":
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), modeEnv+"=orphan")
		c.Stdout = os.Stdout
		if mode == "escape" {
			c.Stdout = nil
			c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		}
		if err := c.Start(); err != nil {
			panic(err)
		}
		say(api.ExecutorEvent{Job: &api.JobReport{Reason: fmt.Sprint(c.Process.Pid)}})
		ready()
	case "panic":
		ready()
		for i := range 30 {
			fmt.Fprintln(os.Stderr, "line", i)
		}
		panic("boom")
	case "flood":
		ready()
		go func() {
			w := bufio.NewWriter(os.Stdout)
			for i := 0; ; i++ {
				fmt.Fprintf(w, "line %d %s\n", i, strings.Repeat("z", i%100))
			}
		}()
	case "chatty":
		ready()
		go func() {
			for i := uint64(0); ; i++ {
				say(api.ExecutorEvent{Job: &api.JobReport{Status: api.JobRunning, Epoch: i}})
			}
		}()
	case "env":
		for _, v := range os.Environ() {
			fmt.Println("env " + v)
		}
		ready()
	case "last":
		ready()
		in.Scan() // the end
		say(api.ExecutorEvent{Job: &api.JobReport{Status: api.JobFinished, Reason: "all is done"}})
		fmt.Print("no end of line")
		os.Exit(0)
	default:
		ready()
	}
	for in.Scan() {
		fmt.Println("command", in.Text())
		var c api.ExecutorCommand
		if json.Unmarshal(in.Bytes(), &c) != nil {
			os.Exit(7)
		}
		if c.Ask != "" {
			say(api.ExecutorEvent{Request: c.Request, Answer: strings.Repeat(c.Ask, 20_000)})
		} else if c.Request != 0 {
			say(api.ExecutorEvent{Request: c.Request, Answer: "saved to " + c.Savepoint})
		}
	}
	os.Exit(0)
}

// fakeAgent runs executors of some modes, prints the ids of all processes, and waits to be
// killed.
func fakeAgent(dir string) {
	pids := make(chan string, 64)
	m, err := New(Options{Dir: dir, Program: os.Args[0], Cgroup: "none", Report: func(s api.AllocStatus) {
		if s.State == api.AllocRunning {
			line := fmt.Sprint(s.PID)
			if s.Job != nil {
				line += " " + s.Job.Reason
			}
			pids <- line
		}
	}})
	if err != nil {
		panic(err)
	}
	var as []api.Assignment
	for _, mode := range []string{"good", "deaf", "escape", "fork"} {
		as = append(as, assignment("a-"+mode, mode))
	}
	if err := m.Apply(as); err != nil {
		panic(err)
	}
	for range as {
		fmt.Println(<-pids)
	}
	fmt.Println("all")
	forever()
}

// assignment is one for an executor of that mode.
func assignment(id, mode string) api.Assignment {
	return api.Assignment{
		Alloc: api.Alloc{ID: api.AllocID(id), Job: "job", Term: 1},
		Job: api.JobSpec{Name: "job", Env: map[string]string{
			modeEnv: mode, "GORACE": "atexit_sleep_ms=0", // a race is told nevertheless, and nobody waits
		}},
		Coordinator: "h:1",
	}
}
