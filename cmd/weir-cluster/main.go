// Command weir-cluster starts a cluster of three servers and two workers on loopback, with TLS, tokens
// and encrypted gossip, in a directory that is gone at the end, and says what to try. It is
// make cluster.
//
// It runs until it is interrupted, or is asked to end; then it kills all that it has started.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/weirflow/weir/internal/testkit/rig"
)

// startWithin is how long a host that is slow may take.
const startWithin = 2 * time.Minute

func main() {
	weir := flag.String("weir", "bin/weir", "`PATH` of weir")
	servers := flag.Int("servers", 3, "`N` agents that decide: 1, 3 or 5")
	workers := flag.Int("workers", 2, "`N` agents that run jobs")
	slots := flag.Int("slots", 4, "`N` slots of each worker")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, os.Stdout, rig.Options{Binary: *weir, Servers: *servers, Workers: *workers, Slots: *slots, Secure: true}); err != nil {
		fmt.Fprintln(os.Stderr, "weir-cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, w io.Writer, o rig.Options) (err error) {
	if o.Dir, err = os.MkdirTemp("", "weir-cluster-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(o.Dir)) }()
	o.Log = w
	starting, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	began := time.Now()
	c, err := rig.Start(starting, o)
	if err != nil {
		if ctx.Err() != nil {
			return nil // it was not wanted any more
		}
		return err
	}
	defer func() {
		err = errors.Join(err, c.Close())
		fmt.Fprintln(w, "all processes are gone")
	}()
	if err := say(ctx, w, c, time.Since(began)); err != nil {
		return err
	}
	var watching sync.WaitGroup
	for _, n := range c.Nodes() {
		watching.Go(func() { watch(ctx, w, n) })
	}
	watching.Wait()
	fmt.Fprintln(w)
	return nil
}

// downFor is for how long who was killed stays away.
const downFor = 15 * time.Second

// watch starts a node again some time after it was killed.
func watch(ctx context.Context, w io.Writer, n *rig.Node) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.Ended():
			fmt.Fprintf(w, "%s has ended, and is started again in %s\n", n.Name, downFor)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(downFor):
		}
		if err := n.Start(ctx); err != nil {
			fmt.Fprintln(w, "weir-cluster:", err)
			return
		}
	}
}

// say prints what to try. What is typed works in any directory of the repository's.
func say(ctx context.Context, w io.Writer, c *rig.Cluster, took time.Duration) error {
	leader, err := c.Leader(ctx)
	if err != nil {
		return err
	}
	victim := leader
	if workers := c.Workers(); len(workers) > 0 {
		victim = workers[0]
	}
	fmt.Fprintf(w, `
A cluster of %d agents is ready after %.1f s, and is closed to strangers. %s leads. In another terminal, here:

  export WEIR_CONFIG=%s
  %[5]s members
  %[5]s submit ./examples/clickstream --parallelism 4 --state %[6]s/state -- --input $PWD/examples/clickstream/testdata/clicks --watch --output %[6]s/clicks
  %[5]s job status clickstream
  %[5]s job top clickstream
  %[5]s job events clickstream
  kill -9 %[7]d     # %[8]s, which comes back 15 s later; look at the job's events again
  kill -9 %[9]d     # %[10]s, which leads: the job does not notice
  %[5]s job rescale clickstream 2
  %[5]s job save clickstream
  %[5]s job stop clickstream
  %[5]s audit log
  %[5]s submit ./examples/clickstream --context read     # is refused

All of it is in %[6]s until Ctrl-C.
`, len(c.Nodes()), took.Seconds(), leader.Name, c.Contexts(), "bin/weir", c.Dir(), victim.PID(), victim.Name, leader.PID(), leader.Name)
	return nil
}
