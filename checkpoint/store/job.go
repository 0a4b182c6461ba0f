package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirflow/weir/flow"
)

// JobOptions says how a job's checkpoints are kept. The zero value works.
type JobOptions struct {
	// Retain is how many of the newest checkpoints are kept; savepoints that a user
	// owns are not among them. Default 3.
	Retain int
	// Uploads is how many files of one task are written to storage at a time. Default 4.
	Uploads int
	// Retry says how often temporary errors of the storage are borne.
	Retry RetryPolicy
	// FS is the local disk: of the files that tasks link, fetch and spool. Default: that
	// of the operating system.
	FS vfs.FS
	// Spool is the folder for files that are on the way to a storage that is not on
	// this disk. Default: the operating system's for temporary files.
	Spool string
	Log   *slog.Logger
	// Now is the time, for entries. Default time.Now.
	Now func() time.Time
}

// EnsureDefaults fills what is not set.
func (o *JobOptions) EnsureDefaults() {
	if o.Retain < 1 {
		o.Retain = 3
	}
	if o.Uploads < 1 {
		o.Uploads = 4
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Retry.EnsureDefaults()
}

var (
	// ErrFenced is wrapped by errors of an attempt that another one has replaced. It
	// must end, and nothing that it does counts any more.
	ErrFenced = errors.New("store: another attempt of the job has begun")
	// ErrUnclaimed is wrapped by errors of a Job that has to claim an attempt first, or
	// again: after a commit of which it could not be found out whether it counts.
	ErrUnclaimed = errors.New("store: the job has no attempt claimed")
)

// Job is the checkpoints of one job.
type Job struct {
	st   Storage
	id   flow.JobID
	root string // key, with a slash at its end
	opts JobOptions

	// commits is held by Claim, Commit and what reads the log to change it: one at a time.
	commits sync.Mutex
	mu      struct {
		sync.Mutex
		claim   *claim
		trusted time.Time // see Files
		foreign map[string]Storage
		collect collector
	}
}

// claim is an attempt that this Job holds.
type claim struct {
	attempt flow.Attempt
	writer  uint64
	next    uint64 // number of the next entry
	epoch   flow.Epoch
}

// OpenJob makes the Job of id in st, which stays the caller's to close. It does no I/O.
func OpenJob(st Storage, id flow.JobID, o JobOptions) *Job {
	o.EnsureDefaults()
	return &Job{st: Retry(st, o.Retry), id: id, root: jobRoot(id), opts: o}
}

const jobsRoot = "jobs/"

func jobRoot(id flow.JobID) string { return jobsRoot + keyName(string(id)) + "/" }

// Jobs lists the jobs that have checkpoints in st.
func Jobs(ctx context.Context, st Storage) ([]flow.JobID, error) {
	var out []flow.JobID
	for info, err := range st.List(ctx, jobsRoot) {
		if err != nil {
			return nil, fmt.Errorf("store: list jobs: %w", err)
		}
		name, rest, _ := strings.Cut(strings.TrimPrefix(info.Key, jobsRoot), "/")
		if !strings.HasPrefix(rest, "log/") {
			continue
		}
		id, err := url.PathUnescape(name)
		if err != nil {
			continue // Nobody's job: a name of ours can be unescaped.
		}
		if j := flow.JobID(id); len(out) == 0 || out[len(out)-1] != j {
			out = append(out, j)
		}
	}
	return out, nil
}

// ID is the job's.
func (j *Job) ID() flow.JobID { return j.id }

// Close lets go of what the Job has opened beside its storage.
func (j *Job) Close() error {
	j.mu.Lock()
	foreign := j.mu.foreign
	j.mu.foreign = nil
	j.mu.Unlock()
	var errs []error
	for _, st := range foreign {
		errs = append(errs, st.Close())
	}
	return errors.Join(errs...)
}
