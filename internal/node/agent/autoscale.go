package agent

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/cluster/registry"
	"github.com/weirflow/weir/scheduler/rescale"
	"github.com/weirflow/weir/web"
)

// scales is what an autoscaler needs of the server that leads: what users may ask, and no more.
type scales interface {
	Stats(ctx context.Context, job string) (api.JobStats, error)
	Graph(ctx context.Context, job string) (api.JobGraph, error)
	Rescale(ctx context.Context, job string, r api.RescaleRequest) (api.Done, error)
	// note leaves an event about a job's parallelism behind.
	note(ctx context.Context, job, text string) error
}

// autoscaler gives jobs that have asked for it the parallelism that they need. It runs where the
// leader is. What it has measured is not told to the next leader, which measures again: a change
// comes later then, never twice.
//
//	executors ─ stats ─► sample ─► rescale.Scaler ─► what `weir job rescale` does
type autoscaler struct {
	registry *registry.Registry
	of       scales
	now      func() time.Time
	log      *slog.Logger

	mu   sync.Mutex
	last map[string]api.AutoscaleInfo // by job
}

func newAutoscaler(r *registry.Registry, of scales, log *slog.Logger) *autoscaler {
	return &autoscaler{registry: r, of: of, now: time.Now, log: log, last: map[string]api.AutoscaleInfo{}}
}

const (
	// autoscaler is by whom events and versions are.
	byAutoscaler = "autoscaler"
	// lookAtJobs is how often at most the list of jobs is gone through.
	lookAtJobs = 500 * time.Millisecond
	// A job is measured three times while it is made sure that more is wanted, within these.
	soonestSample, latestSample = 500 * time.Millisecond, 5 * time.Second
	// tellAgain is when a dry run says the same again.
	tellAgain = 10 * time.Minute
)

// run follows all jobs that want it until ctx ends, and waits for what it has started.
func (s *autoscaler) run(ctx context.Context) {
	ctx = web.WithCaller(ctx, byAutoscaler)
	followed := map[string]context.CancelFunc{}
	var side sync.WaitGroup
	defer side.Wait()
	defer func() {
		for _, stop := range followed {
			stop()
		}
		s.mu.Lock()
		clear(s.last)
		s.mu.Unlock()
	}()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
		v := s.registry.View()
		changed := s.registry.Watch(v.Index())
		for name, stop := range followed {
			if j := v.Job(name); j == nil || !scaled(j) {
				stop()
				delete(followed, name)
				s.forget(name)
			}
		}
		for _, j := range v.Jobs() {
			if name := j.Name; scaled(j) && followed[name] == nil {
				job, stop := context.WithCancel(ctx)
				followed[name] = stop
				side.Go(func() { s.follow(job, name) })
			}
		}
		select {
		case <-changed:
			pause.Reset(lookAtJobs)
		case <-ctx.Done():
			return
		}
	}
}

func scaled(j *registry.Job) bool { return j.Spec().Autoscale != nil && !j.Status.Ended() }

// follow measures one job until ctx ends.
func (s *autoscaler) follow(ctx context.Context, name string) {
	f := &followed{s: s, name: name}
	t := time.NewTimer(soonestSample)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			s.forget(name)
			return
		}
		f.look(ctx)
		t.Reset(f.every)
	}
}

func (s *autoscaler) forget(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.last, name)
}

func (s *autoscaler) say(name string, i api.AutoscaleInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last[name] = i
}

// told is what was decided last about a job: by this server, or, where it does not lead, as the
// newest event of it says. Nil: nothing yet.
func (s *autoscaler) told(j *registry.Job) *api.AutoscaleInfo {
	if j.Spec().Autoscale == nil {
		return nil
	}
	s.mu.Lock()
	i, ok := s.last[j.Name]
	s.mu.Unlock()
	if ok {
		return &i
	}
	for k := len(j.Events) - 1; k >= 0; k-- {
		if e := &j.Events[k]; e.Kind == registry.EventScale {
			return &api.AutoscaleInfo{Time: e.Time, Decision: e.Text}
		}
	}
	return nil
}

