package run

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/internal/node"
	"github.com/weirflow/weir/scheduler"
	"github.com/weirflow/weir/scheduler/job"
)

// Durable says what of a job outlives its process. The zero value is nothing: a job
// that fails has failed, and one that is started again starts anew.
//
// With a State, each epoch is a checkpoint. A job that fails is restarted from the
// newest one; a process that starts the job again, under the same name and with the
// same State, goes on from there.
type Durable struct {
	// State is a directory, or the URL of a bucket: s3://, gs:// and azblob:// need
	// their package of checkpoint/store imported.
	State string
	// Job is the name under which the job is in State. Default: the pipeline's name.
	Job string
	// From is the place of a savepoint. A job that has no checkpoint of its own starts
	// from it; one that has goes on from its own.
	From string
	// Fresh gives up the checkpoints that the job has, and starts it anew.
	Fresh bool
	// AllowDroppedState goes on without state of which the program has no operator.
	AllowDroppedState bool
	// Retain is how many checkpoints are kept. Default 3.
	Retain int
	// Backend is where the state of running tasks is: BackendLSM or BackendMemory.
	// Default: BackendLSM with a State, otherwise BackendMemory.
	Backend string
	// Restart says how often a failed job is restarted.
	Restart Restart
	// OnStop says what a stop does. Default: StopCheckpoint with a State, otherwise
	// StopDrain.
	OnStop OnStop
	// Savepoint is where the savepoint of StopSavepoint goes.
	Savepoint string
}

// Where the state of running tasks is.
const (
	BackendLSM    = string(node.LSM)    // on disk, behind a cache
	BackendMemory = string(node.Memory) // in memory
)

// OnStop says what a stop does with a job.
type OnStop string

const (
	// StopDrain ends the sources. What was accepted is finished and committed, and the
	// job is over: started again, it has nothing left to do.
	StopDrain OnStop = "drain"
	// StopCheckpoint takes a checkpoint and ends the job where it is. Started again, it
	// goes on as if it had not been stopped.
	StopCheckpoint OnStop = "checkpoint"
	// StopSavepoint is StopCheckpoint with a savepoint.
	StopSavepoint OnStop = "savepoint"
)

// Restart says how often a failed job is restarted: at most Most times within Window,
// after 1 second at first, and after twice as long with each failure in a row, up to 1
// minute. The zero value is the default: 20 times in 10 minutes with a State, and
// never without.
type Restart struct {
	Never  bool
	Most   int
	Window time.Duration
}

func (r Restart) policy() job.RestartPolicy {
	switch {
	case r.Never:
		return job.NoRestart{}
	case r.Most == 0:
		return nil // the node's default
	}
	return &scheduler.Budgeted{Delays: job.Exponential{}, Most: r.Most, Window: r.Window,
		Now: func() flow.Time { return flow.TimeOf(time.Now()) }}
}

// parseRestart reads "none" and "20/10m".
func parseRestart(v string) (Restart, error) {
	if v == "none" {
		return Restart{Never: true}, nil
	}
	most, window, ok := strings.Cut(v, "/")
	n, err := strconv.Atoi(most)
	d, derr := time.ParseDuration(window)
	if !ok || err != nil || derr != nil || n < 1 || d <= 0 {
		return Restart{}, errors.New("it must be none, or a number of restarts and a time, such as 20/10m")
	}
	return Restart{Most: n, Window: d}, nil
}

// Audit says what is done when the books do not balance: more or fewer records went
// out of a part of the job than came in.
type Audit string

const (
	// AuditStop fails the job, before anything of the epoch is committed.
	AuditStop Audit = "stop"
	// AuditHashes is AuditStop that compares sums of hashes beside counts: slower, and
	// finds records that were changed.
	AuditHashes Audit = "hashes"
	// AuditWarn logs it.
	AuditWarn Audit = "warn"
	// AuditOff does not look.
	AuditOff Audit = "off"
)

