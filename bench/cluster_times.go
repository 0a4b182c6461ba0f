package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/api/client"
	"github.com/weirflow/weir/web/token"
)

// Figure is one thing that a case of clusters has measured.
type Figure struct {
	What  string  `json:"what"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"` // ms or MB
	// Goal is what it should be at most.
	Goal float64 `json:"goal"`
	// PeerValue is what another engine, Peer, does on the same class of machine, measured
	// elsewhere; docs/design/0017-recovery.md says how. 0: nobody has measured it.
	PeerValue float64 `json:"peer_value,omitempty"`
	Peer      string  `json:"peer,omitempty"`
}

func milliseconds(what string, d time.Duration, goal float64) Figure {
	return Figure{What: what, Value: float64(d.Microseconds()) / 1000, Unit: "ms", Goal: goal}
}

// beside puts another engine's value beside a figure.
func (f Figure) beside(peer string, value float64) Figure {
	f.Peer, f.PeerValue = peer, value
	return f
}

const (
	flinkDefault = "Flink 2.3.0, default settings"
	flinkTuned   = "Flink 2.3.0, tuned"
	flink        = "Flink 2.3.0"
)

// heartJob is a job with a heart on a cluster.
type heartJob struct {
	c     *cluster
	name  string
	heart string // directory
	cl    *client.Client
	po    programOptions
}

// begin submits it. It is warm when every key has come once.
func (c *cluster) begin(ctx context.Context, o Options, parallelism int) (*heartJob, error) {
	h := &heartJob{c: c, name: "heart", heart: filepath.Join(c.Dir(), "heart"), cl: c.Client(token.Admin),
		po: programOptions{Keys: o.Keys, Rate: o.Rate, Value: o.Value}}
	if h.po.Keys == 0 {
		h.po.Keys = 1_000_000
	}
	if h.po.Rate == 0 {
		h.po.Rate = 100_000
	}
	h.po.Out = h.heart
	if err := os.MkdirAll(h.heart, 0o700); err != nil {
		return nil, fmt.Errorf("a place for what is measured: %w", err)
	}
	if o.Checkpoint == 0 {
		o.Checkpoint = time.Second
	}
	spec := api.JobSpec{Name: h.name, Parallelism: parallelism, SlotsPerExecutor: 1, State: filepath.Join(c.Dir(), "state"),
		Args: append(h.po.args("cluster-heart"), "--epoch", o.Checkpoint.String())}
	if _, err := h.cl.Submit(ctx, spec, false); err != nil {
		return nil, err
	}
	warm := time.Duration(float64(h.po.Keys)/h.po.Rate*float64(time.Second)) + 3*time.Second
	if err := h.beating(ctx, time.Now(), time.Minute); err != nil {
		return nil, err
	}
	return h, sleep(ctx, warm)
}

// sleep waits for measured time to pass.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// beating waits for a result behind a moment.
func (h *heartJob) beating(ctx context.Context, after time.Time, within time.Duration) error {
	for late := time.Now().Add(within); ; {
		all, err := beats(h.heart)
		if err != nil {
			return err
		}
		if _, ok := firstAfter(all, after); ok {
			return nil
		}
		if time.Now().After(late) {
			return fmt.Errorf("no result within %v\n%s", within, h.c.lastLines(ctx, h.name))
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// calm is how long after the last gap a fault counts as got over.
const calm = 4 * time.Second

// gapAfter does something to the job, and returns the longest gap in its results from then on,
// when they have flowed again for a while and done says that it is over.
func (h *heartJob) gapAfter(ctx context.Context, do func() error, done func(context.Context) (bool, error)) (time.Duration, error) {
	from := time.Now()
	if err := do(); err != nil {
		return 0, err
	}
	for late := from.Add(2 * time.Minute); ; {
		if err := sleep(ctx, calm); err != nil {
			return 0, err
		}
		to := time.Now()
		all, err := beats(h.heart)
		if err != nil {
			return 0, err
		}
		over, err := done(ctx)
		if err != nil {
			return 0, err
		}
		// What is flowing now may have begun to a moment ago.
		steady, _ := gap(all, to.Add(-calm/2), to)
		longest, flows := gap(all, from, to.Add(-time.Second))
		if over && flows && steady < calm/2 {
			return longest, nil
		}
		if to.After(late) {
			return 0, fmt.Errorf("results do not flow again\n%s", h.c.lastLines(ctx, h.name))
		}
	}
}

// runs says that the job is running.
func (h *heartJob) runs(ctx context.Context) (bool, error) {
	j, err := h.cl.Job(ctx, h.name, client.Wait{})
	if err != nil {
		return false, nil // who was asked may be the one that was killed
	}
	if j.Status.Ended() {
		return false, fmt.Errorf("the job is %s: %s\n%s", j.Status, j.Reason, h.c.lastLines(ctx, h.name))
	}
	return j.Status == api.JobRunning, nil
}

// executors are its processes that run: the coordinator, and one of the others.
func (h *heartJob) executors(ctx context.Context) (coordinator, other api.AllocInfo, err error) {
	j, err := h.cl.Job(ctx, h.name, client.Wait{})
	if err != nil {
		return coordinator, other, err
	}
	term := uint64(0)
	for _, a := range j.Allocs {
		switch {
		case a.Status.State != api.AllocRunning || a.Status.PID == 0:
		case a.Alloc.Coordinator && a.Alloc.Term >= term:
			coordinator, term = a, a.Alloc.Term
		case !a.Alloc.Coordinator:
			other = a
		}
	}
	if coordinator.Status.PID == 0 || other.Status.PID == 0 {
		return coordinator, other, errors.New("the job does not run in two processes")
	}
	return coordinator, other, nil
}

func kill(pid int) error {
	p, err := os.FindProcess(pid)
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		return fmt.Errorf("killing process %d: %w", pid, err)
	}
	return nil
}

// into fills what is the same for all cases of clusters.
func (h *heartJob) into(r *Result, began time.Time) error {
	all, err := beats(h.heart)
	r.Events, r.WallS = int64(len(all)), time.Since(began).Seconds()
	if r.WallS > 0 {
		r.EventsPerS = float64(r.Events) / r.WallS
	}
	return err
}
