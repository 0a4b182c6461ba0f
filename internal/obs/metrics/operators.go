package metrics

import (
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirflow/weir/internal/obs"
)

// operatorLabels are on all families of operators.
var operatorLabels = []string{"operator", "name"}

func operatorDesc(name, help string, more ...string) *prometheus.Desc {
	return prometheus.NewDesc("weir_"+name, help, append(slices.Clone(operatorLabels), more...), nil)
}

// Families of operators. Counters are of the attempt: they begin anew when the job is
// restarted, which Prometheus knows how to take.
var (
	subtasks   = operatorDesc("operator_subtasks", "Subtasks of the operator that run in this executor.")
	recordsIn  = operatorDesc("operator_records_in_total", "Records that the operator took in; of a source, those it read.")
	recordsOut = operatorDesc("operator_records_out_total", "Records that the operator sent on.")
	bytesIn    = operatorDesc("operator_bytes_in_total", "Bytes that a source read from the outside.")
	bytesOut   = operatorDesc("operator_bytes_out_total", "Bytes that a sink wrote to the outside.")
	late       = operatorDesc("operator_late_records_total", "Records that came after their window was closed for good.")
	bad        = operatorDesc("operator_bad_records_total", "Records that could not be read or handled and were skipped, or sent to the dead-letter output.")
	retries    = operatorDesc("operator_retries_total", "Repeated calls to the outside.")
	spent      = operatorDesc("operator_time_seconds_total",
		"What the time of the operator's tasks went into: busy, idle, or backpressured, which is waiting for consumers. Divided by operator_subtasks, a rate of it is a share.", "state")
	watermark    = operatorDesc("operator_watermark_seconds", "The least event time of the operator's subtasks, in seconds since 1970; absent while it is not known, and at the end of input.")
	watermarkLag = operatorDesc("operator_watermark_lag_seconds", "How far the operator's event time is behind the clock; absent as its watermark is.")
	holderLag    = operatorDesc("source_slowest_lag_seconds", "How far the source's subtask that holds event time back is behind the clock; the label says which one it is.", "subtask")
	progress     = operatorDesc("source_progress_ratio", "How much of the splits that a source's subtasks were given is read; absent where they have no end.")
	stateMemory  = operatorDesc("operator_state_memory_bytes", "Memory that the operator's keyed state took at the last barrier.")
	stateDisk    = operatorDesc("operator_state_disk_bytes", "Local disk that the operator's keyed state took at the last barrier.")
	queued       = operatorDesc("exchange_queued_bytes", "Bytes that wait in an exchange for the operator.", "edge")
	credit       = operatorDesc("exchange_credit_bytes", "Bytes that may wait in an exchange for the operator, of all its producers: when as many are queued, producers wait.", "edge")
)

var operatorFamilies = []*prometheus.Desc{subtasks, recordsIn, recordsOut, bytesIn, bytesOut, late, bad, retries, spent, watermark, watermarkLag,
	holderLag, progress, stateMemory, stateDisk, queued, credit}

// figures are those of an operator, over the subtasks in this process.
type figures struct {
	id, name, kind                                  string
	subtasks                                        int
	in, out, bytes, late, bad, retries, memory, dsk int64
	done, total                                     int64
	times                                           obs.Times
	watermark                                       int64 // the least
	slowest                                         int   // whose it is
	edges                                           []obs.Input
	queued                                          []int64
}

func (f *figures) add(o *obs.Operator, now time.Time) {
	f.subtasks++
	f.in += o.RecordsIn.Load()
	f.out += o.RecordsOut.Load()
	f.bytes += o.Bytes.Load()
	f.late += o.Late.Load()
	f.bad += o.Bad.Load()
	f.retries += o.Retries.Load()
	f.memory += o.StateMemory.Load()
	f.dsk += o.StateDisk.Load()
	f.done += o.Done.Load()
	f.total += o.Total.Load()
	t := o.Task.Times(now)
	f.times.Busy += t.Busy
	f.times.Idle += t.Idle
	f.times.Backpressured += t.Backpressured
	if w := o.Watermark.Load(); f.subtasks == 1 || w < f.watermark {
		f.watermark, f.slowest = w, o.Subtask
	}
	for _, in := range o.Task.Inputs() {
		if in.Operator != o.ID {
			continue
		}
		n := int64(in.Queued())
		if i := slices.IndexFunc(f.edges, func(e obs.Input) bool { return e.Edge == in.Edge }); i >= 0 {
			f.edges[i].Credit += in.Credit
			f.queued[i] += n
			continue
		}
		f.edges, f.queued = append(f.edges, in), append(f.queued, n)
	}
}

// operators reads all counters of the newest attempt, by operator in the order in which they
// were made.
func operators(r *obs.Registry, now time.Time) (all []*figures) {
	of := map[string]*figures{}
	newest, _ := r.Newest(0)
	for _, o := range newest {
		f := of[o.ID]
		if f == nil {
			f = &figures{id: label(o.ID), name: label(o.Name), kind: o.Kind}
			of[o.ID] = f
			all = append(all, f)
		}
		f.add(o, now)
	}
	return all
}

// Kinds of operators with an outside, as graph names them.
const (
	kindSource = "source"
	kindSink   = "sink"
)

func (f *figures) collect(to chan<- prometheus.Metric, now time.Time) {
	send := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, more ...string) {
		to <- prometheus.MustNewConstMetric(d, kind, v, append([]string{f.id, f.name}, more...)...)
	}
	count := func(d *prometheus.Desc, n int64, more ...string) {
		send(d, prometheus.CounterValue, float64(n), more...)
	}
	gauge := func(d *prometheus.Desc, v float64, more ...string) { send(d, prometheus.GaugeValue, v, more...) }
	gauge(subtasks, float64(f.subtasks))
	count(recordsIn, f.in)
	count(recordsOut, f.out)
	switch f.kind {
	case kindSource:
		count(bytesIn, f.bytes)
	case kindSink:
		count(bytesOut, f.bytes)
	}
	count(late, f.late)
	count(bad, f.bad)
	count(retries, f.retries)
	send(spent, prometheus.CounterValue, f.times.Busy.Seconds(), "busy")
	send(spent, prometheus.CounterValue, f.times.Idle.Seconds(), "idle")
	send(spent, prometheus.CounterValue, f.times.Backpressured.Seconds(), "backpressured")
	gauge(stateMemory, float64(f.memory))
	gauge(stateDisk, float64(f.dsk))
	if f.total > 0 {
		gauge(progress, min(1, float64(f.done)/float64(f.total)))
	}
	if f.watermark != math.MinInt64 && f.watermark != math.MaxInt64 {
		at := float64(f.watermark) / 1e6
		lag := float64(now.UnixMicro())/1e6 - at
		gauge(watermark, at)
		gauge(watermarkLag, lag)
		if f.kind == kindSource {
			gauge(holderLag, lag, strconv.Itoa(f.slowest))
		}
	}
	for i, e := range f.edges {
		gauge(queued, float64(f.queued[i]), e.Edge)
		gauge(credit, float64(e.Credit), e.Edge)
	}
}
