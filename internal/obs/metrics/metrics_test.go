package metrics_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/weirflow/weir/internal/obs"
	"github.com/weirflow/weir/internal/obs/metrics"
)

var states = []string{"created", "running", "failing", "failed"}

// running is a job with two operators of which all counters say something.
func running(t *testing.T) *metrics.Job {
	t.Helper()
	r := &obs.Registry{}
	old := &obs.Task{Attempt: 1}
	r.Operator(old, "gone", "of an earlier attempt", "map", 0).RecordsIn.Add(1000)
	now := time.Now()
	for sub := range 2 {
		task := &obs.Task{Attempt: 2}
		src := r.Operator(task, "1", "lines", "source", sub)
		src.RecordsIn.Add(100)
		src.RecordsOut.Add(90)
		src.Bytes.Add(5000)
		src.Bad.Add(10)
		src.Done.Add(50)
		src.Total.Add(100)
		src.Watermark.Store(now.Add(-time.Duration(10-5*sub) * time.Second).UnixMicro())
		sum := r.Operator(task, "2", "sum", "aggregate", sub)
		sum.RecordsIn.Add(90)
		sum.StateMemory.Store(1 << 20)
		sum.StateDisk.Store(2 << 20)
		task.Takes([]obs.Input{{Edge: "2:0.0", Operator: "2", Name: "sum", Credit: 1 << 19, Queued: func() int { return 100 * (sub + 1) }}})
		task.Begin(now.Add(-4 * time.Second))
		task.Wait(now.Add(-3*time.Second), true)
		task.Work(now.Add(-time.Second))
	}
	j := metrics.NewJob(r, states)
	j.State("created", true, false, false)
	j.Restored(2, 7)
	j.State("running", false, true, false)
	j.Injected(8, "checkpoint")
	j.Acknowledged(8, metrics.Snapshot{Bytes: 4000, Added: 300, Overtaken: 50, Took: []time.Duration{time.Second, 2 * time.Second},
		Paused: []time.Duration{time.Millisecond, 2 * time.Millisecond}})
	j.Committed(8, "checkpoint")
	j.Injected(9, "checkpoint")
	j.Aborted(9, "checkpoint")
	j.State("failing", false, false, true)
	j.Restarting()
	j.State("created", true, false, false)
	j.State("running", false, true, false)
	return j
}

