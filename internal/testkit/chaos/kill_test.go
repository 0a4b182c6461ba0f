package chaos

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirflow/weir/flow"
)

// whole says whether all is to be run, and not a part that fits beside other tests.
func whole() bool { return os.Getenv("WEIR_CHAOS") != "" }

// TestKills runs schedules of jobs from files to files.
func TestKills(t *testing.T) {
	first, n := uint64(1), uint64(3)
	if whole() {
		n = 20
	}
	if s := os.Getenv("WEIR_CHAOS_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("WEIR_CHAOS_SEED=%q: want a number", s)
		}
		first, n = seed, 1
	}
	job, weir := program(t, "internal/testkit/chaos/job"), program(t, "cmd/weir")
	for seed := first; seed < first+n; seed++ {
		s := drawSchedule(seed)
		ok := t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			began := time.Now()
			r := &run{schedule: s, t: t, job: job, weir: weir, dir: t.TempDir()}
			if err := r.all(); err != nil {
				t.Fatalf("found at seed %d of %d, after %d kills: %v\n%s", seed, n, r.killed, err, s)
			}
			t.Logf("%d kills, %d looks, %d epochs, %v: %s", r.killed, r.looks, r.newest, time.Since(began).Round(time.Millisecond), strings.Join(s.Parts, ","))
		})
		if !ok {
			return
		}
	}
}

// run is a schedule that is carried out.
type run struct {
	schedule
	t             *testing.T
	job, weir     string // programs
	dir           string
	more          []string // of the program's flags
	want          results
	out           folder
	killed, looks int
	newest        flow.Epoch
}

func (r *run) state() string { return filepath.Join(r.dir, "state") }

func (r *run) args(l life) []string {
	args := append([]string{"--state=" + r.state(), "--left=" + filepath.Join(r.dir, "left"), "--right=" + filepath.Join(r.dir, "right"),
		"--output=" + r.out.root, "--parts=" + strings.Join(r.Parts, ","), "--pace=" + r.Pace.String(), "--slow=" + r.Slow.String()}, l.Flags...)
	return append(args, r.more...)
}

func (r *run) all() error {
	rnd := rand.New(rand.NewPCG(r.Seed, 1))
	a, b := makeEvents(rnd, r.Events, r.Keys), makeEvents(rnd, r.Events, r.Keys)
	writeEvents(r.t, filepath.Join(r.dir, "left"), a, r.Files)
	writeEvents(r.t, filepath.Join(r.dir, "right"), b, r.Files)
	r.want = oracle(r.Parts, a, b)
	r.out = folder{root: filepath.Join(r.dir, "out")}
	for i, l := range r.Lives {
		if err := r.live(l); err != nil {
			return fmt.Errorf("life %d: %w", i+1, err)
		}
	}
	got, err := r.out.look()
	if err != nil {
		return err
	}
	if d := r.want.differences(got); d != "" {
		return errors.New("the results differ from those of the oracle:\n" + d)
	}
	return r.afterwards()
}

// live runs one process. One that is to be killed may end before.
func (r *run) live(l life) error {
	p := start(r.t, r.job, r.args(l), nil)
	if l.Mark == "" {
		ended := make(chan struct{})
		var err error
		go func() { err = p.finish(); close(ended) }()
		lookErr := r.watch(ended, nil)
		<-ended
		return errors.Join(err, lookErr)
	}
	if err := r.watch(p.ended, r.reached(l)); err != nil {
		p.kill()
		return fmt.Errorf("%w\n%s", err, tail(p.output.Bytes(), 4000))
	}
	wait := time.NewTimer(l.Wait)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-p.ended:
	}
	if p.kill() {
		r.killed++
	} else if p.err != nil {
		return fmt.Errorf("it failed before it was killed: %w:\n%s", p.err, tail(p.output.Bytes(), 6000))
	}
	return r.dead()
}

// reached is the condition of a life's mark, which begins now.
func (r *run) reached(l life) func() bool {
	latest, mark := time.Now().Add(l.Latest), r.marked(l)
	return func() bool { return mark() || time.Now().After(latest) }
}

func (r *run) marked(l life) func() bool {
	switch l.Mark {
	case fromEpoch:
		was := newestEntry(r.state())
		return func() bool { return newestEntry(r.state()) > was+l.Count+1 } // the first is that of the attempt
	case fromFile:
		was := len(r.out.seen)
		return func() bool { return len(r.out.seen) > was+l.Count }
	}
	return func() bool { return true }
}

// newestEntry is the number of the newest entry in the log of the one job of a state
// directory; 0 for none.
func newestEntry(state string) (newest int) {
	names, _ := filepath.Glob(filepath.Join(state, "jobs", "*", "log", "*"))
	for _, name := range names {
		if n, err := strconv.Atoi(strings.TrimLeft(filepath.Base(name), "0")); err == nil {
			newest = max(newest, n)
		}
	}
	return newest
}

// watch is a reader of the results who looks until the mark is reached or the process
// ends.
func (r *run) watch(ended <-chan struct{}, reached func() bool) error {
	tick := time.NewTicker(3 * time.Millisecond)
	defer tick.Stop()
	for {
		got, err := r.out.look()
		if err != nil {
			return fmt.Errorf("a reader saw: %w", err)
		}
		if extra := r.want.extra(got); extra != "" {
			return errors.New("a reader saw what is no result: " + extra)
		}
		r.looks++
		if reached != nil && reached() {
			return nil
		}
		select {
		case <-ended:
			return nil
		case <-tick.C:
		}
	}
}

// dead checks what is there while no process runs.
func (r *run) dead() error {
	got, err := r.out.look()
	if err != nil {
		return err
	}
	if extra := r.want.extra(got); extra != "" {
		return errors.New("what is no result is there: " + extra)
	}
	if r.newest, err = newestEpoch(r.t.Context(), r.state(), "chaos"); err != nil {
		return fmt.Errorf("reading the checkpoints: %w", err)
	}
	if e, name := r.out.epoch(); e > r.newest {
		return fmt.Errorf("%s is published, and the newest checkpoint is %d", name, r.newest)
	}
	return nil
}

// afterwards checks what there is of a job that has ended.
func (r *run) afterwards() error {
	if err := r.dead(); err != nil {
		return err
	}
	if out, err := r.audit(); err != nil {
		return fmt.Errorf("weir audit: %w\n%s", err, out)
	}
	if names := left(r.out.root, func(name string) bool { return strings.HasPrefix(name, ".") }); len(names) > 0 {
		return fmt.Errorf("left behind: %s", strings.Join(names, ", "))
	}
	if names := left(filepath.Join(r.state(), "local"), func(name string) bool { return name != "local" }); len(names) > 0 {
		return fmt.Errorf("left behind: %s", strings.Join(names, ", "))
	}
	before := len(r.out.seen)
	if err := start(r.t, r.job, r.args(r.Lives[len(r.Lives)-1]), nil).finish(); err != nil {
		return fmt.Errorf("started again after its end: %w", err)
	}
	if _, err := r.out.look(); err != nil || len(r.out.seen) != before {
		return fmt.Errorf("the finished job was started again, and now there are %d files, not %d (%w)", len(r.out.seen), before, err)
	}
	return nil
}

func (r *run) audit() (string, error) {
	p := start(r.t, r.weir, []string{"audit", "--state", r.state(), "chaos"}, nil)
	err := p.finish()
	return p.output.String(), err
}
