package api_test

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/weirflow/weir/api"
)

func at(t int64) *int64 { return &t }

func TestMergeStats(t *testing.T) {
	here := []api.OperatorStats{
		{ID: "a", Name: "A", Parallelism: 3, RecordsIn: 10, RecordsOut: 20, RateIn: 1, RateOut: 2,
			Busy: 1, Watermark: at(70), StateBytes: 5},
		{ID: "b", Name: "B"},
		{ID: "c", Name: "C", Parallelism: 1, Idle: 0.5, Backpressured: 0.5, Watermark: at(math.MaxInt64)},
		{ID: "d", Name: "D", Parallelism: 1, Watermark: at(7)},
		{ID: "e", Name: "E"},
	}
	there := []api.OperatorStats{
		{ID: "d", Name: "D", Parallelism: 1},
		{ID: "c", Name: "C", Parallelism: 1, Idle: 0.25, Watermark: at(90)},
		{ID: "b", Name: "B", Parallelism: 2, RecordsIn: 6, Busy: 0.5, Watermark: at(-5)},
		{ID: "a", Name: "A", Parallelism: 1, RecordsIn: 1, RecordsOut: 2, RateIn: 3, RateOut: 4,
			Idle: 0.4, Watermark: at(80), StateBytes: 6},
	}
	before := []api.OperatorStats{{ID: "a", Name: "A", Parallelism: 4, RecordsIn: 1000}}
	want := api.JobStats{Job: "j", Time: 9, Attempt: 2, Epoch: 4, Operators: []api.OperatorStats{
		{ID: "a", Name: "A", Parallelism: 4, RecordsIn: 11, RecordsOut: 22, RateIn: 4, RateOut: 6,
			Busy: 0.75, Idle: 0.1, Watermark: at(70), StateBytes: 11},
		{ID: "b", Name: "B", Parallelism: 2, RecordsIn: 6, Busy: 0.5, Watermark: at(-5)},
		{ID: "c", Name: "C", Parallelism: 2, Idle: 0.375, Backpressured: 0.25, Watermark: at(90)},
		{ID: "d", Name: "D", Parallelism: 2},
		{ID: "e", Name: "E"},
	}}
	got := api.MergeStats([]api.JobStats{
		{Job: "j", Time: 8, Attempt: 2, Operators: there},
		{Job: "j", Time: 10, Attempt: 1, Epoch: 9, Operators: before},
		{Job: "j", Time: 9, Attempt: 2, Epoch: 4, Operators: here},
	})
	if diff := cmp.Diff(want, got, cmpopts.EquateApprox(0, 1e-9)); diff != "" {
		t.Error(diff)
	}
	if *here[0].Watermark != 70 || here[0].Parallelism != 3 {
		t.Error("it changed what it was given")
	}
	if none := api.MergeStats(nil); none.Operators == nil || len(none.Operators) != 0 {
		t.Errorf("of nobody: %+v", none)
	}
}

// TestMergeStatsAnyOrder merges in several steps and orders: it makes no difference, but for
// the order of operators.
func TestMergeStatsAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		share := rapid.Float64Range(0, 1)
		operator := rapid.Custom(func(t *rapid.T) api.OperatorStats {
			o := api.OperatorStats{ID: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "id"), Parallelism: rapid.IntRange(0, 3).Draw(t, "parallelism")}
			if o.Parallelism == 0 {
				return o
			}
			o.RecordsIn, o.RateOut = rapid.Int64Range(0, 1000).Draw(t, "in"), rapid.Float64Range(0, 1e6).Draw(t, "out")
			o.Busy, o.Idle, o.Backpressured = share.Draw(t, "busy"), share.Draw(t, "idle"), share.Draw(t, "backpressured")
			if rapid.Bool().Draw(t, "known") {
				o.Watermark = at(rapid.Int64().Draw(t, "watermark"))
			}
			return o
		})
		of := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) api.JobStats {
			return api.JobStats{Job: "j", Attempt: rapid.Uint64Range(1, 2).Draw(t, "attempt"), Operators: rapid.SliceOfN(operator, 0, 4).Draw(t, "operators")}
		}), 1, 5).Draw(t, "of")
		want := api.MergeStats(of)
		n := rapid.IntRange(0, len(of)).Draw(t, "first")
		rest := append([]api.JobStats{}, rapid.Permutation(of[n:]).Draw(t, "order")...)
		got := api.MergeStats(append(rest, api.MergeStats(of[:n])))
		byID := cmpopts.SortSlices(func(a, b api.OperatorStats) bool { return a.ID < b.ID })
		if diff := cmp.Diff(want, got, byID, cmpopts.EquateApprox(1e-6, 1e-6)); diff != "" {
			t.Fatal(diff)
		}
	})
}
