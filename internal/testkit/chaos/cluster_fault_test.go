//go:build integration

package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/internal/testkit/netns"
	"github.com/weirflow/weir/internal/testkit/rig"
	"github.com/weirflow/weir/runtime/executor"
	"github.com/weirflow/weir/web/token"
)

// errMissed is why a fault was not injected: what it is about is not there any more.
var errMissed = errors.New("missed")

// findWithin is how long whom a fault hits is looked for.
const findWithin = 15 * time.Second

// inject carries a fault out, from its beginning to its end. What it did is undone when it
// returns, also if ctx ends.
func (r *clusterRun) inject(ctx context.Context, f fault) (err error) {
	undo, err := r.begin(ctx, f)
	r.say("%s", describeFault(f, err))
	if err != nil || undo == nil {
		return err
	}
	timer := time.NewTimer(f.For)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	// It is undone in any case.
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if err := undo(within); err != nil {
		return fmt.Errorf("undoing %s: %w", f, err)
	}
	return nil
}

func describeFault(f fault, err error) string {
	if err != nil {
		return fmt.Sprintf("%s: %v", f, err)
	}
	return f.String()
}

type undoing func(context.Context) error

func (r *clusterRun) begin(ctx context.Context, f fault) (undoing, error) {
	within, cancel := context.WithTimeout(ctx, findWithin)
	defer cancel()
	switch f.Kind {
	case killExecutor, stopExecutor:
		return r.hitExecutor(within, f)
	case outage:
		return r.restartAfter(r.c.Nodes(), (*rig.Node).Kill)
	case rolling:
		return nil, r.roll(ctx)
	case rescale:
		_, err := r.c.Client(token.Submit).Rescale(within, r.name(), api.RescaleRequest{Parallelism: f.N})
		return nil, missed(err)
	case apart:
		both := []int{servers + 1, servers + 2}
		return r.net.hold(netns.Rule{From: both, To: both, Ports: controlPorts, Others: true, Loss: 1}), nil
	case bad:
		return r.net.hold(netns.Rule{Delay: 2 * time.Millisecond, Jitter: 8 * time.Millisecond, Loss: 0.02}), nil
	}
	n, err := r.target(within, f.Target)
	if err != nil {
		return nil, err
	}
	switch f.Kind {
	case killAgent:
		return r.restartAfter([]*rig.Node{n}, (*rig.Node).Kill)
	case leaveAgent:
		return r.restartAfter([]*rig.Node{n}, func(n *rig.Node) error { return r.leave(ctx, n) })
	case stopAgent:
		return func(context.Context) error { _ = n.Signal(syscall.SIGCONT); return nil }, missed(n.Signal(syscall.SIGSTOP))
	case drain:
		return r.drain(within, n)
	case diskFull:
		return r.fill(n)
	}
	return r.partition(f.Kind, n)
}

// missed says of an error that what was wanted could not be done, which is no fault of anybody.
func missed(err error) error {
	if err != nil {
		return fmt.Errorf("%w: %w", errMissed, err)
	}
	return nil
}

// target is the node of that name, or who leads now.
func (r *clusterRun) target(ctx context.Context, name string) (*rig.Node, error) {
	if name != theLeader {
		return r.c.Node(name), nil
	}
	n, err := r.c.Leader(ctx)
	return n, missed(err)
}

// restartAfter does something that ends nodes, which are started again when it is undone.
func (r *clusterRun) restartAfter(all []*rig.Node, end func(*rig.Node) error) (undoing, error) {
	var errs []error
	for _, n := range all {
		if n.Running() {
			errs = append(errs, end(n))
		}
	}
	return func(ctx context.Context) error {
		var errs []error
		for _, n := range all {
			errs = append(errs, n.Start(ctx))
		}
		return errors.Join(errs...)
	}, errors.Join(errs...)
}

// leave has a node end in order. One that another fault kills meanwhile need not.
func (r *clusterRun) leave(ctx context.Context, n *rig.Node) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := n.Stop(ctx)
	if err != nil && strings.Contains(err.Error(), "signal: killed") {
		return nil
	}
	return err
}

