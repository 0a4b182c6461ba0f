package bench

import (
	"context"
	"fmt"
	"time"
)

var clusterRecovery = Case{
	Name: "cluster-recovery",
	What: "longest time without a result when a process is killed: an executor, the coordinator, the leader, an agent",
	run:  runClusterRecovery,
}

func runClusterRecovery(ctx context.Context, o Options) (r Result, err error) {
	err = onCluster(ctx, rigged{servers: 3, workers: 2, slots: 4, weir: o.weir}, func(ctx context.Context, c *cluster) error {
		began := time.Now()
		h, err := c.begin(ctx, o, 2)
		if err != nil {
			return err
		}
		fault := func(what string, goal, peer float64, peerName string, do func() error) error {
			d, err := h.gapAfter(ctx, do, h.runs)
			if err != nil {
				return fmt.Errorf("%s is killed: %w", what, err)
			}
			r.Figures = append(r.Figures, milliseconds(what, d, goal).beside(peerName, peer))
			return nil
		}
		if err := fault("nothing", 100, 0, "", func() error { return nil }); err != nil {
			return err
		}
		if err := fault("an executor", 500, 13_800, flinkDefault, func() error {
			_, other, err := h.executors(ctx)
			if err != nil {
				return err
			}
			return kill(other.Status.PID)
		}); err != nil {
			return err
		}
		if err := fault("the coordinator's executor", 500, 1_130, flinkTuned, func() error {
			co, _, err := h.executors(ctx)
			if err != nil {
				return err
			}
			return kill(co.Status.PID)
		}); err != nil {
			return err
		}
		leader, err := c.Leader(ctx)
		if err != nil {
			return err
		}
		if err := fault("the leader", 1000, 0, "", leader.Kill); err != nil {
			return err
		}
		if err := leader.Start(ctx); err != nil {
			return err
		}
		if err := c.Ready(ctx); err != nil {
			return err
		}
		co, other, err := h.executors(ctx)
		if err != nil {
			return err
		}
		if err := fault("an agent", 1500, 15_600, flinkDefault, func() error { return c.Node(other.NodeName).Kill() }); err != nil {
			return err
		}
		if err := c.Node(other.NodeName).Start(ctx); err != nil {
			return err
		}
		if err := c.Ready(ctx); err != nil {
			return err
		}
		if err := fault("the agent of the coordinator", 1500, 15_600, flinkDefault, func() error { return c.Node(co.NodeName).Kill() }); err != nil {
			return err
		}
		return h.into(&r, began)
	})
	return r, err
}
