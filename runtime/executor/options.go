package executor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/runtime/artifact"
)

// Options of a Manager.
type Options struct {
	// Dir is where executors have their directories and logs; it is this Manager's alone.
	Dir string
	// Program is the path of the program for jobs that name no artifact: weir itself.
	Program string
	// Artifacts has the programs of the others; nil: there are none.
	Artifacts *artifact.Store
	// Sources is where to fetch a job's program from, if it is not here; nil: nowhere.
	Sources func(api.JobSpec) []artifact.Source
	// Secrets is a directory with a file for each secret. Empty: there are none.
	Secrets string
	// Start starts an executor. Nil: it is a process of this machine.
	Start func(context.Context, Command) (*Child, error)
	// Configure completes what an executor is started with: its node, where to listen,
	// certificates. Nil: nothing is added.
	Configure func(*api.ExecutorConfig) error
	// Report is called with each new status of an allocation. It must not block.
	Report func(api.AllocStatus)
	// Answer is called with what came of a request. It must not block.
	Answer func(api.Answer)
	// Log tells what happens. Default: nobody.
	Log *slog.Logger

	// StartTimeout is how long an executor may take from its start until it says that it
	// listens. Default: 30 s.
	StartTimeout time.Duration
	// StopGrace is the time from the end of an executor's input to SIGTERM. Default: 5 s.
	StopGrace time.Duration
	// TermGrace is the time from SIGTERM to SIGKILL. Default: 3 s.
	TermGrace time.Duration
	// ReportEvery is the time between two reports of one allocation, where only its
	// job's figures are new. Default: 100 ms.
	ReportEvery time.Duration
	// KeepLocal is how long the directory of an executor that has ended is kept for the next
	// one of its job, which then finds it as its own. Default: 0, it is removed.
	KeepLocal time.Duration
	// MaxExecutors is how many may live at a time. Default: 256.
	MaxExecutors int

	// LogFile is the size of one file of a log in bytes, LogFiles how many of them one log
	// has. Defaults: 8 MiB, 4.
	LogFile  int64
	LogFiles int
	// LogLine is where a line of a log is broken, in bytes. Default: 16 KiB.
	LogLine int
	// LogBudget is what the logs of executors that have ended may take with those that
	// live, in bytes. Default: 512 MiB.
	LogBudget int64
	// MaxEvent is the longest event that is read, in bytes. Default: api.MaxExecutorEvent.
	MaxEvent int

	// Cgroup is where cgroups are made if version 2 is mounted there and may be written to.
	// Default: /sys/fs/cgroup; "none": nowhere.
	Cgroup string

	testing struct {
		now func() time.Time // of logs
	}
}

// EnsureDefaults fills what is not set.
func (o *Options) EnsureDefaults() {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&o.StartTimeout, 30*time.Second)
	set(&o.StopGrace, 5*time.Second)
	set(&o.TermGrace, 3*time.Second)
	set(&o.ReportEvery, 100*time.Millisecond)
	if o.MaxExecutors == 0 {
		o.MaxExecutors = 256
	}
	if o.LogFile == 0 {
		o.LogFile = 8 << 20
	}
	if o.LogFiles == 0 {
		o.LogFiles = 4
	}
	if o.LogLine == 0 {
		o.LogLine = 16 << 10
	}
	if o.LogBudget == 0 {
		o.LogBudget = 512 << 20
	}
	if o.MaxEvent == 0 {
		o.MaxEvent = api.MaxExecutorEvent
	}
	if o.Cgroup == "" {
		o.Cgroup = "/sys/fs/cgroup"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Report == nil {
		o.Report = func(api.AllocStatus) {}
	}
	if o.Answer == nil {
		o.Answer = func(api.Answer) {}
	}
	if o.testing.now == nil {
		o.testing.now = time.Now
	}
}

// Validate refuses what cannot work.
func (o *Options) Validate() error {
	switch {
	case o.Dir == "":
		return errors.New("executor: no directory given")
	case o.StartTimeout < 0 || o.StopGrace < 0 || o.TermGrace < 0 || o.ReportEvery < 0 || o.KeepLocal < 0:
		return errors.New("executor: a time below 0 is given")
	case o.MaxExecutors < 0 || o.LogFile < 0 || o.LogFiles < 0 || o.LogLine < 0 || o.LogBudget < 0 || o.MaxEvent < 0:
		return errors.New("executor: a size or number below 0 is given")
	}
	return nil
}

func (o *Options) limits() limits {
	return limits{start: o.StartTimeout, stop: o.StopGrace, term: o.TermGrace, report: o.ReportEvery}
}

func (o *Options) logOptions() logOptions {
	return logOptions{maxFile: o.LogFile, files: o.LogFiles, maxLine: o.LogLine}
}

// checkPlaces makes relative directories absolute: executors work in others.
func (o *Options) checkPlaces() error {
	for _, p := range []*string{&o.Dir, &o.Program, &o.Secrets} {
		if *p == "" {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return fmt.Errorf("executor: find %s: %w", *p, err)
		}
		*p = abs
	}
	return nil
}
