package sim

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/checkpoint/store"
	"github.com/weirflow/weir/cluster/registry"
)

// world is all that there is in one simulation.
type world struct {
	seed     uint64
	net      *Network
	disk     store.Storage
	ledger   *ledger
	work     Work
	interval time.Duration
	slots    int
	log      *slog.Logger
	lines    *lines
	dir      string
	began    time.Time
	hosts    []*host
	side     sync.WaitGroup // agents, executors

	mu         sync.Mutex
	children   map[*child]bool
	number     int // of processes so far
	attempts   uint64
	violations []string
}

// outcome is what came of a schedule.
type outcome struct {
	wrong    []string // what must not be
	took     time.Duration
	epochs   uint64
	attempts uint64
	children int
	log      *lines
}

func (o *outcome) failed() bool { return len(o.wrong) > 0 }

// run carries out a schedule. It is called in a bubble.
func run(s *Schedule, dir string) *outcome {
	w := &world{seed: s.Seed, ledger: &ledger{}, work: s.Work, interval: s.Interval, slots: s.Slots, dir: dir, began: time.Now(),
		lines: &lines{}, children: map[*child]bool{}, net: NewNetwork(s.Seed, s.Latency), disk: store.NewMem(vfs.Default)}
	w.log = slog.New(slog.NewTextHandler(w.lines, &slog.HandlerOptions{Level: logLevel, ReplaceAttr: func(g []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey && len(g) == 0 {
			return slog.Duration("t", time.Since(w.began))
		}
		return a
	}}))
	for n := 1; n <= s.Hosts; n++ {
		h := &host{w: w, n: n, ip: hostOf(n), name: fmt.Sprint("h", n)}
		h.dir = filepath.Join(dir, h.name+"-1")
		h.slow.Store(int64(s.Storage))
		w.hosts = append(w.hosts, h)
	}
	err := w.live(s)
	if err != nil {
		w.wrong("%v", err)
	}
	w.shutDown()
	o := &outcome{took: time.Since(w.began), children: w.number, log: w.lines, attempts: w.attempts}
	if err == nil {
		if lost, doubled, first := w.ledger.tally(w.work); lost+doubled > 0 {
			w.wrong("%d results lost, %d doubled; %s", lost, doubled, first)
		}
	}
	for c := range w.children {
		w.wrong("%s goes on when its agent has ended", c.name)
	}
	for _, c := range w.ledger.chunks {
		o.epochs = max(o.epochs, uint64(c.epoch))
	}
	o.wrong = w.violations
	time.Sleep(2 * time.Minute) // what goes on by itself for a while ends
	return o
}

// wrong notes what must not be.
func (w *world) wrong(format string, args ...any) {
	text := fmt.Sprintf("%v: ", time.Since(w.began)) + fmt.Sprintf(format, args...)
	w.log.Error("WRONG", "what", text)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.violations) < 10 && !slices.Contains(w.violations, text) {
		w.violations = append(w.violations, text)
	}
}

// settle returns when nothing happens any more at this moment.
func (w *world) settle() { synctest.Wait() }

// live begins the cluster and its job, lets the faults happen, and waits for the job's end.
func (w *world) live(s *Schedule) error {
	for _, h := range w.hosts {
		if err := h.boot(); err != nil {
			return err
		}
	}
	if _, err := w.until(time.Minute, func(v *registry.View) bool {
		n := 0
		for _, x := range v.Nodes() {
			if x.Status == api.NodeReady {
				n++
			}
		}
		return n == len(w.hosts)
	}); err != nil {
		return fmt.Errorf("the agents do not come together: %w", err)
	}
	w.work.Start = time.Now()
	if err := w.decide(&registry.SubmitJob{Spec: api.JobSpec{Name: jobName, Parallelism: w.work.Parallelism, SlotsPerExecutor: s.PerExecutor,
		State: "sim", Submitted: time.Now().UnixMicro()}, Request: "1"}); err != nil {
		return err
	}
	if _, err := w.until(time.Minute, func(v *registry.View) bool {
		j := v.Job(jobName)
		return j != nil && j.Status == api.JobRunning
	}); err != nil {
		return fmt.Errorf("the job does not begin: %w", err)
	}
	watched := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(watched)
		w.watch(ctx)
	}()
	defer func() { cancel(); <-watched }()
	if err := w.suffer(s); err != nil {
		return err
	}
	left := time.Until(w.work.Start.Add(time.Duration(w.work.Records) * w.work.Every))
	v, err := w.until(max(left, 0)+recovery, func(v *registry.View) bool {
		j := v.Job(jobName)
		return j.Status.Ended()
	})
	if err != nil {
		return fmt.Errorf("the job does not end: %w", err)
	}
	if j := v.Job(jobName); j.Status != api.JobFinished {
		return fmt.Errorf("the job is %s: %s", j.Status, j.Reason)
	}
	w.attempts = v.Job(jobName).Report.Attempt
	return nil
}

