package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/weirflow/weir/connector/collect"
	"github.com/weirflow/weir/examples/internal/exampletest"
	"github.com/weirflow/weir/sdk"
	"github.com/weirflow/weir/sdk/run"
)

const input = "testdata/readings"

var start = time.Date(2026, 7, 1, 14, 0, 0, 0, time.UTC)

const header = "time,sensor,celsius\n"

// makeReadings makes half an hour of readings of eight sensors, one in ten seconds,
// in the order of arrival. The radio delays them by up to 15 s, and sensor s3 is
// out of reach from 14:02 to 14:06 and delivers at 14:20 what it had measured.
func makeReadings() []Reading {
	r := rand.New(rand.NewPCG(7, 1))
	type arriving struct {
		Reading
		at time.Time
	}
	var all []arriving
	for i := range 180 {
		for s := range 8 {
			at := start.Add(time.Duration(i)*10*time.Second + time.Duration(s)*time.Second)
			warm := 24 + float64(s)/2 + 3*math.Sin(float64(i)/40+float64(s)) + r.NormFloat64()/4
			a := arriving{Reading{at, fmt.Sprintf("s%d", s), math.Round(warm*100) / 100}, at.Add(time.Duration(r.Int64N(int64(15 * time.Second))))}
			if s == 3 && at.After(start.Add(2*time.Minute)) && at.Before(start.Add(6*time.Minute)) {
				a.at = start.Add(20 * time.Minute)
			}
			all = append(all, a)
		}
	}
	slices.SortStableFunc(all, func(a, b arriving) int { return a.at.Compare(b.at) })
	readings := make([]Reading, len(all))
	for i, a := range all {
		readings[i] = a.Reading
	}
	return readings
}

// TestData checks that the shipped files, of ten minutes each, are what
// makeReadings makes.
func TestData(t *testing.T) {
	readings := makeReadings()
	for i := range 3 {
		made := bytes.NewBufferString(header)
		for _, r := range readings[i*len(readings)/3 : (i+1)*len(readings)/3] {
			fmt.Fprintf(made, "%s,%s,%.2f\n", r.Time.Format(time.RFC3339), r.Sensor, r.Celsius)
		}
		exampletest.Data(t, fmt.Sprintf("%s/14-%d0.csv", input, i), made.Bytes())
	}
}

// outcome is a job's results in memory.
type outcome struct {
	climate *collect.Sink[Climate]
	late    *collect.Sink[Reading]
	counts  *collect.Sink[LateCount]
}

func job(c config) (func(p *sdk.Pipeline) error, outcome) {
	o := outcome{collect.New[Climate](), collect.New[Reading](), collect.New[LateCount]()}
	return func(p *sdk.Pipeline) error {
		r := build(p, c)
		sdk.Write(r.climate, o.climate)
		sdk.Write(r.late, o.late)
		sdk.Write(r.lateCounts, o.counts)
		return nil
	}, o
}

func (o outcome) same(t *testing.T) {
	t.Helper()
	climate := o.climate.Results()
	for i := range climate {
		// Sums of floating-point numbers depend on the order in which they are added.
		climate[i].Mean = math.Round(climate[i].Mean*1e6) / 1e6
	}
	exampletest.Golden(t, "testdata/golden/climate.jsonl", exampletest.JSONLines(t, climate))
	exampletest.Golden(t, "testdata/golden/late.jsonl", exampletest.JSONLines(t, o.late.Results()))
	exampletest.Golden(t, "testdata/golden/late-counts.jsonl", exampletest.JSONLines(t, o.counts.Results()))
}

func TestBounded(t *testing.T) {
	exampletest.EveryWay(t, func(t *testing.T, o run.Options) {
		build, got := job(config{input: input})
		exampletest.Bounded(t, o, build)
		got.same(t)
	})
}

// TestWatch adds the files while the job runs.
func TestWatch(t *testing.T) {
	exampletest.EveryWay(t, func(t *testing.T, o run.Options) {
		in := t.TempDir()
		exampletest.Copy(t, in, input+"/14-00.csv")
		build, got := job(config{input: in, watch: true})
		want := len(exampletest.ReadGolden(t, "testdata/golden/climate.jsonl"))
		exampletest.Unbounded(t, o, build,
			func() bool { return got.climate.Len() > 100 },
			func() bool { exampletest.Copy(t, in, input+"/14-10.csv"); return true },
			func() bool { return got.climate.Len() > want/2 },
			func() bool {
				exampletest.Copy(t, in, input+"/14-20.csv")
				// A reading of the next day tells that this one is over.
				exampletest.Add(t, filepath.Join(in, "next.csv"), []byte(header+"2026-07-02T14:00:00Z,s0,20\n"))
				return true
			},
			func() bool { return got.climate.Len() == want && got.counts.Len() > 0 },
		)
		got.same(t)
	})
}

// TestAgainstNaive computes all windows from all readings.
func TestAgainstNaive(t *testing.T) {
	build, got := job(config{input: input})
	exampletest.Bounded(t, run.Options{}, build)
	late := map[string]bool{}
	for _, r := range got.late.Results() {
		late[r.Sensor+r.Time.String()] = true
	}
	if len(late) != 24 {
		t.Errorf("%d late readings; sensor s3 measured 24 while it was out of reach", len(late))
	}
	windows := map[string]sums{}
	for _, r := range makeReadings() {
		if late[r.Sensor+r.Time.String()] {
			continue
		}
		for from := r.Time.Truncate(every); from.After(r.Time.Add(-span)); from = from.Add(-every) {
			s := windows[r.Sensor+from.String()]
			s.merge(sums{1, r.Celsius, r.Celsius})
			windows[r.Sensor+from.String()] = s
		}
	}
	if len(windows) != got.climate.Len() {
		t.Errorf("%d windows, want %d", got.climate.Len(), len(windows))
	}
	for _, m := range got.climate.Results() {
		want := windows[m.Sensor+m.From.String()]
		if m.Readings != want.Readings || m.Highest != want.Highest || math.Abs(m.Mean-want.Celsius/float64(want.Readings)) > 1e-9 {
			line, _ := json.Marshal(m)
			t.Errorf("%s, want %+v", line, want)
		}
	}
}
