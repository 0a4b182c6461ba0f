package checkpoint

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/weirflow/weir/flow"
)

// ErrStaleAttempt is what carries another attempt than the coordinator's is
// refused with; errors.Is finds it.
var ErrStaleAttempt = errors.New("checkpoint: message of another attempt")

// ErrNoMoreEpochs refuses an epoch that is asked for when the final one is under way
// or the attempt is over; errors.Is finds it.
var ErrNoMoreEpochs = errors.New("checkpoint: the attempt starts no more epochs")

// Ack is a task's word that its part of Epoch is done: its snapshot taken and its
// sinks' output prepared.
type Ack struct {
	Attempt flow.Attempt
	Task    flow.TaskID
	Epoch   flow.Epoch
	// Committables is all that the task's sinks prepared up to Epoch and was not
	// yet told to be committed: [Prepared.For]. One without an Epoch counts as
	// prepared for the acknowledged one. The coordinator keeps the slice.
	Committables []Committable
	// Snapshot is what the task saved, nil where nothing is saved.
	Snapshot *TaskSnapshot
}

// Decline is a task's word that it can't do its part of Epoch.
type Decline struct {
	Attempt flow.Attempt
	Task    flow.TaskID
	Epoch   flow.Epoch
	Reason  string
}

// Coordinator starts, gathers and ends the epochs of one attempt of a job. It is
// told what happens, with the time, and answers with the actions that follow.
//
// The time given is never less than before; [Coordinator.Next] says when Tick is wanted.
//
// Barriers that are lost, and acknowledgements of ordinary epochs, cost an epoch
// and no more, by the time-out. Three messages have to arrive as long as their
// task lives: Abort, and of a final epoch the acknowledgement and the NotifyCommitted.
type Coordinator struct {
	attempt flow.Attempt
	tasks   []flow.TaskID
	index   map[flow.TaskID]int
	sources []flow.TaskID
	opts    Options

	started   bool
	closed    bool       // failed or stopped
	complete  bool       // the final epoch is committed
	next      flow.Epoch // the number of the next epoch to start
	committed flow.Epoch // the newest that was committed
	inFlight  []*epoch   // in the order of numbers
	aborts    int        // in a row; savepoints are not counted

	// due is when the next periodic epoch is to start, ended when the last epoch
	// left flight.
	due, ended flow.Time

	// want is what was asked for and could not be started. Two wishes for the same
	// kind are fulfilled by one epoch.
	want [3]bool
	// finalRetry says that the final epoch in want was tried and aborted.
	finalRetry bool
}

// epoch is one that is in flight.
type epoch struct {
	barrier      flow.Barrier
	deadline     flow.Time
	acked        []bool
	missing      int
	committables []Committable
	snapshots    []TaskSnapshot
	committing   bool
}

// NewCoordinator makes the coordinator of one attempt. Barriers are injected at
// sources, which are some of tasks; every one of tasks has to acknowledge.
func NewCoordinator(attempt flow.Attempt, tasks, sources []flow.TaskID, opts Options) (*Coordinator, error) {
	opts.EnsureDefaults()
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	c := &Coordinator{
		attempt: attempt, opts: opts,
		tasks: slices.Clone(tasks), sources: slices.Clone(sources),
		index: make(map[flow.TaskID]int, len(tasks)),
		next:  opts.First, committed: opts.First - 1,
		due: flow.MaxTime, ended: flow.MinTime,
	}
	for i, t := range tasks {
		if _, twice := c.index[t]; twice {
			return nil, fmt.Errorf("checkpoint: task %s is there twice", t)
		}
		c.index[t] = i
	}
	if len(sources) == 0 {
		return nil, errors.New("checkpoint: no sources to start an epoch at")
	}
	for _, s := range sources {
		if _, ok := c.index[s]; !ok {
			return nil, fmt.Errorf("checkpoint: source %s is not among the tasks", s)
		}
	}
	return c, nil
}

// Start says that all tasks run. From now on epochs are started; one that was
// asked for before starts at once.
func (c *Coordinator) Start(now flow.Time) []Action {
	if c.started {
		return nil
	}
	c.started = true
	c.schedule(now)
	return c.startNext(now, nil)
}

// Trigger asks for an epoch. It starts at once if there is room; else it is
// remembered and starts as soon as there is. A checkpoint or savepoint that is
// asked for does not wait for MinPause. A final epoch waits until no other is in
// flight, and is the last one.
func (c *Coordinator) Trigger(kind flow.BarrierKind, now flow.Time) ([]Action, error) {
	if int(kind) >= len(c.want) {
		return nil, fmt.Errorf("checkpoint: %s is no kind of epoch", kind)
	}
	if c.closed || c.complete || c.final() && kind != flow.BarrierFinal {
		return nil, fmt.Errorf("%w: %s refused", ErrNoMoreEpochs, kind)
	}
	if kind == flow.BarrierFinal && c.final() {
		return nil, nil
	}
	c.want[kind] = true
	return c.startNext(now, nil), nil
}

// final reports whether the final epoch is asked for or in flight.
func (c *Coordinator) final() bool { return c.want[flow.BarrierFinal] || c.finalInFlight() }

func (c *Coordinator) finalInFlight() bool {
	return len(c.inFlight) > 0 && c.inFlight[0].barrier.Kind == flow.BarrierFinal
}