func text(t *testing.T, of ...prometheus.Gatherer) string {
	t.Helper()
	var b bytes.Buffer
	if err := metrics.Write(&b, of...); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestJob(t *testing.T) {
	got := text(t, metrics.Of(running(t), metrics.Label{Name: "job_name", Value: "clicks"}))
	for _, want := range []string{
		`weir_operator_records_in_total{job_name="clicks",name="lines",operator="1"} 200`,
		`weir_operator_records_out_total{job_name="clicks",name="lines",operator="1"} 180`,
		`weir_operator_bytes_in_total{job_name="clicks",name="lines",operator="1"} 10000`,
		`weir_operator_bad_records_total{job_name="clicks",name="lines",operator="1"} 20`,
		`weir_operator_subtasks{job_name="clicks",name="sum",operator="2"} 2`,
		`weir_operator_state_memory_bytes{job_name="clicks",name="sum",operator="2"} 2.097152e+06`,
		`weir_operator_state_disk_bytes{job_name="clicks",name="sum",operator="2"} 4.194304e+06`,
		`weir_operator_time_seconds_total{job_name="clicks",name="sum",operator="2",state="backpressured"} 4`,
		`weir_exchange_queued_bytes{edge="2:0.0",job_name="clicks",name="sum",operator="2"} 300`,
		`weir_exchange_credit_bytes{edge="2:0.0",job_name="clicks",name="sum",operator="2"} 1.048576e+06`,
		`weir_source_progress_ratio{job_name="clicks",name="lines",operator="1"} 0.5`,
		`weir_source_slowest_lag_seconds{job_name="clicks",name="lines",operator="1",subtask="0"} 10.`,
		`weir_job_state{job_name="clicks",state="running"} 1`,
		`weir_job_state{job_name="clicks",state="failed"} 0`,
		`weir_job_attempt{job_name="clicks"} 2`,
		`weir_job_restarts_total{job_name="clicks"} 1`,
		`weir_job_start_duration_seconds_count{job_name="clicks"} 2`,
		`weir_job_recovery_duration_seconds_count{job_name="clicks"} 1`,
		`weir_checkpoints_total{job_name="clicks",kind="checkpoint",result="committed"} 1`,
		`weir_checkpoints_total{job_name="clicks",kind="checkpoint",result="aborted"} 1`,
		`weir_checkpoints_unaligned_total{job_name="clicks"} 1`,
		`weir_checkpoint_added_bytes_total{job_name="clicks"} 300`,
		`weir_checkpoint_last_epoch{job_name="clicks"} 8`,
		`weir_checkpoint_last_size_bytes{job_name="clicks"} 4000`,
		`weir_checkpoint_duration_seconds_count{job_name="clicks",phase="commit"} 1`,
		`weir_checkpoint_task_pause_seconds_count{job_name="clicks"} 2`,
		`weir_checkpoint_task_duration_seconds_sum{job_name="clicks"} 3`,
		`go_goroutines{job_name="clicks"}`,
		`go_gc_duration_seconds_count{job_name="clicks"}`,
		`process_resident_memory_bytes{job_name="clicks"}`,
	} {
		if !strings.Contains(got, "\n"+want) {
			t.Errorf("there is no %s", want)
		}
	}
	for _, no := range []string{"of an earlier attempt", `weir_operator_watermark_seconds{job_name="clicks",name="sum"`} {
		if strings.Contains(got, no) {
			t.Errorf("it shows %s", no)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
}

// TestWorker is a process that does not run the job's scheduler: it has nothing to say of
// checkpoints, not even that there were none.
func TestWorker(t *testing.T) {
	r := &obs.Registry{}
	task := &obs.Task{Attempt: 1}
	end := r.Operator(task, "1", "end", "source", 0)
	end.Watermark.Store(math.MaxInt64)
	got := text(t, metrics.Of(metrics.NewJob(r, states)))
	if !strings.Contains(got, `weir_operator_records_in_total{name="end",operator="1"} 0`) {
		t.Errorf("the operator is missing:\n%s", got)
	}
	for _, no := range []string{"weir_checkpoint", "weir_job", "watermark"} {
		if strings.Contains(got, no) {
			t.Errorf("it shows %s:\n%s", no, got)
		}
	}
}

// TestLint checks names, units and help as promtool does.
func TestLint(t *testing.T) {
	problems, err := testutil.GatherAndLint(metrics.Of(running(t)))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestNames gives operators names that no label can hold as they are.
func TestNames(t *testing.T) {
	r := &obs.Registry{}
	r.Operator(&obs.Task{Attempt: 1}, "1", "a\xff\"\n", "map", 0)
	r.Operator(&obs.Task{Attempt: 1}, "2", strings.Repeat("ä", 1000), "map", 0)
	got := text(t, metrics.Of(metrics.NewJob(r, states)))
	if !strings.Contains(got, `name="a?\"\n"`) || len(got) > 100_000 {
		t.Errorf("%d bytes:\n%.3000s", len(got), got)
	}
}

func TestPack(t *testing.T) {
	packed, err := metrics.Pack(metrics.Of(running(t), metrics.Label{Name: "job_name", Value: "not mine"}))
	if err != nil {
		t.Fatal(err)
	}
	if len(packed) > 16<<10 {
		t.Errorf("a small job takes %d bytes", len(packed))
	}
	families, err := metrics.Unpack(packed, metrics.Label{Name: "job_name", Value: "clicks"}, metrics.Label{Name: "alloc", Value: "clicks-1"})
	if err != nil {
		t.Fatal(err)
	}
	own := prometheus.NewRegistry()
	metrics.Process(own)
	got := text(t, own, metrics.Unpacked(families))
	for _, want := range []string{
		`weir_operator_records_in_total{alloc="clicks-1",job_name="clicks",name="lines",operator="1"} 200`,
		"\ngo_goroutines ", `go_goroutines{alloc="clicks-1",job_name="clicks"}`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("there is no %s:\n%s", want, got)
		}
	}
	if strings.Contains(got, "not mine") {
		t.Error("an executor says whose it is")
	}
	p := expfmt.NewTextParser(model.UTF8Validation)
	if _, err := p.TextToMetricFamilies(strings.NewReader(got)); err != nil {
		t.Error(err)
	}
}

// TestPackMany packs a job with many operators, of which the text is far longer than what an
// executor may answer, and one with too many.
func TestPackMany(t *testing.T) {
	many := func(n int) *prometheus.Registry {
		r := &obs.Registry{}
		for i := range n {
			o := r.Operator(&obs.Task{Attempt: 1}, fmt.Sprintf("%08x", i*2654435761), fmt.Sprintf("operator %d", i), "map", 0)
			o.RecordsIn.Add(int64(i) * 7919)
		}
		return metrics.Of(metrics.NewJob(r, states))
	}
	packed, err := metrics.Pack(many(300))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("300 operators: %d bytes", len(packed))
	if _, err := metrics.Pack(many(20_000)); err == nil || !strings.Contains(err.Error(), "too many operators") {
		t.Errorf("20,000 operators: %v", err)
	}
}

// TestStranger hands over what no executor of ours would.
func TestStranger(t *testing.T) {
	pack := func(b []byte) string { return base64.StdEncoding.EncodeToString(s2.Encode(nil, b)) }
	named := prometheus.NewRegistry()
	named.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "up", Help: "It is."}))
	up, err := metrics.Pack(named)
	if err != nil {
		t.Fatal(err)
	}
	crowd := prometheus.NewRegistry()
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_crowd", Help: "A crowd."}, []string{"x"})
	for i := range 20_001 {
		v.WithLabelValues(fmt.Sprint(i))
	}
	crowd.MustRegister(v)
	many, err := metrics.Pack(crowd)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"no base64": "%", "no s2": base64.StdEncoding.EncodeToString([]byte("\x05x")), "no families": pack([]byte("\x0412345")),
		"a bomb": pack(make([]byte, 9<<20)), "a size of 4 EiB": pack([]byte("\x9a\xa5\xf6\xcc\xcd\xc3\xc3\xb0\x40C")), "another's name": up, "a crowd": many,
	} {
		if f, err := metrics.Unpack(text); err == nil {
			t.Errorf("%s: %v", name, f)
		}
	}
	// One that claims what another has said is left out, and the other stays.
	a, err := metrics.Unpack(mustPack(t, "weir_x"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := metrics.Unpack(mustPack(t, "weir_x"))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := metrics.Write(&out, metrics.Unpacked(a), metrics.Unpacked(b)); err == nil || strings.Count(out.String(), "\nweir_x 1") != 1 {
		t.Errorf("%v:\n%s", err, out.String())
	}
}

func mustPack(t *testing.T, name string) string {
	r := prometheus.NewRegistry()
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: "One."})
	g.Set(1)
	r.MustRegister(g)
	s, err := metrics.Pack(r)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func FuzzUnpack(f *testing.F) {
	r := prometheus.NewRegistry()
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "weir_h_seconds", Help: "H.", Buckets: []float64{1, 2}})
	h.Observe(1.5)
	r.MustRegister(h)
	s, err := metrics.Pack(r)
	if err != nil {
		f.Fatal(err)
	}
	plain, _ := base64.StdEncoding.DecodeString(s)
	raw, _ := s2.Decode(nil, plain)
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		families, err := metrics.Unpack(base64.StdEncoding.EncodeToString(s2.Encode(nil, raw)), metrics.Label{Name: "job_name", Value: "j"})
		if err != nil {
			return
		}
		var out bytes.Buffer
		// What does not fit is left out and told: it must not take the rest with it.
		_ = metrics.Write(&out, metrics.Unpacked(families))
		p := expfmt.NewTextParser(model.UTF8Validation)
		if _, err := p.TextToMetricFamilies(&out); err != nil {
			t.Errorf("what is served cannot be read: %v\n%s", err, out.String())
		}
	})
}
