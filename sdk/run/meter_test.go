package run

import (
	"testing"
	"time"

	"github.com/weirflow/weir/connector/collect"
	"github.com/weirflow/weir/connector/datagen"
	"github.com/weirflow/weir/connector/slice"
	"github.com/weirflow/weir/sdk"
)

func TestMeter(t *testing.T) {
	p := sdk.New("p")
	numbers := sdk.Read(p, datagen.New(func(i int64) int64 { return i }, datagen.Count(1000)), sdk.Name("numbers"))
	odd := sdk.Filter(numbers, func(i int64) bool { return i%2 == 1 })
	sdk.Write(odd, collect.New[int64](), sdk.Name("odd"))
	few := sdk.Read(p, slice.Of[int64](1, 2, 3), sdk.Name("few"))
	sdk.Write(few, collect.New[int64](), sdk.Name("all"))
	plan, err := Plan(p, Options{Parallelism: 2})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Unix(0, 0)
	m := newMeter(plan, start)
	if v := m.take(start.Add(time.Millisecond), false); len(v.Ports) != 4 || v.Ports[0].Bounded || v.Ports[0].Records != 0 {
		t.Errorf("before the start: %+v", v)
	}
	if err := runPlan(t.Context(), p, plan, Options{}, watch{registry: m.registry, listener: m.listener()}); err != nil {
		t.Fatal(err)
	}
	v := m.take(start.Add(2*time.Second), true)
	if v.State != "finished" || v.Epochs < 1 || v.Elapsed != 2*time.Second {
		t.Errorf("at the end: %+v", v)
	}
	for i, want := range []struct {
		name    string
		source  bool
		records int64
	}{{"numbers", true, 1000}, {"few", true, 3}, {"odd", false, 500}, {"all", false, 3}} {
		if p := v.Ports[i]; p.Name != want.name || p.Source != want.source || p.Records != want.records || p.RecordRate != float64(want.records)/2 {
			t.Errorf("port %d: %+v, want %+v", i, p, want)
		}
	}
	if p := v.Ports[0]; !p.Bounded || p.Total != 1000 || p.share() != 1 {
		t.Errorf("the source is not at its end: %+v", p)
	}
}

func TestMeterRates(t *testing.T) {
	now := time.Unix(0, 0)
	p := &metered{port: port{Source: true}, at: now}
	p.found.Store(10_000)
	p.complete.Store(true)
	for range 40 { // 10 s at 100 records a second, of 10 units each
		now = now.Add(250 * time.Millisecond)
		p.Records += 25
		p.Done += 250
		p.rate(now, time.Unix(0, 0), false)
	}
	if p.RecordRate < 99.9 || p.RecordRate > 100.1 || p.ETA != 0 || p.share() != 1 {
		t.Errorf("steady: %v records/s, ETA %v, share %v", p.RecordRate, p.ETA, p.share())
	}
	p.found.Store(20_000)
	p.rate(now.Add(time.Millisecond), time.Unix(0, 0), false)
	if p.ETA < 9*time.Second || p.ETA > 11*time.Second {
		t.Errorf("ETA %v for 10,000 units at 1,000 a second", p.ETA)
	}
	for range 400 { // 100 s of silence
		now = now.Add(250 * time.Millisecond)
		p.rate(now, time.Unix(0, 0), false)
	}
	if p.RecordRate > 0.1 || p.ETA != 0 {
		t.Errorf("stalled: %v records/s, ETA %v", p.RecordRate, p.ETA)
	}
}
