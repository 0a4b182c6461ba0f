package scheduler

import (
	"context"
	"fmt"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
)

// Storage keeps what a job needs to go on after a failure: it is that of
// checkpoint/store, seen from here.
type Storage interface {
	// Claim begins attempt at, or with 0 the one after the newest. From then on older
	// attempts commit nothing more. fresh puts what was committed out of use.
	Claim(ctx context.Context, at flow.Attempt, fresh bool) (Claimed, error)
	// Commit makes m the newest manifest. After an error the attempt has to end, since
	// nobody knows whether m counts; store.ErrFenced says that another has begun.
	Commit(ctx context.Context, m *checkpoint.Manifest) error
	// Savepoint copies a committed manifest, with all that it names, to a place of the
	// user's.
	Savepoint(ctx context.Context, dest string, m *checkpoint.Manifest) error
	// Collect removes what no manifest needs any more.
	Collect(ctx context.Context) error
}

// Claimed is what an attempt finds in storage.
type Claimed struct {
	Attempt flow.Attempt
	// Manifest is the newest one, nil where there is none.
	Manifest *checkpoint.Manifest
	// Newest is the newest epoch that was ever committed. Numbers go on also where the
	// job starts anew: sinks that note the newest epoch with their target would take
	// those of the new job for repeats of the old ones.
	Newest flow.Epoch
}

// restored is what an attempt starts from.
type restored struct {
	epoch   flow.Epoch // 0: anew
	first   flow.Epoch // the number of the attempt's first one
	tasks   [][]byte   // as in api.Deploy
	sources map[flow.OperatorID]*restoredSource
	// final says that the epoch was the job's last.
	final    bool
	manifest *checkpoint.Manifest
	dropped  []checkpoint.Dropped
}

// Restored tells what an attempt starts from.
type Restored struct {
	Attempt flow.Attempt
	// Epoch is 0 where the job starts anew.
	Epoch   flow.Epoch
	Created flow.Time // of the epoch
	// Savepoint says that it was one of the user's, and not the job's own newest.
	Savepoint bool
	// Finished says that the epoch was the job's last: there is nothing left to do.
	Finished bool
	// Sources are those of which something was found before.
	Sources map[flow.OperatorID]RestoredSource
}

// RestoredSource is what is left of a source.
type RestoredSource struct {
	// Remaining is the size of the splits that are not read to their end.
	Remaining int64
	// Complete says that there will be no other splits.
	Complete bool
}

// restore does all that comes before the first task of the attempt: it finds the
// newest epoch, repeats its commit, has sinks remove leftovers, and deals the
// snapshot out.
func (c *committers) restore() (*restored, error) {
	s, ctx := c.s, c.ctx
	claimed := s.claimed
	if s.opt.Storage != nil && c.a.number != s.first {
		var err error
		if claimed, err = s.opt.Storage.Claim(ctx, c.a.number, false); err != nil {
			return nil, storageFailure("beginning the next attempt", err)
		}
	}
	r := &restored{manifest: claimed.Manifest, sources: map[flow.OperatorID]*restoredSource{}}
	r.first = claimed.Newest + 1
	target := target(s.opt.Plan)
	var res *checkpoint.Restore
	if r.manifest == nil && s.opt.From != nil {
		r.manifest = s.opt.From
		r.first = max(r.first, flow.Epoch(s.opt.From.Epoch)+1)
	}
	if r.manifest != nil {
		var err error
		res, err = checkpoint.Resolve(r.manifest, target, checkpoint.ResolveOptions{AllowDroppedState: s.opt.AllowDroppedState})
		if err != nil {
			return nil, &flow.Failure{Domain: flow.DomainUser, Message: "restoring: " + err.Error(), Cause: err}
		}
		r.epoch, r.dropped = res.Epoch, res.Dropped
		r.final = flow.BarrierKind(r.manifest.Kind) == flow.BarrierFinal && r.manifest == claimed.Manifest
	}
	if s.opt.Storage != nil {
		c.books = checkpoint.NewBooks(target, r.manifest, res)
	}
	if res != nil {
		if err := c.publish(res.Committables); err != nil {
			return nil, fmt.Errorf("committing the restored epoch %d once more: %w", res.Epoch, err)
		}
	}
	if err := c.recover(r.first - 1); err != nil {
		return nil, err
	}
	if res == nil || r.final {
		return r, nil
	}
	return r, c.deal(r, res)
}

// deal encodes what each task starts from, and restores the sources' side.
func (c *committers) deal(r *restored, res *checkpoint.Restore) error {
	for _, id := range c.s.tasks {
		var b []byte
		if t := res.Tasks[id]; t != nil {
			b = checkpoint.AppendTaskRestore(nil, t)
		}
		r.tasks = append(r.tasks, b)
	}
	for op, sr := range res.Sources {
		src := c.a.sources[op]
		if src == nil {
			return &flow.Failure{Operator: op, Message: "the snapshot was resolved to a source that the plan lacks"}
		}
		rs, err := src.restoreSource(sr)
		if err != nil {
			for _, other := range r.sources {
				other.drop()
			}
			f := *flow.FailureOf(err)
			f.Operator, f.Name, f.Message, f.Cause = op, src.op.Name, "restoring what was found of the input: "+f.Text(), err
			return &f
		}
		r.sources[op] = rs
	}
	return nil
}

// told tells people what the attempt starts from.
func (s *Scheduler) told(r *restored) {
	t := Restored{Attempt: s.cur.number, Epoch: r.epoch, Finished: r.final, Sources: map[flow.OperatorID]RestoredSource{}}
	if r.manifest != nil {
		t.Created = flow.Time(r.manifest.Created)
		t.Savepoint = r.manifest == s.opt.From
		s.opt.Log.Info("restored", "epoch", r.epoch, "attempt", s.cur.number, "written", t.Created.Std(), "savepoint", t.Savepoint)
	}
	for _, d := range r.dropped {
		s.opt.Log.Warn("state is left out", "operator", d.Operator, "what", d.What)
	}
	for op, rs := range r.sources {
		left := RestoredSource{Complete: rs.Done}
		for i := range rs.splits {
			left.Remaining += rs.splits[i].Size
		}
		t.Sources[op] = left
	}
	if s.opt.Listener.Restored != nil {
		s.opt.Listener.Restored(t)
	}
}

// target is what package checkpoint needs to know of a plan.
func target(p *graph.Plan) checkpoint.Target {
	t := checkpoint.Target{MaxParallelism: p.MaxParallelism}
	for i := range p.Chains {
		c := &p.Chains[i]
		tc := checkpoint.TargetChain{ID: c.ID, Parallelism: c.Parallelism}
		for n, o := range c.Operators {
			to := checkpoint.TargetOperator{ID: o.ID, Name: o.Name, Source: o.Kind == graph.KindSource}
			if n == 0 {
				for _, in := range c.Inputs {
					to.Inputs = append(to.Inputs, checkpoint.TargetInput{Port: in.Port, Index: in.Edge.Index, From: in.From,
						Outlet: in.Output, Exchange: checkpoint.Exchange(in.Exchange.Kind)})
				}
			} else {
				l := c.Links[n-1]
				to.Inputs = []checkpoint.TargetInput{{Port: l.Port, From: l.From, Outlet: l.Output}}
			}
			tc.Operators = append(tc.Operators, to)
		}
		t.Chains = append(t.Chains, tc)
	}
	return t
}
