package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/api/client"
	"github.com/weirflow/weir/internal/testkit/rig"
	"github.com/weirflow/weir/web/token"
)

// Peer is what another engine does with the same, measured elsewhere, on the same class of
// machine. docs/design says how.
type Peer struct {
	Name       string  `json:"name"`
	EventsPerS float64 `json:"events_per_s,omitempty"`
	// Ratio is what was measured here by that.
	Ratio float64 `json:"ratio,omitempty"`
}

// beside is the peer with the ratio to it.
func (p Peer) beside(perSecond float64) *Peer {
	p.Ratio = perSecond / p.EventsPerS
	return &p
}

// rigged says what cluster a case needs. Servers run no tasks.
type rigged struct {
	servers        int    // default 1
	workers, slots int    // slots of each worker
	weir           string // its path; empty: this program
}

// cluster is one of real processes, of this same program.
type cluster struct {
	*rig.Cluster
}

// onCluster runs f beside a cluster in a temporary directory, and ends it.
func onCluster(ctx context.Context, o rigged, f func(context.Context, *cluster) error) (err error) {
	if o.weir == "" {
		if o.weir, err = os.Executable(); err != nil {
			return fmt.Errorf("finding this program: %w", err)
		}
	}
	dir, err := os.MkdirTemp("", "weir-bench-")
	if err != nil {
		return fmt.Errorf("a place for a cluster: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c, err := rig.Start(ctx, rig.Options{Binary: o.weir, Dir: dir, Servers: max(1, o.servers), Workers: o.workers, Slots: o.slots})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	return f(ctx, &cluster{c})
}

// runJob submits a job that weir itself has the program of, and waits for its end.
func (c *cluster) runJob(ctx context.Context, spec api.JobSpec) (j api.JobInfo, err error) {
	cl := c.Client(token.Admin)
	done, err := cl.Submit(ctx, spec, false)
	if err != nil {
		return j, err
	}
	for wait := (client.Wait{}); ; {
		if j, err = cl.Job(ctx, done.Job, wait); err != nil {
			return j, err
		}
		if j.Status.Ended() {
			break
		}
		wait.Index = max(j.Index, 1)
	}
	if j.Status != api.JobFinished {
		return j, fmt.Errorf("job %q is %s: %s\n%s", j.Spec.Name, j.Status, j.Reason, c.lastLines(ctx, done.Job))
	}
	return j, nil
}

// lastLines is the end of what the executors of a job wrote.
func (c *cluster) lastLines(ctx context.Context, job string) string {
	var b strings.Builder
	if err := c.Client(token.Admin).Logs(ctx, job, client.LogQuery{Tail: 20}, func(l api.LogLine) error {
		fmt.Fprintf(&b, "%s: %s\n", l.Alloc, l.Text)
		return nil
	}); err != nil {
		fmt.Fprintf(&b, "there are no logs: %v\n", err)
	}
	return b.String()
}
