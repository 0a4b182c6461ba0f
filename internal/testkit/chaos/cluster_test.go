//go:build integration

package chaos

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/api/client"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/internal/testkit/netns"
	"github.com/weirflow/weir/internal/testkit/rig"
	"github.com/weirflow/weir/web/token"
)

// TestClusters runs schedules of faults over real clusters.
func TestClusters(t *testing.T) {
	first, n := uint64(1), uint64(2)
	for _, v := range []struct {
		name string
		to   *uint64
	}{{"WEIR_CHAOS_CLUSTERS", &n}, {"WEIR_CHAOS_SEED", &first}} {
		if s := os.Getenv(v.name); s != "" {
			number, err := strconv.ParseUint(s, 10, 64)
			if err != nil {
				t.Fatalf("%s=%q: want a number", v.name, s)
			}
			*v.to = number
		}
	}
	if os.Getenv("WEIR_CHAOS_CLUSTERS") == "" && os.Getenv("WEIR_CHAOS_SEED") != "" {
		n = 1
	}
	job, weir := program(t, "internal/testkit/chaos/job"), program(t, "cmd/weir")
	sum := summary{faults: map[kind]int{}, skipped: map[string]int{}}
	defer func() { t.Log(sum.String()) }()
	for seed := first; seed < first+n; seed++ {
		s := drawCluster(seed)
		if only := os.Getenv("WEIR_CHAOS_FAULTS"); only != "" {
			var numbers []int
			for text := range strings.SplitSeq(only, ",") {
				i, err := strconv.Atoi(text)
				if err != nil {
					t.Fatalf("WEIR_CHAOS_FAULTS=%q: want numbers", only)
				}
				numbers = append(numbers, i)
			}
			s.only(numbers)
		}
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			r := &clusterRun{clusterSchedule: s, t: t, job0: job, weir: weir, injected: map[kind]int{}}
			began := time.Now()
			err := r.all(t.Context())
			switch {
			case errors.Is(err, netns.ErrUnsupported):
				sum.skipped[err.Error()]++
				t.Skip(err)
			case err != nil:
				sum.failed = append(sum.failed, seed)
				t.Fatalf("%v\n%s\nwhat there was: %s", err, r.story(), r.dir)
			}
			sum.ran++
			for k, n := range r.injected {
				sum.faults[k] += n
			}
			told := s.String()
			if time.Since(began) > slow {
				told = r.story()
			}
			t.Logf("%v, %d looks: %s", time.Since(began).Round(100*time.Millisecond), r.looks, told)
		})
		if len(sum.failed) == maxFailed {
			return
		}
	}
}

// maxFailed is after how many schedules that have found something no other is tried.
const maxFailed = 5

// slow is a schedule of which is told how it went though nothing was found.
const slow = 40 * time.Second

// summary is what was done in all.
type summary struct {
	ran     int
	failed  []uint64
	faults  map[kind]int
	skipped map[string]int
}

func (s *summary) String() string {
	var b strings.Builder
	all := 0
	for _, n := range s.faults {
		all += n
	}
	fmt.Fprintf(&b, "%d schedules with %d faults: nothing lost, nothing doubled", s.ran, all)
	for _, k := range slices.Sorted(maps.Keys(s.faults)) {
		fmt.Fprintf(&b, "\n  %4d %s", s.faults[k], k)
	}
	for _, why := range slices.Sorted(maps.Keys(s.skipped)) {
		fmt.Fprintf(&b, "\n%d skipped: %s", s.skipped[why], why)
	}
	if len(s.failed) > 0 {
		fmt.Fprintf(&b, "\nfailed: seed %d", s.failed)
	}
	return b.String()
}

// clusterRun is a schedule that is carried out.
type clusterRun struct {
	*clusterSchedule
	t          *testing.T
	job0, weir string // programs
	dir        string
	c          *rig.Cluster
	net        *network
	topics     *topics
	want       results
	out        folder
	looks      int
	newest     flow.Epoch // that was seen to be committed

	mu       sync.Mutex
	began    time.Time
	told     []string
	injected map[kind]int
}

func (r *clusterRun) name() string  { return "chaos" }
func (r *clusterRun) state() string { return filepath.Join(r.dir, "state") }

// say notes what happens, for the case that something goes wrong.
func (r *clusterRun) say(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, fmt.Sprintf("%s %6.2fs  ", time.Now().UTC().Format("15:04:05.000"), time.Since(r.began).Seconds())+fmt.Sprintf(format, args...))
}

// Write takes what the rig says.
func (r *clusterRun) Write(line []byte) (int, error) {
	r.say("%s", strings.TrimSpace(string(line)))
	return len(line), nil
}

