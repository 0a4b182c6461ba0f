// Package sourcetest drives a source by hand, as a job would but without one:
// for the tests of connectors.
//
// A [Job] holds a source's enumerator and a number of readers. Step makes one
// reader read once; Snapshot takes the positions of all of them at that point, and
// Start goes on from there, with any number of readers. Which reader is next and
// how much it may read is drawn from a seed.
//
// Invariants that it checks itself, and fails the test on:
//
//  1. Read returns records of one split that the reader was given and that has not
//     ended, at most as many as allowed, with the columns of one length.
//  2. A paused split's records are not returned.
//  3. A split is discovered once.
//
// All methods are for the test's goroutine; readers may call Wake from others.
package sourcetest

import (
	"context"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/internal/obs"
	"github.com/weirflow/weir/operator"
)

// patience is how long a job waits for a Wake before the test fails.
const patience = 30 * time.Second

// TB is what is needed of a test: *testing.T has it, and rapid's.
type TB interface {
	Helper()
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Options say how a job is run.
type Options struct {
	// Readers is the number of subtasks; 0 means 1.
	Readers int
	// Seed chooses the order of reading.
	Seed uint64
	// Max is the largest read; 0 means 16.
	Max int
	// Real makes the job wait by the machine's clock instead of setting its own
	// forward.
	Real bool
	// Bad is the policy for bad records; nil returns no error and notes them.
	Bad func(operator.BadRecord) error
	// Log is the readers' log; nil drops it.
	Log *slog.Logger
}

// Record is a record that was read, and from where.
type Record[T any] struct {
	Value T
	Time  flow.Time
	Split string
}

// State is a job's state at one point.
type State struct {
	Enumerator []byte
	Splits     []operator.Split
	// Finished are splits that were read to their ends after Enumerator was taken.
	Finished []string

	seen map[string]bool // that were ever discovered
}

// Job is a source in reading.
type Job[T any] struct {
	// Records are what was read, in order.
	Records []Record[T]
	// Bad are the records that could not be read.
	Bad []operator.BadRecord
	// Progress is the sum of what reads reported.
	Progress int64
	// Clock is the processing time, unless Options.Real.
	Clock flow.Time
	// Waits counts how often all readers had to wait.
	Waits int

	t          TB
	opts       Options
	info       operator.SourceInfo
	rand       *rand.Rand
	enumerator operator.Enumerator
	readers    []*reader[T]
	pending    []operator.Split
	seen       map[string]bool
	restored   bool // and not yet discovered
	done       bool // discovery
	look       time.Time
	finished   bool // splits finished since the last discovery
	wake       chan struct{}
	cancel     context.CancelFunc
	closed     sync.Once
}

type reader[T any] struct {
	operator.Reader[T]
	splits  map[string]bool
	paused  map[string]bool
	waiting bool
	until   flow.Time
	woken   chan struct{}
}

// Start begins reading: at the beginning, or from a state.
func Start[T any](t TB, src operator.Source[T], o Options, from *State) *Job[T] {
	t.Helper()
	if o.Readers == 0 {
		o.Readers = 1
	}
	if o.Max == 0 {
		o.Max = 16
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	j := &Job[T]{
		t: t, opts: o, info: src.Info(), rand: rand.New(rand.NewPCG(o.Seed, 1)), Clock: 1_000_000,
		seen: map[string]bool{}, wake: make(chan struct{}, 1), cancel: cancel,
	}
	t.Cleanup(j.Close)
	var err error
	if j.enumerator, err = src.Enumerator(); err != nil {
		t.Fatalf("enumerator: %v", err)
	}
	for i := range o.Readers {
		r := &reader[T]{splits: map[string]bool{}, paused: map[string]bool{}, woken: make(chan struct{}, 1)}
		r.Reader, err = src.Reader(&operator.ReaderContext{
			Context: ctx, Job: "job", Operator: "source", Name: "source", Subtask: i, Parallelism: o.Readers,
			Log: o.Log, Metrics: &obs.Operator{}, Now: j.now,
			Wake: func() { raise(r.woken); raise(j.wake) },
			Bad: func(b operator.BadRecord) error {
				if o.Bad != nil {
					return o.Bad(b)
				}
				j.Bad = append(j.Bad, b)
				return nil
			},
		})
		if err != nil {
			t.Fatalf("reader %d: %v", i, err)
		}
		j.readers = append(j.readers, r)
	}
	if from != nil {
		if err := j.enumerator.Restore(from.Enumerator); err != nil {
			t.Fatalf("restoring the enumerator: %v", err)
		}
		maps.Copy(j.seen, from.seen)
		j.restored = true
		if len(from.Finished) > 0 {
			j.enumerator.Finished(from.Finished)
		}
		j.pending = slices.Clone(from.Splits)
	}
	return j
}

func raise(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (j *Job[T]) now() flow.Time {
	if j.opts.Real {
		return flow.TimeOf(time.Now())
	}
	return j.Clock
}

// Ended reports whether the source has been read to its end.
func (j *Job[T]) Ended() bool {
	if !j.done || len(j.pending) > 0 {
		return false
	}
	for _, r := range j.readers {
		if len(r.splits) > 0 {
			return false
		}
	}
	return true
}

// Discover looks for splits and deals them.
func (j *Job[T]) Discover() error {
	j.finished, j.restored = false, false
	if !j.done {
		d, err := j.enumerator.Discover(context.Background())
		if err != nil {
			return err
		}
		for _, s := range d.Splits {
			if j.seen[s.ID] {
				j.t.Fatalf("split %q was discovered twice", s.ID)
			}
			j.seen[s.ID] = true
		}
		j.pending = append(j.pending, d.Splits...)
		j.done = d.Done
		j.look = time.Time{}
		if d.After > 0 {
			j.look = time.Now().Add(d.After)
		}
	}
	return j.deal()
}

func (j *Job[T]) deal() error {
	for len(j.pending) > 0 {
		r := slices.MinFunc(j.readers, func(a, b *reader[T]) int { return len(a.splits) - len(b.splits) })
		if j.info.Assign == operator.AssignOnDemand && len(r.splits) > 0 {
			return nil
		}
		s := j.pending[0]
		j.pending = j.pending[1:]
		if err := r.Add(s); err != nil {
			return err
		}
		r.splits[s.ID] = true
		r.waiting = false
	}
	return nil
}

// Step makes one reader read once, waiting until one can. It returns the number
// of records, and false when the source has ended.
func (j *Job[T]) Step() (int, bool, error) {
	deadline := time.Now().Add(patience)
	for {
		if len(j.seen) == 0 || j.restored || j.finished || len(j.pending) > 0 || (!j.look.IsZero() && time.Now().After(j.look)) {
			if err := j.Discover(); err != nil {
				return 0, false, err
			}
		}
		if j.Ended() {
			return 0, false, nil
		}
		if r := j.ready(); r != nil {
			n, err := j.read(r)
			return n, true, err
		}
		if time.Now().After(deadline) {
			j.t.Fatalf("no reader had anything to read for %v, after %d records", patience, len(j.Records))
		}
		j.wait()
	}
}

func (j *Job[T]) ready() *reader[T] {
	var ready []*reader[T]
	for _, r := range j.readers {
		select {
		case <-r.woken:
			r.waiting = false
		default:
		}
		if r.waiting && r.until > 0 && r.until <= j.now() {
			r.waiting = false
		}
		if !r.waiting && len(r.splits) > 0 {
			ready = append(ready, r)
		}
	}
	if len(ready) == 0 {
		return nil
	}
	return ready[j.rand.IntN(len(ready))]
}

// Idle reports whether all readers wait for a wake that has not come.
func (j *Job[T]) Idle() bool {
	if j.ready() != nil {
		return false
	}
	for _, r := range j.readers {
		if r.until > 0 {
			return false
		}
	}
	return true
}

func (j *Job[T]) wait() {
	j.Waits++
	next := flow.MaxTime
	for _, r := range j.readers {
		if r.waiting && r.until > 0 {
			next = min(next, r.until)
		}
	}
	if next != flow.MaxTime && !j.opts.Real {
		j.Clock = max(j.Clock, next)
		return
	}
	d := patience
	if next != flow.MaxTime {
		d = time.Until(next.Std())
	}
	if !j.look.IsZero() {
		d = min(d, time.Until(j.look))
	}
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	select {
	case <-j.wake:
	case <-timer.C:
	}
}

func (j *Job[T]) read(r *reader[T]) (int, error) {
	j.t.Helper()
	limit := 1 + j.rand.IntN(j.opts.Max)
	var into operator.Records[T]
	st, err := r.Read(&into, limit)
	if err != nil {
		return 0, err
	}
	n := into.Len()
	switch {
	case n > limit:
		j.t.Fatalf("read %d records, the limit is %d", n, limit)
	case len(into.Times) != 0 && len(into.Times) != n:
		j.t.Fatalf("read %d records and %d times", n, len(into.Times))
	case (n > 0 || into.Done) && !r.splits[into.Split]:
		j.t.Fatalf("read %d records of split %q, which the reader does not hold", n, into.Split)
	case n > 0 && r.paused[into.Split]:
		j.t.Fatalf("read %d records of the paused split %q", n, into.Split)
	}
	for i, v := range into.Values {
		j.Records = append(j.Records, Record[T]{Value: v, Time: into.Time(i), Split: into.Split})
	}
	j.Progress += into.Progress
	if into.Done {
		delete(r.splits, into.Split)
		j.enumerator.Finished([]string{into.Split})
		j.finished = true
	}
	r.waiting, r.until = st.Wait, st.Until
	return n, nil
}

// Pause pauses or resumes a split, wherever it is read.
func (j *Job[T]) Pause(split string, paused bool) {
	for _, r := range j.readers {
		if r.splits[split] {
			r.Pause(split, paused)
			r.paused[split] = paused
			r.waiting = false
		}
	}
}

// Read reads until there are n records at least, or the end.
func (j *Job[T]) Read(n int) {
	j.t.Helper()
	for len(j.Records) < n {
		_, more, err := j.Step()
		if err != nil {
			j.t.Fatalf("reading: %v", err)
		}
		if !more {
			return
		}
	}
}

// ReadAll reads to the end.
func (j *Job[T]) ReadAll() {
	j.t.Helper()
	for {
		_, more, err := j.Step()
		if err != nil {
			j.t.Fatalf("reading: %v", err)
		}
		if !more {
			return
		}
	}
}

// Fail reads until an error and returns it.
func (j *Job[T]) Fail() error {
	j.t.Helper()
	for {
		_, more, err := j.Step()
		if err != nil {
			return err
		}
		if !more {
			j.t.Fatalf("the source ended without an error")
		}
	}
}

// Where is where reader i says it is.
func (j *Job[T]) Where(i int) string { return j.readers[i].Where() }

// Values are the values read, in order.
func (j *Job[T]) Values() []T {
	var vs []T
	for _, r := range j.Records {
		vs = append(vs, r.Value)
	}
	return vs
}

// BySplit are the values read of each split, in order.
func (j *Job[T]) BySplit() map[string][]T {
	m := map[string][]T{}
	for _, r := range j.Records {
		m[r.Split] = append(m[r.Split], r.Value)
	}
	return m
}

// Snapshot is the state after what was read so far.
func (j *Job[T]) Snapshot() *State {
	j.t.Helper()
	return j.Cut(0)
}

// Cut is the state of an epoch, as the engine takes it: that of the enumerator when
// the barrier sets out, those of the readers when it has come to them, which is up
// to steps reads later. Splits that are dealt in between come after the barrier.
// What counts as read is what was read when Cut returns.
func (j *Job[T]) Cut(steps int) *State {
	j.t.Helper()
	data, err := j.enumerator.Snapshot()
	if err != nil {
		j.t.Fatalf("snapshot of the enumerator: %v", err)
	}
	st := &State{Enumerator: data, Splits: slices.Clone(j.pending), seen: maps.Clone(j.seen)}
	assigned := map[string]bool{}
	for _, r := range j.readers {
		maps.Copy(assigned, r.splits)
	}
	for range steps {
		r := j.ready()
		if r == nil {
			break
		}
		if _, err := j.read(r); err != nil {
			j.t.Fatalf("reading: %v", err)
		}
	}
	for i, r := range j.readers {
		splits, err := r.Snapshot()
		if err != nil {
			j.t.Fatalf("snapshot of reader %d: %v", i, err)
		}
		held := map[string]bool{}
		for _, s := range splits {
			held[s.ID] = true
		}
		if !maps.Equal(held, r.splits) {
			j.t.Fatalf("reader %d holds %v, its snapshot has %v", i, r.splits, held)
		}
		for id := range held {
			delete(assigned, id)
		}
		st.Splits = append(st.Splits, splits...)
	}
	st.Finished = slices.Sorted(maps.Keys(assigned))
	return st
}

// Close ends the job. The test's end calls it too.
func (j *Job[T]) Close() {
	j.closed.Do(func() {
		j.cancel()
		for _, r := range j.readers {
			if err := r.Close(); err != nil {
				j.t.Errorf("closing a reader: %v", err)
			}
		}
		if err := j.enumerator.Close(); err != nil {
			j.t.Errorf("closing the enumerator: %v", err)
		}
	})
}