const (
	jobName = "counting"
	// recovery is how long after the last fault a job may take to its end.
	recovery = 2 * time.Minute
	// lookEvery is how often the world is looked at.
	lookEvery = 50 * time.Millisecond
)

// view is the newest that a server has.
func (w *world) view() (v *registry.View) {
	for _, h := range w.hosts {
		if !h.isServer() || h.down() {
			continue
		}
		w.mu.Lock()
		a := h.agent
		w.mu.Unlock()
		if x := a.Registry().View(); v == nil || x.Index() > v.Index() {
			v = x
		}
	}
	return v
}

// until waits for something to be true of what was decided.
func (w *world) until(patience time.Duration, f func(*registry.View) bool) (*registry.View, error) {
	late := time.Now().Add(patience)
	for {
		v := w.view()
		if v != nil && f(v) {
			return v, nil
		}
		if time.Now().After(late) {
			return v, fmt.Errorf("not within %v:\n%s", patience, describe(v))
		}
		time.Sleep(lookEvery)
	}
}

// decide asks whoever leads.
func (w *world) decide(c registry.Command) error {
	var last error
	for range 60 {
		for _, h := range w.hosts[:servers] {
			if !h.leads() {
				continue
			}
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			_, last = h.agent.Decide(ctx, c, "sim")
			cancel()
			if last == nil {
				return nil
			}
		}
		time.Sleep(time.Second / 2)
	}
	return fmt.Errorf("nobody decides: %w", last)
}

// watch looks for what must not be.
func (w *world) watch(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		v := w.view()
		if v == nil {
			continue
		}
		w.mu.Lock()
		var alive []*child
		for c := range w.children {
			if c.killed.IsZero() && !c.h.excused {
				alive = append(alive, c)
			}
		}
		w.mu.Unlock()
		for _, c := range alive {
			if a := v.Alloc(c.alloc.ID); a != nil && a.Status.State.Ended() {
				w.wrong("%s runs, and the leader takes it for %s: %s", c.name, a.Status.State, a.Status.Exit)
			}
		}
	}
}

// begins takes an executor into the books.
func (w *world) begins(c *child) {
	w.mu.Lock()
	var twin *child
	for o := range w.children {
		if o.alloc.ID == c.alloc.ID && o.killed.IsZero() {
			twin = o
		}
	}
	w.number++
	c.pid = w.number
	w.children[c] = true
	w.mu.Unlock()
	if twin != nil {
		w.wrong("%s begins beside %s", c.name, twin.name)
	}
}

// ends takes it out.
func (w *world) ends(c *child) {
	w.mu.Lock()
	delete(w.children, c)
	killed := c.killed
	w.mu.Unlock()
	if took := time.Since(killed); !killed.IsZero() && took > time.Second {
		w.wrong("%s took %v to die", c.name, took)
	}
}

// childrenOf are the executors that live on a host, by name; on all where it is nil.
func (w *world) childrenOf(h *host) (all []*child) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.children {
		if (h == nil || c.h == h) && c.killed.IsZero() {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b *child) int { return strings.Compare(a.name, b.name) })
	return all
}

// shutDown ends all agents in order.
func (w *world) shutDown() {
	for _, h := range w.hosts {
		w.mu.Lock()
		cancel := h.cancel
		w.mu.Unlock()
		if cancel != nil {
			cancel()
		}
	}
	w.side.Wait()
}

func describe(v *registry.View) string {
	if v == nil {
		return "no server is up"
	}
	var b strings.Builder
	for _, n := range v.Nodes() {
		fmt.Fprintf(&b, "node %s %s %s\n", n.Info.ID, n.Status, n.Reason)
	}
	for _, j := range v.Jobs() {
		fmt.Fprintf(&b, "job %s %s %s, term %d, report %+v\n", j.Name, j.Status, j.Reason, j.Term, j.Report)
		for _, e := range j.Events {
			fmt.Fprintf(&b, "  %s %s\n", e.Kind, e.Text)
		}
	}
	for _, a := range v.Allocs() {
		fmt.Fprintf(&b, "alloc %+v %+v\n", a.Alloc, a.Status)
	}
	return b.String()
}

// lines keeps the newest lines of a log.
type lines struct {
	mu  sync.Mutex
	all [][]byte
}

const maxLines = 20_000

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all = append(l.all, bytes.Clone(p)); len(l.all) > 2*maxLines {
		l.all = slices.Delete(l.all, 0, maxLines)
	}
	return len(p), nil
}

// save writes them into a file.
func (l *lines) save(name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return os.WriteFile(name, bytes.Join(l.all, nil), 0o600)
}
