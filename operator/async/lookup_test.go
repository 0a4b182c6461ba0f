package async

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
)

// asked is a service that remembers what it was asked.
type asked struct {
	mu   sync.Mutex
	keys []string
}

func (a *asked) lookup(_ context.Context, k string) (int, bool, error) {
	time.Sleep(time.Second)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keys = append(a.keys, k)
	switch k {
	case "":
		return 0, false, nil
	case "bad":
		return 0, false, errBusy
	}
	return len(k), true, nil
}

func (a *asked) take() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	slices.Sort(a.keys)
	s := strings.Join(a.keys, ",")
	a.keys = nil
	return s
}

func lookupOf(a *asked, size int, ttl time.Duration) operator.Operator {
	return NewLookup(LookupConfig[string, string, int, string]{
		Key:       strings.ToLower,
		Lookup:    a.lookup,
		Join:      func(v string, n int, ok bool) string { return fmt.Sprintf("%q:%d:%t", v, n, ok) },
		CacheSize: size, CacheTTL: ttl,
		Options: Options{Ordered: true, Bad: operator.BadPolicy{Mode: operator.BadSkip}},
	})
}

func TestLookup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asked{}
		d := newDrive[string, string](t, lookupOf(a, 2, 10*time.Second))
		step := func(wantAsked, want string, vals ...string) {
			t.Helper()
			d.log = nil
			d.send(vals...)
			d.settle()
			d.want(want)
			if got := a.take(); got != wantAsked {
				t.Errorf("asked %q, want %q", got, wantAsked)
			}
		}
		// Records with one key share a call, and its answer; nothing is an answer too.
		step(",aa", `"aa":2:true "AA":2:true "":0:false "":0:false`, "aa", "AA", "", "")
		// Both are remembered; and need no time.
		start := time.Now()
		step("", `"aA":2:true "":0:false`, "aA", "")
		if time.Since(start) != 0 {
			t.Errorf("remembered answers took %v", time.Since(start))
		}
		// A third makes the one go that was not used for longest: aa.
		step("ccc", `"ccc":3:true`, "ccc")
		step("aa", `"":0:false "aa":2:true`, "", "aa")
		// Errors are told to all that wait, and not remembered.
		step("bad", "", "bad", "BAD")
		step("bad", "", "bad")
		if n := d.ctx.Metrics.Bad.Load(); n != 3 {
			t.Errorf("%d bad records, want 3", n)
		}
		time.Sleep(10 * time.Second)
		step("aa", `"aa":2:true`, "aa")
		d.close()
	})
}

func TestLookupWithoutCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asked{}
		d := newDrive[string, string](t, lookupOf(a, 0, 0))
		d.send("a", "a")
		d.settle()
		d.send("a")
		d.settle()
		if got := a.take(); got != "a,a" {
			t.Errorf("asked %q", got)
		}
		d.close()
	})
}

// TestCacheAgainstModel compares the cache with a list of what was used.
func TestCacheAgainstModel(t *testing.T) {
	type item struct {
		k     int
		v     int
		until flow.Time
	}
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(0, 4).Draw(t, "size")
		ttl := flow.Time(rapid.IntRange(0, 5).Draw(t, "ttl"))
		c := newCache[int, int](size, ttl)
		var model []item // used last first
		now := flow.Time(0)
		for n := range rapid.IntRange(0, 40).Draw(t, "steps") {
			now += flow.Time(rapid.IntRange(0, 2).Draw(t, "time"))
			k := rapid.IntRange(0, 6).Draw(t, "key")
			i := slices.IndexFunc(model, func(m item) bool { return m.k == k })
			if rapid.Bool().Draw(t, "get") {
				v, ok := c.get(k, now)
				if wantOK := i >= 0 && now < model[i].until; ok != wantOK || ok && v != model[i].v {
					t.Fatalf("get %d at %d: %d, %t; the model has %v", k, now, v, ok, model)
				}
				if ok {
					m := model[i]
					model = append([]item{m}, slices.Delete(model, i, i+1)...)
				}
				continue
			}
			c.put(k, n, now)
			if i >= 0 {
				model = slices.Delete(model, i, i+1)
			}
			until := flow.MaxTime
			if ttl > 0 {
				until = now + ttl
			}
			model = append([]item{{k, n, until}}, model...)
			model = model[:min(len(model), size)]
		}
		if len(c.index) != len(model) {
			t.Fatalf("%d remembered, want %d", len(c.index), len(model))
		}
	})
}

func BenchmarkCachedLookup(b *testing.B) {
	d := newDrive[uint64, uint64](b, NewLookup(LookupConfig[uint64, uint64, uint64, uint64]{
		Key:    func(v uint64) uint64 { return v },
		Lookup: func(_ context.Context, k uint64) (uint64, bool, error) { return k, true, nil },
		Join:   func(v, n uint64, _ bool) uint64 { return v + n }, CacheSize: 10_000, CacheTTL: time.Hour,
	}))
	d.mute = true
	vals := make([]uint64, 1024)
	for i := range vals {
		vals[i] = uint64(i * 7)
	}
	d.send(vals...)
	d.settle()
	b.ReportAllocs()
	for b.Loop() {
		d.send(vals...)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1024, "ns/record")
	d.close()
}
