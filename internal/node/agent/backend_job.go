package agent

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/api/rpc"
	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/checkpoint/store"
	"github.com/weirflow/weir/cluster/registry"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/internal/obs/traces"
	"github.com/weirflow/weir/runtime/artifact"
	"github.com/weirflow/weir/web"
)

func noJob(name string) *api.Error {
	return api.Errorf(api.CodeNotFound, "there is no job %q", name).WithHint("weir jobs lists them")
}

// Jobs are all that the registry remembers.
func (b *backend) Jobs(_ context.Context, p web.Page) (l api.JobList, err error) {
	var all []api.JobInfo
	v := b.view()
	for _, j := range v.Jobs() {
		i := b.info(v, j)
		l.Index = max(l.Index, i.Index)
		all = append(all, i)
	}
	l.Items, l.Next = web.PageOf(all, func(j *api.JobInfo) string { return j.Spec.Name }, p)
	return l, nil
}

func (b *backend) info(v *registry.View, j *registry.Job) api.JobInfo {
	i := info(j)
	r := b.a.leader.reported(v, j)
	i.Attempt, i.Epoch = r.Attempt, r.Epoch
	i.Restarts = int(max(r.Attempt, 1) - 1)
	return i
}

func info(j *registry.Job) api.JobInfo {
	i := api.JobInfo{Spec: *j.Spec(), Status: j.Status, Wish: j.Wish, Reason: j.Reason, Attempt: j.Report.Attempt, Epoch: j.Report.Epoch,
		Slots: cmp.Or(j.Scale.Parallelism, j.Report.Slots, j.Spec().Parallelism), Changed: j.Since, Index: j.Index}
	i.Restarts = int(max(j.Report.Attempt, 1) - 1)
	return i
}

// Job is one with its executors.
func (b *backend) Job(_ context.Context, name string) (api.JobInfo, error) {
	v := b.view()
	j := v.Job(name)
	if j == nil {
		return api.JobInfo{}, noJob(name)
	}
	i := b.info(v, j)
	i.Autoscale = b.a.scaler.told(j)
	for _, a := range v.AllocsOf(name) {
		x := api.AllocInfo{Alloc: a.Alloc, Status: a.Status, NodeName: string(a.Alloc.Node), Created: a.Since}
		if n := v.Node(a.Alloc.Node); n != nil {
			x.NodeName = n.Info.Name
		}
		i.Allocs = append(i.Allocs, x)
		i.Index = max(i.Index, a.Made)
	}
	return i, nil
}

// live are the executors of a job that run, its coordinator first.
func live(v *registry.View, name string) (all []*registry.Alloc, err error) {
	j := v.Job(name)
	if j == nil {
		return nil, noJob(name)
	}
	for _, a := range v.AllocsOf(name) {
		switch {
		case a.Status.State != api.AllocRunning:
		case a.Alloc.Coordinator && a.Alloc.Term == j.Term:
			all = append([]*registry.Alloc{a}, all...)
		default:
			all = append(all, a)
		}
	}
	if len(all) == 0 || !all[0].Alloc.Coordinator {
		return nil, api.Errorf(api.CodeUnavailable, "nobody can be asked about job %q: it is %s", name, j.Status)
	}
	return all, nil
}

// Graph asks the job's coordinator.
func (b *backend) Graph(ctx context.Context, name string) (g api.JobGraph, err error) {
	v := b.view()
	all, err := live(v, name)
	if err != nil {
		return g, err
	}
	text, err := b.a.askAt(ctx, v, all[0], "graph")
	if err == nil {
		err = json.Unmarshal([]byte(text), &g)
	}
	g.Job = name
	return g, unreachable(err)
}

// Stats asks all of the job's executors.
func (b *backend) Stats(ctx context.Context, name string) (api.JobStats, error) {
	v := b.view()
	all, err := live(v, name)
	if err != nil {
		return api.JobStats{}, err
	}
	parts := make([]api.JobStats, len(all))
	errs := make(chan error, len(all))
	for i, a := range all {
		go func() {
			text, err := b.a.askAt(ctx, v, a, "stats")
			if err == nil {
				err = json.Unmarshal([]byte(text), &parts[i])
			}
			errs <- err
		}()
	}
	for range all {
		err = errors.Join(err, <-errs)
	}
	if err != nil {
		return api.JobStats{}, unreachable(err)
	}
	s := api.MergeStats(parts)
	j := v.Job(name)
	s.Job, s.Time, s.Attempt, s.Epoch = name, time.Now().UnixMicro(), j.Report.Attempt, j.Report.Epoch
	return s, nil
}

