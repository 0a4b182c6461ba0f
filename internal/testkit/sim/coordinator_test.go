package sim

import (
	"errors"
	"fmt"
	"sync"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/internal/node"
)

func flowJob(name string) flow.JobID { return flow.JobID(name) }

// coordinate runs a coordinator, and does what is wished of its job.
func (c *child) coordinate(plan *graph.Plan, o node.Options, m node.Member, say *teller, next func(any) error) error {
	co, err := node.NewCoordinator(plan, o, m, func(r api.JobReport) { say.tell(api.ExecutorEvent{Job: &r}) })
	if err != nil {
		return err
	}
	var heard sync.WaitGroup
	heard.Go(func() {
		for {
			var cmd api.ExecutorCommand
			if err := next(&cmd); err != nil {
				c.cancel(err)
				return
			}
			if cmd.Coordinator != "" && cmd.Term > c.alloc.Term {
				c.cancel(fmt.Errorf("there is a coordinator of term %d, and this one is of %d", cmd.Term, c.alloc.Term))
				return
			}
			switch cmd.Wish {
			case api.WishStop:
				co.Stop()
			case api.WishCancel:
				co.Cancel()
			}
		}
	})
	err = co.Run(c.ctx)
	if errors.Is(err, node.ErrStopped) || errors.Is(err, node.ErrCancelled) {
		err = nil
	}
	c.cancel(errInput)
	_ = c.in.Close() // ends who hears
	heard.Wait()
	return err
}
