package metrics

import (
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirflow/weir/internal/obs"
)

// Job is a collector of what one process knows of its job. Its other methods are told what
// happens to the job, by the process that runs its scheduler; elsewhere they are not called,
// and the families that they fill are not shown.
type Job struct {
	registry *obs.Registry
	now      func() time.Time
	states   []string

	mu struct {
		sync.Mutex
		told    bool // that this process runs the scheduler
		state   string
		attempt uint64
		// began is when the attempt did, failed when the job stopped working; zero otherwise.
		began, failed time.Time
		open          map[uint64]epoch // those under way
	}

	restarts                   prometheus.Counter
	restore, recovery          prometheus.Histogram
	finished                   *prometheus.CounterVec
	unaligned, added           prometheus.Counter
	phase                      *prometheus.HistogramVec
	taskPause, taskTook        prometheus.Histogram
	epoch, at, size, overtaken prometheus.Gauge
}

// epoch is one under way.
type epoch struct {
	kind            string
	began, gathered time.Time
	snapshot        Snapshot
}

// Snapshot is what all tasks have handed over at a barrier.
type Snapshot struct {
	// Bytes is what the checkpoint's files come to, Added what was not in storage before,
	// Overtaken what of them is records under way.
	Bytes, Added, Overtaken int64
	// Took and Paused are of each task, from the barrier to the acknowledgement, and for how
	// long it stood still.
	Took, Paused []time.Duration
}

// Fine from a millisecond to a minute: what a checkpoint takes, and a recovery.
var seconds = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

// NewJob makes the collector of a job. states are all that it may be in.
func NewJob(r *obs.Registry, states []string) *Job {
	j := &Job{registry: r, now: time.Now, states: states}
	j.mu.open = map[uint64]epoch{}
	histogram := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: "weir_" + name, Help: help, Buckets: seconds})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_" + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "weir_" + name, Help: help})
	}
	j.restarts = counter("job_restarts_total", "Attempts of the job that followed a failed one, in this coordinator.")
	j.restore = histogram("job_start_duration_seconds", "From the beginning of an attempt until all tasks run: finding the newest checkpoint, waiting for slots, restoring.")
	j.recovery = histogram("job_recovery_duration_seconds", "From a failure until all tasks of the next attempt run.")
	j.finished = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_checkpoints_total",
		Help: "Epochs by their kind and by what came of them: committed or aborted."}, []string{"kind", "result"})
	j.unaligned = counter("checkpoints_unaligned_total", "Committed epochs that have overtaken records under way.")
	j.added = counter("checkpoint_added_bytes_total", "Bytes that checkpoints added to storage.")
	j.phase = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "weir_checkpoint_duration_seconds",
		Help:    "Phases of committed epochs: tasks is from the barrier until all tasks have acknowledged, commit from then until sinks have published, whole is both.",
		Buckets: seconds}, []string{"phase"})
	j.taskPause = histogram("checkpoint_task_pause_seconds", "For how long a task stood still for a barrier.")
	j.taskTook = histogram("checkpoint_task_duration_seconds", "From the barrier at a task to its acknowledgement.")
	j.epoch = gauge("checkpoint_last_epoch", "The newest epoch that is committed.")
	j.at = gauge("checkpoint_last_timestamp_seconds", "When the newest epoch was committed, in seconds since 1970.")
	j.size = gauge("checkpoint_last_size_bytes", "What the files of the newest checkpoint come to.")
	j.overtaken = gauge("checkpoint_last_overtaken_bytes", "Records under way in the newest checkpoint.")
	return j
}

var (
	jobState   = prometheus.NewDesc("weir_job_state", "1 for the state that the job is in, 0 for all others.", []string{"state"}, nil)
	jobAttempt = prometheus.NewDesc("weir_job_attempt", "The number of the job's attempt.", nil, nil)
)

// own are the families that are filled by what the job is told.
func (j *Job) own() []prometheus.Collector {
	return []prometheus.Collector{j.restarts, j.restore, j.recovery, j.finished, j.unaligned, j.added, j.phase, j.taskPause, j.taskTook,
		j.epoch, j.at, j.size, j.overtaken}
}

// Describe lists the families.
func (j *Job) Describe(to chan<- *prometheus.Desc) {
	for _, d := range operatorFamilies {
		to <- d
	}
	to <- jobState
	to <- jobAttempt
	for _, c := range j.own() {
		c.Describe(to)
	}
}