// Profile has an executor take a profile, where it is.
func (b *backend) Profile(ctx context.Context, name string, q web.ProfileQuery) (io.ReadCloser, error) {
	v := b.view()
	all, err := live(v, name)
	if err != nil {
		return nil, err
	}
	of := all[0]
	if q.Alloc != "" {
		i := slices.IndexFunc(all, func(a *registry.Alloc) bool { return a.Alloc.ID == q.Alloc })
		if i < 0 {
			return nil, api.Errorf(api.CodeNotFound, "job %q has no executor %q that runs", name, q.Alloc).WithHint("weir job status %s lists them", name)
		}
		of = all[i]
	}
	r, err := b.a.openAt(ctx, v, of, &rpc.Read{Ask: api.AskProfile(q.Kind, q.Over), Of: of.Alloc.ID})
	if err != nil {
		return nil, unreachable(err)
	}
	// What an agent has to say against it comes with the first bytes.
	first := make([]byte, 1)
	switch _, err := io.ReadFull(r, first); {
	case errors.Is(err, io.EOF):
		return r, nil
	case err != nil:
		return nil, unreachable(errors.Join(err, r.Close()))
	}
	return &peeked{io.MultiReader(bytes.NewReader(first), r), r}, nil
}

// peeked is a reader of which something was read already.
type peeked struct {
	io.Reader
	io.Closer
}

// unreachable is the error of an agent or executor that could not be asked.
func unreachable(err error) error {
	if err == nil {
		return nil
	}
	return api.Errorf(api.CodeUnavailable, "%v", err)
}

// Submit takes a job, or says what would come of it.
func (b *backend) Submit(ctx context.Context, spec *api.JobSpec, dry bool) (s api.Submitted, err error) {
	v := b.view()
	set := *spec
	set.Submitted, set.By = time.Now().UnixMicro(), web.Caller(ctx)
	s = api.Submitted{Job: set.Name, Version: 1, DryRun: dry, Index: v.Index()}
	if old := v.Job(set.Name); old != nil {
		s.Version = old.Spec().Version + 1
		s.Notes = append(s.Notes, fmt.Sprintf("replaces version %d, which is %s", old.Spec().Version, old.Status))
	}
	free := 0
	for _, n := range v.Nodes() {
		if n.Usable() && (set.Zone == "" || set.Zone == n.Info.Zone) {
			free += max(0, n.Info.Slots-v.Used(n.Info.ID))
		}
	}
	s.Notes = append(s.Notes, fmt.Sprintf("wants %d slots, %d are free", set.Parallelism, free))
	if set.State == "" {
		s.Notes = append(s.Notes, "has no place for checkpoints (--state): it begins anew after a failure")
	}
	if dry {
		return s, nil
	}
	if set.Artifact != "" && v.Artifact(set.Artifact) == nil {
		return s, api.Errorf(api.CodeConflict, "the program %s is not here", set.Artifact).WithHint("upload it first")
	}
	r, err := b.decide(ctx, &registry.SubmitJob{Spec: set})
	b.traced("submit", &set, r, err)
	s.Version, s.Index = cmp.Or(r.Version, s.Version), r.Index
	return s, err
}

// traced tells of a version of a job that was decided.
func (b *backend) traced(what string, s *api.JobSpec, r registry.Result, err error) {
	if err == nil {
		set := *s
		set.Version = r.Version
		b.a.traces.Asked(what, versionOf(&set), time.UnixMicro(s.Submitted), s.By, s.Parallelism)
	}
}

// versionOf is what its trace is known by.
func versionOf(s *api.JobSpec) traces.Version {
	return traces.Version{Job: s.Name, Number: s.Version, Submitted: s.Submitted}
}

func (b *backend) wish(ctx context.Context, w *registry.SetWish, message string) (api.Done, error) {
	j := b.view().Job(w.Job)
	switch {
	case j == nil:
		return api.Done{}, noJob(w.Job)
	case j.Status.Ended():
		return api.Done{}, api.Errorf(api.CodeConflict, "job %q has ended: it is %s", w.Job, j.Status).WithHint("submit it again")
	}
	r, err := b.decide(ctx, w)
	return api.Done{Message: message, Index: r.Index}, err
}