// story is what happened.
func (r *clusterRun) story() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.String() + "\n" + strings.Join(r.told, "\n")
}

func (r *clusterRun) all(ctx context.Context) (err error) {
	// It stays when something was found, which a directory of t does not.
	if r.dir, err = os.MkdirTemp(os.Getenv("WEIR_CHAOS_KEEP"), "chaos-cluster-"); err != nil {
		return err
	}
	r.began = time.Now()
	defer func() {
		if err == nil || errors.Is(err, netns.ErrUnsupported) {
			err = errors.Join(err, os.RemoveAll(r.dir))
		}
	}()
	rnd := rand.New(rand.NewPCG(r.Seed, 1))
	left, right := makeEvents(rnd, r.Events, r.Keys), makeEvents(rnd, r.Events, r.Keys)
	r.want, r.out = oracle(r.Parts, left, right), folder{root: filepath.Join(r.dir, "out")}
	writeEvents(r.t, filepath.Join(r.dir, "left"), left, r.Files)
	writeEvents(r.t, filepath.Join(r.dir, "right"), right, r.Files)
	if r.Kafka {
		r.topics = makeTopics(r.t, brokers(r.t))
		r.topics.produce(r.t, left)
	}
	done, err := r.start(ctx)
	defer func() { err = errors.Join(err, done()) }()
	if err != nil {
		return err
	}
	if err := r.disturbed(ctx); err != nil {
		return errors.Join(err, r.events(ctx))
	}
	if err := r.compare(); err != nil {
		return errors.Join(err, r.events(ctx))
	}
	return r.afterwards(ctx)
}

// start starts the cluster. The function that it returns ends it.
func (r *clusterRun) start(ctx context.Context) (func() error, error) {
	var undo []func() error
	done := func() error {
		var errs []error
		for _, f := range slices.Backward(undo) {
			errs = append(errs, f())
		}
		undo = nil
		return errors.Join(errs...)
	}
	dir := filepath.Join(r.dir, "c")
	o := rig.Options{Binary: r.weir, Dir: dir, Servers: servers, Workers: workers, Slots: slots, ServerSlots: r.ServerSlots, Secure: true, Log: r}
	if r.Hosts {
		n, err := netns.Open(hostNames(), nodes, r.Seed)
		if err != nil {
			return done, err
		}
		undo = append(undo, n.Close)
		r.net = &network{Net: n, rules: map[int][]netns.Rule{}}
		o.Host = func(node int) string { return n.Addr(node + 1) }
		o.Wrap = func(node int) []string { return n.Wrap(node + 1) }
	}
	for _, name := range r.Small {
		unmount, err := smallDisk(filepath.Join(dir, name, "data"))
		if err != nil {
			return done, err
		}
		undo = append(undo, unmount)
	}
	o.Configure = func(_ int, c map[string]any) { c["lease"] = r.Lease.String() }
	starting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := rig.Start(starting, o)
	if err != nil {
		return done, err
	}
	r.c = c
	undo = append(undo, c.Close)
	return done, nil
}

// hostNames is how the names of namespaces begin.
func hostNames() string {
	if s := os.Getenv("WEIR_CHAOS_HOSTS"); s != "" {
		return s
	}
	return "weir"
}

func (r *clusterRun) spec() api.JobSpec {
	pace := r.Lasts * 64 * time.Duration(r.Parallelism) / time.Duration(r.Events)
	args := append([]string{"--left=" + filepath.Join(r.dir, "left"), "--right=" + filepath.Join(r.dir, "right"), "--output=" + r.out.root,
		"--parts=" + strings.Join(r.Parts, ","), "--pace=" + pace.String()}, r.Flags...)
	if r.topics != nil {
		args = append(args, "--kafka="+r.topics.brokers, "--in="+r.topics.in, "--out="+r.topics.out)
	}
	return api.JobSpec{Name: r.name(), Args: args, Parallelism: r.Parallelism, State: r.state(), Spread: r.Spread, SlotsPerExecutor: r.SlotsPerExecutor}
}

func (r *clusterRun) submit(ctx context.Context) error {
	s := r.spec()
	args := []string{"submit", r.job0, "--job", s.Name, "--parallelism", strconv.Itoa(s.Parallelism), "--state", s.State, "--spread", s.Spread,
		"--slots-per-executor", strconv.Itoa(s.SlotsPerExecutor), "--"}
	_, err := r.c.Run(ctx, append(args, s.Args...)...)
	return err
}

func (r *clusterRun) job(ctx context.Context) (api.JobInfo, error) {
	return r.c.Client(token.Read).Job(ctx, r.name(), client.Wait{})
}