// Collect reads all counters.
func (j *Job) Collect(to chan<- prometheus.Metric) {
	now := j.now()
	for _, f := range operators(j.registry, now) {
		f.collect(to, now)
	}
	j.mu.Lock()
	told, state, attempt := j.mu.told, j.mu.state, j.mu.attempt
	j.mu.Unlock()
	if !told {
		return
	}
	for _, s := range j.states {
		v := 0.0
		if s == state {
			v = 1
		}
		to <- prometheus.MustNewConstMetric(jobState, prometheus.GaugeValue, v, s)
	}
	to <- prometheus.MustNewConstMetric(jobAttempt, prometheus.GaugeValue, float64(attempt))
	for _, c := range j.own() {
		c.Collect(to)
	}
}

// State is told that the job is in a state: one of those it was made with. starting, running
// and failing say what that means for whoever waits for results.
func (j *Job) State(state string, starting, running, failing bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.mu.told, j.mu.state = true, state
	now := j.now()
	switch {
	case failing:
		if j.mu.failed.IsZero() {
			j.mu.failed = now
		}
		j.mu.began = time.Time{}
		clear(j.mu.open)
	case starting:
		j.mu.began = now
	case running:
		if !j.mu.began.IsZero() {
			j.restore.Observe(now.Sub(j.mu.began).Seconds())
		}
		if !j.mu.failed.IsZero() {
			j.recovery.Observe(now.Sub(j.mu.failed).Seconds())
		}
		j.mu.began, j.mu.failed = time.Time{}, time.Time{}
	}
}

// Restored is told what an attempt starts from; epoch is 0 where it starts anew.
func (j *Job) Restored(attempt, epoch uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.mu.told, j.mu.attempt = true, attempt
	if epoch > 0 {
		j.epoch.Set(float64(epoch))
	}
}

// Restarting is told that another attempt follows a failed one.
func (j *Job) Restarting() { j.restarts.Inc() }

// maxEpochs bounds the epochs that are remembered. The coordinator has far fewer under way.
const maxEpochs = 64

// Injected is told that an epoch's barrier goes to the sources.
func (j *Job) Injected(number uint64, kind string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.mu.open) < maxEpochs {
		j.mu.open[number] = epoch{kind: kind, began: j.now()}
	}
}

// Acknowledged is told that all tasks have handed over what they held at the barrier.
func (j *Job) Acknowledged(number uint64, s Snapshot) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if e, ok := j.mu.open[number]; ok {
		e.gathered, e.snapshot = j.now(), s
		j.mu.open[number] = e
	}
}

// Committed is told that an epoch is committed.
func (j *Job) Committed(number uint64, kind string) {
	j.mu.Lock()
	e, ok := j.mu.open[number]
	delete(j.mu.open, number)
	now := j.now()
	j.mu.Unlock()
	j.finished.WithLabelValues(kind, "committed").Inc()
	j.epoch.Set(float64(number))
	j.at.Set(float64(now.UnixMicro()) / 1e6)
	if !ok || e.gathered.IsZero() {
		return
	}
	observe := func(phase string, d time.Duration) { j.phase.WithLabelValues(phase).Observe(d.Seconds()) }
	observe("tasks", e.gathered.Sub(e.began))
	observe("commit", now.Sub(e.gathered))
	observe("whole", now.Sub(e.began))
	for i := range e.snapshot.Took {
		j.taskTook.Observe(e.snapshot.Took[i].Seconds())
		j.taskPause.Observe(e.snapshot.Paused[i].Seconds())
	}
	j.added.Add(float64(e.snapshot.Added))
	j.size.Set(float64(e.snapshot.Bytes))
	j.overtaken.Set(float64(e.snapshot.Overtaken))
	if e.snapshot.Overtaken > 0 {
		j.unaligned.Inc()
	}
}

// Aborted is told that an epoch came to nothing.
func (j *Job) Aborted(number uint64, kind string) {
	j.mu.Lock()
	delete(j.mu.open, number)
	j.mu.Unlock()
	j.finished.WithLabelValues(kind, "aborted").Inc()
}

// maxLabel is how long a name that a program has chosen may be in a label.
const maxLabel = 200

// label is a name as a label can hold it.
func label(name string) string {
	if len(name) > maxLabel {
		name = name[:maxLabel]
	}
	return strings.ToValidUTF8(name, "?")
}