// Stop has sources end.
func (b *backend) Stop(ctx context.Context, name string) (api.Done, error) {
	return b.wish(ctx, &registry.SetWish{Job: name, Wish: api.WishStop}, "its sources end, and what was read is finished")
}

// Cancel ends the job as it is.
func (b *backend) Cancel(ctx context.Context, name string) (api.Done, error) {
	return b.wish(ctx, &registry.SetWish{Job: name, Wish: api.WishCancel}, "it ends as it is")
}

// Save takes a savepoint, and returns when it is there.
func (b *backend) Save(ctx context.Context, name string, r api.SaveRequest) (d api.Done, err error) {
	j := b.view().Job(name)
	if j == nil {
		return d, noJob(name)
	}
	where := r.Location
	if where == "" {
		if j.Spec().State == "" {
			return d, api.Errorf(api.CodeInvalid, "job %q has no place for checkpoints, so a savepoint needs one", name).WithHint("name a directory or URL")
		}
		where = fmt.Sprintf("%s/savepoints/%s-%s", strings.TrimRight(j.Spec().State, "/"), name, time.Now().UTC().Format("20060102-150405.000"))
	}
	w := &registry.SetWish{Job: name, Wish: api.WishRun, Save: true, Where: where}
	if r.Stop {
		w.Wish = api.WishSave
	}
	if d, err = b.wish(ctx, w, "saved"); err != nil {
		return d, err
	}
	d.Location = where
	for {
		v := b.view()
		j := v.Job(name)
		if j == nil {
			return d, noJob(name)
		}
		for _, s := range j.Savepoints {
			if s.Where == where {
				return d, nil
			}
		}
		if j.Save.Where != where {
			why := "it could not be made"
			for _, e := range j.Events {
				if e.Kind == registry.EventSavepoint && e.Index > d.Index {
					why = e.Text
				}
			}
			return d, api.Errorf(api.CodeConflict, "the savepoint of job %q: %s", name, why)
		}
		if err := b.Wait(ctx, v.Index()); err != nil {
			return d, api.Errorf(api.CodeTimeout, "the savepoint at %s is not there yet", where).WithHint("weir job events %s tells when it is", name)
		}
	}
}

// again submits a job anew, changed; what says why, in traces.
func (b *backend) again(ctx context.Context, what, name string, change func(*api.JobSpec), message string) (api.Done, error) {
	j := b.view().Job(name)
	if j == nil {
		return api.Done{}, noJob(name)
	}
	set := *j.Spec()
	change(&set)
	set.Submitted, set.By = time.Now().UnixMicro(), web.Caller(ctx)
	r, err := b.decide(ctx, &registry.SubmitJob{Spec: set, If: set.Version})
	b.traced(what, &set, r, err)
	return api.Done{Message: message, Index: r.Index}, err
}

// Restart starts the job again from its newest checkpoint.
func (b *backend) Restart(ctx context.Context, name string) (api.Done, error) {
	return b.again(ctx, "restart", name, func(*api.JobSpec) {}, "it starts again from its newest checkpoint")
}

// Rescale gives the job another parallelism.
func (b *backend) Rescale(ctx context.Context, name string, r api.RescaleRequest) (api.Done, error) {
	j := b.view().Job(name)
	switch {
	case j == nil:
		return api.Done{}, noJob(name)
	case r.Parallelism < 1 || r.Parallelism > flow.MaxMaxParallelism:
		return api.Done{}, api.Errorf(api.CodeInvalid, "a parallelism of %d: it must be 1 to %d", r.Parallelism, flow.MaxMaxParallelism)
	}
	if s := j.Spec().Autoscale; s != nil && (r.Parallelism < s.Min || r.Parallelism > s.Max) {
		return api.Done{}, api.Errorf(api.CodeConflict, "a parallelism of %d: the job's is chosen from %d to %d by what it needs", r.Parallelism, s.Min, s.Max).
			WithHint("submit it with other bounds, or without --autoscale")
	}
	was := cmp.Or(j.Scale.Parallelism, j.Spec().Parallelism)
	message := fmt.Sprintf("from %d to %d slots, from its newest checkpoint", was, r.Parallelism)
	if j.Status.Ended() {
		return api.Done{}, api.Errorf(api.CodeConflict, "job %q has ended: it is %s", name, j.Status).WithHint("submit it again")
	}
	if r.DryRun {
		return api.Done{Message: "would go " + message, Index: b.Index()}, nil
	}
	began := time.Now()
	set := &registry.SetScale{Job: name, Scale: j.Scale, Reason: "somebody has asked for it"}
	set.Scale.Parallelism = r.Parallelism
	done, err := b.decide(ctx, set)
	if err == nil {
		b.a.traces.Rescaled(versionOf(j.Spec()), began, web.Caller(ctx), r.Parallelism)
	}
	return api.Done{Message: "goes " + message, Index: done.Index}, err
}