func (a Audit) validate() error {
	switch a {
	case "", AuditStop, AuditHashes, AuditWarn, AuditOff:
		return nil
	}
	return fmt.Errorf("audit %q: it must be stop, hashes, warn or off", string(a))
}

func (a Audit) scheduler() scheduler.Audit {
	switch a {
	case AuditWarn:
		return scheduler.AuditWarn
	case AuditOff:
		return scheduler.AuditOff
	}
	return scheduler.AuditStop
}

// validate refuses what makes no sense.
func (d *Durable) validate() error {
	switch d.OnStop {
	case "", StopDrain, StopCheckpoint, StopSavepoint:
	default:
		return fmt.Errorf("on stop %q: it must be drain, checkpoint or savepoint", string(d.OnStop))
	}
	switch d.Backend {
	case "", BackendLSM, BackendMemory:
	default:
		return fmt.Errorf("backend %q: it must be lsm or memory", d.Backend)
	}
	if d.State == "" {
		for what, set := range map[string]bool{
			"a savepoint to start from (--from)": d.From != "", "a fresh start (--fresh)": d.Fresh,
			"restarts (--restart)":                  d.Restart.Most > 0,
			"a stop with a checkpoint":              d.OnStop == StopCheckpoint,
			"a stop with a savepoint":               d.OnStop == StopSavepoint,
			"dropped state (--allow-dropped-state)": d.AllowDroppedState,
		} {
			if set {
				return fmt.Errorf("%s is for jobs that keep their state: say where (--state)", what)
			}
		}
	}
	switch {
	case d.OnStop == StopSavepoint && d.Savepoint == "":
		return errors.New("a stop with a savepoint needs a place for it (--savepoint)")
	case d.Savepoint != "" && d.OnStop != StopSavepoint:
		return errors.New("a place for a savepoint is for a stop with one (--on-stop savepoint)")
	case d.Retain < 0:
		return errors.New("at least 1 checkpoint must be retained")
	}
	return nil
}

// jobID names the run. Two runs of a pipeline that keep nothing are two jobs: what
// one has written for the next epoch is not the other's.
func (d *Durable) jobID(pipeline string) flow.JobID {
	switch {
	case d.State == "":
		return newJob(pipeline)
	case d.Job != "":
		return flow.JobID(d.Job)
	}
	return flow.JobID(pipeline)
}

func (d *Durable) nodeState() node.State {
	return node.State{Location: d.State, From: d.From, Fresh: d.Fresh, AllowDropped: d.AllowDroppedState, Retain: d.Retain,
		Backend: node.Backend(d.Backend)}
}

// onStop is what a stop does, with the default.
func (d *Durable) onStop() OnStop {
	switch {
	case d.OnStop != "":
		return d.OnStop
	case d.State != "":
		return StopCheckpoint
	}
	return StopDrain
}

func (d *Durable) stop(e *node.Embedded) {
	switch d.onStop() {
	case StopDrain:
		e.Stop()
	case StopCheckpoint:
		e.Suspend("")
	case StopSavepoint:
		e.Suspend(d.Savepoint)
	}
}

// Control steers a job while it runs, from any goroutine. The zero value is ready to
// be set in [Options]; it is for one run.
type Control struct {
	mu struct {
		sync.Mutex
		e    *node.Embedded
		made chan struct{}
	}
}

func (c *Control) ready() chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.made == nil {
		c.mu.made = make(chan struct{})
	}
	return c.mu.made
}

func (c *Control) set(e *node.Embedded) {
	made := c.ready()
	c.mu.Lock()
	c.mu.e = e
	c.mu.Unlock()
	close(made)
}

// Savepoint takes a savepoint, copies it to a directory or URL, and returns its epoch.
// It waits for the job to run; the job goes on.
func (c *Control) Savepoint(ctx context.Context, to string) (uint64, error) {
	select {
	case <-c.ready():
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	c.mu.Lock()
	e := c.mu.e
	c.mu.Unlock()
	epoch, err := e.Savepoint(ctx, to)
	return uint64(epoch), err
}