// followed is one job as an autoscaler knows it. It belongs to one goroutine.
type followed struct {
	s      *autoscaler
	name   string
	wish   api.Autoscale // what scaler was made of
	scaler *rescale.Scaler
	every  time.Duration

	said   string // the change that was told last
	saidAt time.Time
}

// look measures the job once, and changes it if it is time.
func (f *followed) look(ctx context.Context) {
	f.every = latestSample
	v := f.s.registry.View()
	j := v.Job(f.name)
	if j == nil || !scaled(j) {
		return
	}
	if w := *j.Spec().Autoscale; f.scaler == nil || w != f.wish {
		o := rescale.Options{Min: w.Min, Max: w.Max, Utilisation: w.Utilization, UpAfter: micros(w.UpAfter), DownAfter: micros(w.DownAfter),
			Settle: micros(w.Settle), DryRun: w.DryRun}
		scaler, err := rescale.New(o)
		if err != nil {
			f.say("stay: "+err.Error(), nil)
			return
		}
		f.wish, f.scaler, f.said = w, scaler, ""
	}
	if up := micros(f.wish.UpAfter); up > 0 {
		f.every = min(max(up/3, soonestSample), latestSample)
	}
	if j.Status != api.JobRunning || j.Wish != api.WishRun {
		return
	}
	sample, err := f.measure(ctx, j)
	if err != nil {
		if ctx.Err() == nil {
			f.say("stay: it cannot be measured: "+err.Error(), nil)
		}
		return
	}
	d := f.scaler.Observe(sample)
	if d.Change && !d.DryRun {
		bounded(&d, &sample, room(v, j))
	}
	f.say(d.String(), d.Lines)
	if d.Change {
		f.change(ctx, &sample, &d)
	}
}

func micros(us int64) time.Duration { return time.Duration(us) * time.Microsecond }

func (f *followed) say(decision string, figures []string) {
	f.s.say(f.name, api.AutoscaleInfo{Time: f.s.now().UnixMicro(), Decision: decision, Figures: figures})
}

// measure asks the job's executors.
func (f *followed) measure(ctx context.Context, j *registry.Job) (rescale.Sample, error) {
	g, err := f.s.of.Graph(ctx, f.name)
	if err != nil {
		return rescale.Sample{}, err
	}
	stats, err := f.s.of.Stats(ctx, f.name)
	if err != nil {
		return rescale.Sample{}, err
	}
	return sampleOf(parallelism(j), f.s.now(), &g, &stats)
}

// change does what was decided, or tells of it.
func (f *followed) change(ctx context.Context, sample *rescale.Sample, d *rescale.Decision) {
	text := fmt.Sprintf("from %d to %d: %s", sample.Parallelism, d.Parallelism, d.Reason)
	if len(d.Lines) > 0 {
		text += " (" + strings.Join(d.Lines, "; ") + ")"
	}
	now := f.s.now()
	if d.DryRun {
		to := fmt.Sprint(sample.Parallelism, d.Parallelism)
		if to == f.said && now.Sub(f.saidAt) < tellAgain {
			return
		}
		if err := f.s.of.note(ctx, f.name, "would rescale "+text); err != nil {
			f.s.log.Warn("an event about a job's parallelism is lost", "job", f.name, "err", err)
			return
		}
		f.said, f.saidAt = to, now
		return
	}
	f.s.log.Info("a job gets another parallelism", "job", f.name, "from", sample.Parallelism, "to", d.Parallelism, "why", d.Reason)
	if _, err := f.s.of.Rescale(ctx, f.name, api.RescaleRequest{Parallelism: d.Parallelism}); err != nil {
		f.s.log.Warn("a job does not get another parallelism", "job", f.name, "to", d.Parallelism, "err", err)
		f.say(fmt.Sprintf("%s; that was refused: %v", d, err), d.Lines)
		return
	}
	if err := f.s.of.note(ctx, f.name, "rescales "+text); err != nil {
		f.s.log.Warn("an event about a job's parallelism is lost", "job", f.name, "err", err)
	}
}