// roll restarts all nodes in order, one after the other.
func (r *clusterRun) roll(ctx context.Context) error {
	for _, n := range r.c.Nodes() {
		if n.Running() {
			if err := r.leave(ctx, n); err != nil {
				return err
			}
		}
		if err := n.Start(ctx); err != nil {
			return err
		}
		if err := r.c.Ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (r *clusterRun) drain(ctx context.Context, n *rig.Node) (undoing, error) {
	_, err := r.c.Client(token.Admin).Drain(ctx, api.NodeID(n.Name))
	return func(ctx context.Context) error {
		_, err := r.c.Client(token.Admin).Undrain(ctx, api.NodeID(n.Name))
		return err
	}, missed(err)
}

// hitExecutor finds an executor of the job that runs, and stops or kills it.
func (r *clusterRun) hitExecutor(ctx context.Context, f fault) (undoing, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		asking, cancel := context.WithTimeout(ctx, 2*time.Second)
		j, err := r.job(asking)
		cancel()
		if err == nil && j.Status.Ended() {
			return nil, fmt.Errorf("%w: the job has ended", errMissed)
		}
		var pids []int
		for _, a := range j.Allocs {
			if a.Status.State == api.AllocRunning && a.Alloc.Coordinator == (f.Target == theCoordinator) && r.ours(a.Status.PID) {
				pids = append(pids, a.Status.PID)
			}
		}
		if len(pids) == 0 && len(j.Allocs) == 1 && f.Target == anExecutor && r.ours(j.Allocs[0].Status.PID) {
			pids = append(pids, j.Allocs[0].Status.PID) // there is no other
		}
		if len(pids) > 0 {
			pid := pids[int(r.Seed)%len(pids)]
			if f.Kind == killExecutor {
				return nil, missed(syscall.Kill(pid, syscall.SIGKILL))
			}
			return func(context.Context) error {
				if r.ours(pid) {
					_ = syscall.Kill(pid, syscall.SIGCONT)
				}
				return nil
			}, missed(syscall.Kill(pid, syscall.SIGSTOP))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: there is no %s: %w", errMissed, f.Target, ctx.Err())
		}
	}
}

// ours says whether a process is an executor of this cluster: what a server tells may be old.
func (r *clusterRun) ours(pid int) bool {
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return err == nil && strings.Contains(string(env), executor.DirEnv+"="+r.c.Dir()+"/")
}

// fill fills the small disk of a node to its last byte.
func (r *clusterRun) fill(n *rig.Node) (undoing, error) {
	f, err := os.CreateTemp(n.Data(), "filler-")
	if err != nil {
		return nil, missed(err) // there is not even room for its name
	}
	return func(context.Context) error { return os.Remove(f.Name()) }, fillDisk(f)
}

// fillDisk writes into a file until there is no room.
func fillDisk(f *os.File) error {
	block := make([]byte, 1<<20)
	for size := len(block); size > 0; {
		if _, err := f.Write(block[:size]); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return f.Close()
}

// controlPorts are where agents listen on hosts of their own.
var controlPorts = []uint16{7470, 7471, 7472, 7473}

func (r *clusterRun) partition(k kind, n *rig.Node) (undoing, error) {
	host := []int{n.Index() + 1}
	from, to := netns.Rule{From: host, Loss: 1}, netns.Rule{To: host, Loss: 1}
	switch k {
	case controlOnly, dataOnly:
		for _, rule := range []*netns.Rule{&from, &to} {
			rule.Ports, rule.Others = controlPorts, k == dataOnly
		}
	case deaf:
		from.Loss = 0
	case mute:
		to.Loss = 0
	}
	return r.net.hold(from, to), nil
}

// network is the hosts of a schedule, with the rules of its faults.
type network struct {
	*netns.Net
	mu    sync.Mutex
	last  int
	rules map[int][]netns.Rule
}

// hold has rules hold until they are taken back.
func (n *network) hold(rules ...netns.Rule) undoing {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last++
	id := n.last
	n.rules[id] = rules
	n.set()
	return func(context.Context) error {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.rules, id)
		n.set()
		return nil
	}
}

// set tells the switch. The caller holds mu.
func (n *network) set() {
	var all []netns.Rule
	for _, rules := range n.rules {
		all = append(all, rules...)
	}
	n.Set(all...)
}