// disturbed runs the job to its end, with a reader of its results beside it, and faults.
func (r *clusterRun) disturbed(ctx context.Context) error {
	if err := r.submit(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended, over := make(chan error, 1), make(chan error, 1)
	first := make(chan struct{})
	go func() { ended <- r.follow(ctx) }()
	go func() {
		select {
		case <-first:
			over <- r.faults(ctx)
		case <-ctx.Done():
			over <- nil
		}
	}()
	tick := time.NewTicker(30 * time.Millisecond)
	defer tick.Stop()
	late := time.NewTimer(patience)
	defer late.Stop()
	begun, faulty, finished := false, true, false
	for faulty || !finished {
		if err := r.look(); err != nil {
			return err
		}
		if !begun && (len(r.out.seen) > 0 || time.Since(r.began) > firstWithin) {
			begun = true
			r.say("the first result")
			close(first)
		}
		select {
		case <-tick.C:
		case err := <-ended:
			if err != nil {
				return err
			}
			finished = true
			if !begun {
				begun = true
				close(first)
			}
		case err := <-over:
			if err != nil {
				return err
			}
			faulty = false
			late.Reset(patience)
		case <-late.C:
			return fmt.Errorf("%v after the last fault the job has not ended", patience)
		}
	}
	return nil
}

// firstWithin is when faults begin though there is no result yet.
const firstWithin = 15 * time.Second

// faults carries all out. An error is what should not happen.
func (r *clusterRun) faults(ctx context.Context) error {
	began := time.Now()
	errs := make([]error, len(r.Faults))
	var side sync.WaitGroup
	for i, f := range r.Faults {
		side.Go(func() {
			timer := time.NewTimer(time.Until(began.Add(f.At)))
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-ctx.Done():
				return
			}
			err := r.inject(ctx, f)
			r.say("over: %s", f)
			switch {
			case err == nil:
				r.mu.Lock()
				r.injected[f.Kind]++
				r.mu.Unlock()
			case !errors.Is(err, errMissed) && ctx.Err() == nil:
				errs[i] = fmt.Errorf("%s: %w", f, err)
			}
		})
	}
	side.Wait()
	return errors.Join(errs...)
}

// follow returns when the job has finished, and tells on the way what becomes of it.
func (r *clusterRun) follow(ctx context.Context) error {
	var told string
	for ctx.Err() == nil {
		asking, cancel := context.WithTimeout(ctx, 2*time.Second)
		j, err := r.job(asking)
		cancel()
		if err == nil {
			if text := fmt.Sprintf("job is %s, attempt %d: %s", j.Status, j.Attempt, j.Reason); text != told {
				told = text
				r.say("%s", text)
			}
			switch {
			case j.Status == api.JobFinished:
				return nil
			case j.Status.Ended():
				return fmt.Errorf("the job is %s: %s", j.Status, j.Reason)
			}
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// look is a reader of the results.
func (r *clusterRun) look() error {
	got, err := r.out.look()
	if err != nil {
		return fmt.Errorf("a reader saw: %w", err)
	}
	if extra := r.want.extra(got); extra != "" {
		return errors.New("a reader saw what is no result: " + extra)
	}
	if r.looks++; r.looks%10 == 0 {
		return r.committed()
	}
	return nil
}

// committed wants each result to be of an epoch that is committed.
func (r *clusterRun) committed() error {
	e, name := r.out.epoch()
	if e <= r.newest {
		return nil
	}
	newest, err := newestEpoch(r.t.Context(), r.state(), flow.JobID(r.name()))
	if err != nil {
		return nil //nolint:nilerr // older checkpoints are being removed meanwhile: the next look sees
	}
	if r.newest = newest; e > newest {
		return fmt.Errorf("%s is published, and the newest checkpoint is %d", name, newest)
	}
	return nil
}

// compare wants the results of a job that has finished.
func (r *clusterRun) compare() error {
	got, err := r.out.look()
	if err != nil {
		return err
	}
	want := maps.Clone(r.want)
	if r.topics != nil {
		got["written to Kafka"], want["written to Kafka"] = r.topics.committed(r.t)["counts"], r.want["counts"]
	}
	if d := want.differences(got); d != "" {
		return errors.New("the results differ from those of the oracle:\n" + d)
	}
	return nil
}

// events are the job's, as an error.
func (r *clusterRun) events(ctx context.Context) error {
	if r.c == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	text, err := r.c.Run(ctx, "job", "events", r.name())
	if err != nil {
		return err
	}
	return errors.New("events of the job:\n" + text)
}
