package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/web/token"
)

var clusterStartup = Case{
	Name: "cluster-startup",
	What: "an agent that is a cluster by itself, from its start until it is ready, and its memory; a job from its submission to its first result",
	run:  runClusterStartup,
}

// submissions is how often the job is submitted; the first is not of a warm cluster.
const submissions = 4

func runClusterStartup(ctx context.Context, o Options) (r Result, err error) {
	began := time.Now()
	err = onCluster(ctx, rigged{workers: 0, slots: 4, weir: o.weir}, func(ctx context.Context, c *cluster) error {
		// The agent starts anew, on a directory that it has never seen.
		n := c.Nodes()[0]
		if err := n.Kill(); err != nil {
			return err
		}
		if err := os.RemoveAll(n.Data()); err != nil {
			return fmt.Errorf("an empty directory: %w", err)
		}
		start := time.Now()
		if err := n.Start(ctx); err != nil {
			return err
		}
		if err := c.Ready(ctx); err != nil {
			return err
		}
		r.Figures = append(r.Figures, milliseconds("an agent alone, until it is ready", time.Since(start), 500).beside(flink, 4900))
		if err := sleep(ctx, 5*time.Second); err != nil {
			return err
		}
		if mb, ok := residentMB(n.PID()); ok {
			r.Figures = append(r.Figures, Figure{What: "memory of an idle agent", Value: mb, Unit: "MB", Goal: 64}.beside(flink, 570))
		}
		for i := range submissions {
			d, err := c.submitted(ctx, i, &r)
			if err != nil {
				return err
			}
			f := milliseconds("a job, from its submission to its first result", d, 300).beside(flink+", REST, a jar that is there", 450)
			if i == 0 {
				f = milliseconds("the same, the first time", d, 300).beside(flink+", CLI", 2700)
			}
			r.Figures = append(r.Figures, f)
		}
		return nil
	})
	r.WallS = time.Since(began).Seconds()
	if r.WallS > 0 {
		r.EventsPerS = float64(r.Events) / r.WallS
	}
	return r, err
}

// submitted measures one submission, and ends its job.
func (c *cluster) submitted(ctx context.Context, i int, r *Result) (time.Duration, error) {
	h := &heartJob{c: c, name: fmt.Sprint("start", i), heart: filepath.Join(c.Dir(), fmt.Sprint("heart", i)), cl: c.Client(token.Admin)}
	if err := os.MkdirAll(h.heart, 0o700); err != nil {
		return 0, fmt.Errorf("a place for what is measured: %w", err)
	}
	po := programOptions{Keys: 1000, Rate: 100_000, Out: h.heart}
	at := time.Now()
	if _, err := h.cl.Submit(ctx, api.JobSpec{Name: h.name, Parallelism: 2, State: filepath.Join(c.Dir(), "state"),
		Args: po.args("cluster-heart")}, false); err != nil {
		return 0, err
	}
	if err := h.beating(ctx, at, time.Minute); err != nil {
		return 0, err
	}
	all, err := beats(h.heart)
	if err != nil {
		return 0, err
	}
	first, _ := firstAfter(all, at)
	r.Events += int64(len(all))
	if _, err := h.cl.Cancel(ctx, h.name); err != nil {
		return 0, err
	}
	return first, sleep(ctx, time.Second)
}

// residentMB is the memory of a process that is resident, in MB (1e6 bytes); false where the system
// does not say.
func residentMB(pid int) (float64, bool) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmRSS:" {
			kb, err := strconv.ParseFloat(f[1], 64)
			return kb * 1024 / 1e6, err == nil
		}
	}
	return 0, false
}
