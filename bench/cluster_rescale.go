package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/api/client"
)

var clusterRescale = Case{
	Name: "cluster-rescale",
	What: "longest time without a result when a job goes from 1 subtask to 2, to 4, and back to 1",
	run:  runClusterRescale,
}

func runClusterRescale(ctx context.Context, o Options) (r Result, err error) {
	goal := 1000.0
	if o.Value > 0 {
		goal = 5000
	}
	err = onCluster(ctx, rigged{servers: 3, workers: 2, slots: 4, weir: o.weir}, func(ctx context.Context, c *cluster) error {
		began := time.Now()
		h, err := c.begin(ctx, o, 1)
		if err != nil {
			return err
		}
		was := 1
		for _, to := range []int{2, 4, 1} {
			d, err := h.gapAfter(ctx, func() error {
				_, err := h.cl.Rescale(ctx, h.name, api.RescaleRequest{Parallelism: to})
				return err
			}, func(ctx context.Context) (bool, error) {
				j, err := h.cl.Job(ctx, h.name, client.Wait{})
				if err != nil {
					return false, err
				}
				slots := 0
				for _, a := range j.Allocs {
					if !a.Status.State.Ended() {
						slots += a.Alloc.Slots
					}
				}
				return j.Status == api.JobRunning && slots == to, nil
			})
			if err != nil {
				return fmt.Errorf("from %d to %d: %w", was, to, err)
			}
			r.Figures = append(r.Figures, milliseconds(fmt.Sprintf("from %d to %d", was, to), d, goal).beside(flink, 5800))
			was = to
		}
		return h.into(&r, began)
	})
	return r, err
}
