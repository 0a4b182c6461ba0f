package node

import "github.com/weirflow/weir/graph"

// inBatch settles what is different where the plan is one of batch mode: the state of
// tasks is on disk, since nobody has said how large it is. Of the job's memory it has a
// quarter, what tasks write for others has an eighth (outputOptions), and the rest is for
// sorting and grouping: slots tasks run at a time, and a task has one operator that takes
// its share, the one at its head.
func (o *Options) inBatch(plan *graph.Plan, slots int) {
	if plan.Mode != graph.Batch {
		return
	}
	if o.State.Backend == "" {
		o.State.Backend = LSM
	}
	o.State.ensureDefaults()
	o.sorting = int(o.State.Memory / 8 * 5 / int64(max(1, slots)))
}