// Ack notes an acknowledgement. A second one of the same task, and one of an
// epoch that has ended, change nothing. The errors are about messages that should
// not have been sent; they change nothing either.
func (c *Coordinator) Ack(a Ack, _ flow.Time) ([]Action, error) {
	i, err := c.check(a.Attempt, a.Task, a.Epoch, "acknowledgement")
	if err != nil {
		return nil, err
	}
	for j := range a.Committables {
		m := &a.Committables[j]
		if m.Epoch == 0 {
			m.Epoch = a.Epoch
		}
		if m.Epoch > a.Epoch {
			return nil, fmt.Errorf("checkpoint: acknowledgement of epoch %d by task %s holds %s, of a later epoch",
				a.Epoch, a.Task, *m)
		}
	}
	e := c.find(a.Epoch)
	if e == nil || e.acked[i] {
		return nil, nil
	}
	e.acked[i] = true
	e.missing--
	e.committables = append(e.committables, a.Committables...)
	if a.Snapshot != nil {
		e.snapshots = append(e.snapshots, *a.Snapshot)
	}
	return c.commitNext(nil), nil
}

// Decline notes that a task can't do its part, and aborts the epoch unless it is
// acknowledged by all.
func (c *Coordinator) Decline(d Decline, now flow.Time) ([]Action, error) {
	if _, err := c.check(d.Attempt, d.Task, d.Epoch, "decline"); err != nil {
		return nil, err
	}
	e := c.find(d.Epoch)
	if e == nil || e.missing == 0 {
		return nil, nil
	}
	acts := c.abort(e, now, fmt.Sprintf("task %s: %s", d.Task, d.Reason), nil)
	return c.proceed(now, acts), nil
}

// Committed notes that the Commit of epoch was done.
func (c *Coordinator) Committed(epoch flow.Epoch, now flow.Time) ([]Action, error) {
	e, err := c.committing(epoch)
	if err != nil {
		return nil, err
	}
	c.remove(e, now)
	c.committed, c.aborts = epoch, 0
	acts := []Action{NotifyCommitted{e.barrier}}
	if e.barrier.Kind == flow.BarrierFinal {
		c.complete = true
		return append(acts, Complete{epoch}), nil
	}
	return c.proceed(now, acts), nil
}

// CommitFailed notes that the Commit of epoch was given up. The attempt fails:
// the next one has to commit the epoch before it does anything else.
func (c *Coordinator) CommitFailed(epoch flow.Epoch, now flow.Time, cause error) ([]Action, error) {
	e, err := c.committing(epoch)
	if err != nil {
		return nil, err
	}
	f := *flow.FailureOf(cause)
	f.Message = fmt.Sprintf("committing %s: %s", e.barrier, f.Text())
	f.Cause = cause
	c.remove(e, now)
	return append(c.close(now, "the attempt failed", nil), Fail{epoch, &f}), nil
}

// Stop says that the attempt is over: tasks failed, or the job was cancelled.
// Epochs in flight are aborted, but for one whose commit is under way; its
// Committed is still expected.
func (c *Coordinator) Stop(now flow.Time, reason string) []Action {
	if c.closed || c.complete {
		return nil
	}
	return c.close(now, reason, nil)
}

// Tick lets time pass: it aborts epochs that have timed out and starts periodic
// ones.
func (c *Coordinator) Tick(now flow.Time) []Action {
	var acts []Action
	for _, e := range slices.Clone(c.inFlight) {
		switch {
		case c.closed || e.missing == 0 || now < e.deadline:
		case e.barrier.Kind == flow.BarrierFinal:
			e.deadline = now.Add(c.opts.Timeout)
			acts = append(acts, Late{e.barrier, c.missing(e)})
		default:
			acts = c.abort(e, now, fmt.Sprintf("after %s no acknowledgement of %s",
				c.opts.Timeout, joinTasks(c.missing(e))), acts)
		}
	}
	return c.proceed(now, acts)
}

// Next is when Tick is wanted, if nothing else happens before; false if never.
func (c *Coordinator) Next() (flow.Time, bool) {
	next := flow.MaxTime
	if c.closed || c.complete || !c.started {
		return next, false
	}
	for _, e := range c.inFlight {
		if e.missing > 0 {
			next = min(next, e.deadline)
		}
	}
	switch {
	case len(c.inFlight) == 0 && c.want[flow.BarrierFinal]:
		next = min(next, c.rested())
	case len(c.inFlight) < c.opts.MaxConcurrent && !c.final():
		next = min(next, max(c.due, c.rested()))
	}
	return next, next != flow.MaxTime
}

// Done reports whether the coordinator has nothing more to say.
func (c *Coordinator) Done() bool { return c.complete || c.closed && len(c.inFlight) == 0 }

// NextEpoch is the number of the next epoch that will be started.
func (c *Coordinator) NextEpoch() flow.Epoch { return c.next }

// CommittedEpoch is the newest epoch that was committed.
func (c *Coordinator) CommittedEpoch() flow.Epoch { return c.committed }

// Describe prints the coordinator for scripts: a line for the whole, a line for each
// epoch in flight.
func (c *Coordinator) Describe() string {
	var b strings.Builder
	state := "idle"
	switch {
	case c.complete:
		state = "complete"
	case c.closed:
		state = "closed"
	case !c.started:
		state = "not started"
	case len(c.inFlight) > 0:
		state = "in flight"
	}
	fmt.Fprintf(&b, "%s, next=%d committed=%d aborts=%d", state, c.next, c.committed, c.aborts)
	for k, w := range c.want {
		if w {
			fmt.Fprintf(&b, " want=%s", flow.BarrierKind(k))
		}
	}
	b.WriteByte('\n')
	for _, e := range c.inFlight {
		switch {
		case e.committing:
			fmt.Fprintf(&b, "  %s: committing\n", e.barrier)
		case e.missing == 0:
			fmt.Fprintf(&b, "  %s: acknowledged by all\n", e.barrier)
		default:
			fmt.Fprintf(&b, "  %s: waiting for %s\n", e.barrier, joinTasks(c.missing(e)))
		}
	}
	return b.String()
}
