package flow_test

import (
	"math"
	"math/big"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow"
)

func TestRangesDivideTheKeyGroups(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		groups := rapid.OneOf(rapid.IntRange(1, 300), rapid.IntRange(1, flow.MaxMaxParallelism), rapid.Just(flow.MaxMaxParallelism)).Draw(t, "groups")
		tasks := rapid.IntRange(1, groups).Draw(t, "tasks")
		next, least, most := 0, groups, 0
		for s := range tasks {
			r := flow.RangeOf(groups, tasks, s)
			if int(r.First) != next || r.Len() < 1 {
				t.Fatalf("subtask %d has %s, the one before ended at %d", s, r, next)
			}
			next = int(r.End)
			least, most = min(least, r.Len()), max(most, r.Len())
			for _, g := range []flow.KeyGroup{r.First, r.End - 1} {
				if got := flow.SubtaskOf(g, groups, tasks); got != s || !r.Contains(g) {
					t.Fatalf("group %d of %s belongs to %d, not to %d", g, r, got, s)
				}
			}
			if r.Contains(r.End) || r.First > 0 && r.Contains(r.First-1) {
				t.Fatalf("%s contains its neighbours", r)
			}
		}
		if next != groups || most-least > 1 {
			t.Fatalf("%d groups of %d, %d to %d each", next, groups, least, most)
		}
		h := flow.Hash(rapid.Uint64().Draw(t, "hash"))
		if g := flow.KeyGroupOf(h, groups); int(g) >= groups {
			t.Fatalf("hash %x is in group %d of %d", h, g, groups)
		}
	})
}

// times are mostly near the ends, where sums do not fit.
var times = rapid.OneOf(rapid.Int64(), rapid.Int64Range(math.MinInt64, math.MinInt64+20), rapid.Int64Range(math.MaxInt64-20, math.MaxInt64), rapid.Int64Range(-50, 50))

func saturate(b *big.Int) flow.Time {
	if !b.IsInt64() {
		if b.Sign() < 0 {
			return flow.MinTime
		}
		return flow.MaxTime
	}
	return flow.Time(b.Int64())
}

func TestTimePlusSaturates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at, n := times.Draw(t, "t"), times.Draw(t, "n")
		want := saturate(new(big.Int).Add(big.NewInt(at), big.NewInt(n)))
		if at == math.MinInt64 || at == math.MaxInt64 {
			want = flow.Time(at)
		}
		if got := flow.Time(at).Plus(flow.Time(n)); got != want {
			t.Fatalf("%d + %d = %d, want %d", at, n, got, want)
		}
	})
}

func TestTimeFloorTo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := times.Draw(t, "t")
		size := rapid.OneOf(rapid.Int64Range(1, 10), rapid.Int64Range(1, math.MaxInt64/2)).Draw(t, "size")
		offset := rapid.Int64Range(-size+1, size-1).Draw(t, "offset")
		b, o := big.NewInt(at), big.NewInt(offset)
		r := new(big.Int).Mod(new(big.Int).Sub(b, o), big.NewInt(size)) // Euclidean: not negative
		if got, want := flow.Time(at).FloorTo(flow.Time(size), flow.Time(offset)), saturate(b.Sub(b, r)); got != want {
			t.Fatalf("%d floored to %d shifted by %d is %d, want %d", at, size, offset, got, want)
		}
	})
}

func TestTimeOfRoundsDown(t *testing.T) {
	for _, c := range []struct {
		t    time.Time
		want flow.Time
	}{
		{time.Unix(0, 1999), 1}, {time.Unix(0, -1), -1}, {time.Unix(-1, 999_999_999), -1}, {time.Unix(3, 0), 3_000_000},
		{time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), -62135596800_000_000},
	} {
		if got := flow.TimeOf(c.t); got != c.want {
			t.Errorf("%v is %d, want %d", c.t, got, c.want)
		}
		if got := flow.TimeOf(c.want.Std()); got != c.want {
			t.Errorf("%d comes back as %d", c.want, got)
		}
	}
	if s := flow.Time(1_500_000).Add(time.Hour).String(); s != "1970-01-01T01:00:01.5Z" {
		t.Error(s)
	}
	if flow.MinTime.String() != "min" || flow.MaxTime.Add(-time.Hour) != flow.MaxTime || flow.MinTime.Add(time.Hour) != flow.MinTime {
		t.Error("the ends of time are not themselves")
	}
}

func TestBatchTimesAreAllOrNone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b flow.Batch[int]
		var want []flow.Time
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				at := rapid.SampledFrom([]flow.Time{flow.MinTime, 0, 7}).Draw(t, "time")
				b.Append(len(want), at)
				want = append(want, at)
			},
			"reset":    func(*rapid.T) { b.Reset(); want = nil },
			"truncate": func(*rapid.T) { b.Truncate(); want = nil },
			"": func(t *rapid.T) {
				if b.Len() != len(want) || len(b.Times) != 0 && len(b.Times) != b.Len() {
					t.Fatalf("%d records, %d times", b.Len(), len(b.Times))
				}
				for i := range want {
					if b.Values[i] != i || b.Time(i) != want[i] {
						t.Fatalf("%v %v, want %v", b.Values, b.Times, want)
					}
				}
			},
		})
	})
}

func TestBatchResetForgetsPointers(t *testing.T) {
	var b flow.Batch[*int]
	b.Append(new(int), 3)
	held := b.Values
	b.Reset()
	if held[0] != nil || cap(b.Values) == 0 || len(b.Times) != 0 {
		t.Error("Reset keeps what the batch pointed to, or not its memory")
	}
}

func TestControlStrings(t *testing.T) {
	var got []string
	for _, c := range []flow.Control{flow.Watermark(flow.MaxTime), flow.BarrierControl(flow.Barrier{Epoch: 3, Kind: flow.BarrierFinal}),
		{Kind: flow.ControlIdle}, {Kind: flow.ControlEnd}, {Kind: 99}} {
		got = append(got, c.String())
	}
	if want := []string{"watermark max", "final 3", "idle", "end", "control(99)"}; !slices.Equal(got, want) {
		t.Error(got)
	}
	if e := (flow.EdgeID{To: "x", Port: 1, Index: 2}).String(); e != "x:1.2" {
		t.Error(e)
	}
}