// note leaves an event about a job's parallelism behind.
func (b *backend) note(ctx context.Context, name, text string) error {
	_, err := b.decide(ctx, &registry.AddEvent{Job: name, Kind: registry.EventScale, Text: text})
	return err
}

// Checkpoints are those in the job's storage.
func (b *backend) Checkpoints(ctx context.Context, name string, p web.Page) (l api.CheckpointList, err error) {
	j := b.view().Job(name)
	switch {
	case j == nil:
		return l, noJob(name)
	case j.Spec().State == "":
		l.Items = []api.CheckpointInfo{}
		return l, nil
	}
	st, err := store.Open(ctx, j.Spec().State)
	if err != nil {
		return l, unreachable(err)
	}
	defer st.Close()
	ms, err := store.OpenJob(st, flow.JobID(name), store.JobOptions{}).List(ctx)
	if err != nil {
		return l, unreachable(err)
	}
	var all []api.CheckpointInfo
	for _, m := range ms {
		all = append(all, checkpointInfo(m))
	}
	l.Items, l.Next = web.PageOf(all, epochKey, p)
	return l, nil
}

func epochKey(c *api.CheckpointInfo) string { return fmt.Sprintf("%020d", c.Epoch) }

func checkpointInfo(m *checkpoint.Manifest) api.CheckpointInfo {
	i := api.CheckpointInfo{Job: m.Job, Epoch: m.Epoch, Kind: flow.BarrierKind(m.Kind).String(), Attempt: m.Attempt, Created: m.Created, Tasks: len(m.Tasks)}
	i.Files, i.Bytes, i.AddedBytes = m.Size()
	return i
}

// Savepoints are those that the registry knows of.
func (b *backend) Savepoints(_ context.Context, name string, p web.Page) (l api.CheckpointList, err error) {
	j := b.view().Job(name)
	if j == nil {
		return l, noJob(name)
	}
	var all []api.CheckpointInfo
	for _, s := range j.Savepoints {
		all = append(all, api.CheckpointInfo{Job: name, Epoch: s.Epoch, Kind: "savepoint", Attempt: s.Attempt, Created: s.Time, Location: s.Where})
	}
	l.Items, l.Next = web.PageOf(all, epochKey, p)
	return l, nil
}

// Artifact looks for a program.
func (b *backend) Artifact(_ context.Context, hash string) (api.ArtifactInfo, error) {
	h, err := artifact.ParseHash(hash)
	if err != nil {
		return api.ArtifactInfo{}, api.Errorf(api.CodeInvalid, "%v", err)
	}
	if a := b.view().Artifact(hash); a != nil && b.a.artifacts.Has(h) {
		return api.ArtifactInfo{Hash: hash, Size: a.Size}, nil
	}
	return api.ArtifactInfo{}, api.Errorf(api.CodeNotFound, "there is no program %s", hash)
}

// PutArtifact takes a program, and has the other servers fetch it: those that are here have it
// when it is answered, unless they are slow.
func (b *backend) PutArtifact(ctx context.Context, hash string, size int64, r io.Reader) (i api.ArtifactInfo, err error) {
	h, err := artifact.ParseHash(hash)
	if err != nil {
		return i, api.Errorf(api.CodeInvalid, "%v", err)
	}
	got, n, err := b.a.artifacts.Put(ctx, r, size)
	switch {
	case errors.Is(err, artifact.ErrNoRoom), errors.Is(err, artifact.ErrTooLarge):
		return i, api.Errorf(api.CodeTooLarge, "%v", err)
	case err != nil:
		return i, err
	case got != h || n != size:
		return i, errors.Join(api.Errorf(api.CodeInvalid, "the program is %s, of %d bytes, and not %s, of %d", got, n, hash, size), b.a.artifacts.Delete(got))
	}
	if _, err = b.decide(ctx, &registry.PutArtifact{Hash: hash, Size: size}); err == nil {
		b.a.spread(ctx, h)
	}
	return api.ArtifactInfo{Hash: hash, Size: size}, err
}
