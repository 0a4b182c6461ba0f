package sdk_test

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/connector/slice"
	"github.com/weirflow/weir/sdk"
)

type order struct {
	Shop   string
	Amount int
	Note   string
	A, B   int64
}

var orders = []order{{Shop: "x", Amount: 5}, {Shop: "y", Amount: 7}, {Shop: "x", Amount: 3}, {Shop: "x", Amount: 9}, {Shop: "y", Amount: 7}}

func amount(o order) int  { return o.Amount }
func shop(o order) string { return o.Shop }

func byShop(p *sdk.Pipeline) *sdk.Keyed[string, order] {
	return sdk.KeyBy(sdk.Read(p, slice.Of(orders...)), shop)
}

func TestUpdate(t *testing.T) {
	everyWay(t, func(p *sdk.Pipeline) *sdk.Stream[int] {
		s := sdk.Read(p, slice.Of(orders...))
		// Both read the same batches: what one changes the other must not see.
		twice := sdk.Update(s, func(o *order) { o.Amount *= 2 })
		plus := sdk.Update(s, func(o *order) { o.Amount += 100 })
		return sdk.Map(sdk.Union(twice, plus), amount)
	}, "10", "14", "6", "18", "14", "105", "107", "103", "109", "107")
}

func TestReduce(t *testing.T) {
	everyWay(t, func(p *sdk.Pipeline) *sdk.Stream[int] {
		return sdk.Map(sdk.Reduce(byShop(p), func(acc, o order) order { acc.Amount += o.Amount; return acc }), amount)
	}, "5", "7", "8", "17", "14")
}

func TestAggregate(t *testing.T) {
	everyWay(t, func(p *sdk.Pipeline) *sdk.Stream[sdk.KeyValue[string, int64]] {
		return sdk.Aggregate(byShop(p), sdk.Count[order]())
	}, "{x 1}", "{x 2}", "{x 3}", "{y 1}", "{y 2}")
}

func TestDistinct(t *testing.T) {
	everyWay(t, func(p *sdk.Pipeline) *sdk.Stream[int] {
		return sdk.Map(sdk.Distinct(byShop(p)), amount)
	}, "5", "7")
}

func TestTopN(t *testing.T) {
	everyWay(t, func(p *sdk.Pipeline) *sdk.Stream[sdk.Ranking[string, int]] {
		amounts := sdk.KeyBy(sdk.Read(p, slice.Of(4, 8, 6, 1, 10, 3, 5)), func(v int) string { return []string{"even", "odd"}[v%2] })
		return sdk.TopN(amounts, 2, func(a, b int) bool { return a > b })
	}, "{even [4]}", "{even [8 4]}", "{even [8 6]}", "{even [10 8]}", "{odd [1]}", "{odd [3 1]}", "{odd [5 3]}")
}

func TestMistakesInKeyedOperators(t *testing.T) {
	type sealed struct{ C chan int }
	refused(t, func(p *sdk.Pipeline) { sdk.Update[order](sdk.Read(p, slice.Of(orders...)), nil) }, `"update"`, "is nil")
	refused(t, func(p *sdk.Pipeline) { sdk.Reduce(byShop(p), nil) }, `"reduce"`, "is nil")
	refused(t, func(p *sdk.Pipeline) { sdk.Aggregate(byShop(p), sdk.Aggregator[order, int, int]{}) }, `"aggregate"`, "Add")
	refused(t, func(p *sdk.Pipeline) { sdk.TopN(byShop(p), 0, func(a, b order) bool { return false }) }, `"topn"`, "at least 1")
	refused(t, func(p *sdk.Pipeline) {
		sdk.Aggregate(byShop(p), sdk.Aggregator[order, sealed, int]{Add: func(*sealed, order) {}, Result: func(*sealed) int { return 0 }})
	}, `"aggregate"`, `state "aggregate"`, "chan int")
	refused(t, func(p *sdk.Pipeline) {
		sdk.Reduce(sdk.KeyBy(sdk.Read(p, slice.Of(orders...)), func(o order) *order { return &o }), func(a, b order) order { return a })
	}, `"reduce"`)
}

// TestAggregators checks that merging parts gives what adding all gives, and that
// it is right.
func TestAggregators(t *testing.T) {
	id := func(v int) int { return v }
	rapid.Check(t, func(rt *rapid.T) {
		vals := rapid.SliceOfN(rapid.IntRange(-5, 5), 1, 20).Draw(rt, "values")
		cut := rapid.IntRange(0, len(vals)).Draw(rt, "cut")
		sum, low, high, distinct := 0, math.MaxInt, math.MinInt, map[int]bool{}
		for _, v := range vals {
			sum, low, high, distinct[v] = sum+v, min(low, v), max(high, v), true
		}
		checkAggregator(rt, "count", sdk.Count[int](), vals, cut, int64(len(vals)))
		checkAggregator(rt, "sum", sdk.Sum(id), vals, cut, sum)
		checkAggregator(rt, "min", sdk.Min(id), vals, cut, low)
		checkAggregator(rt, "max", sdk.Max(id), vals, cut, high)
		checkAggregator(rt, "avg", sdk.Avg(id), vals, cut, float64(sum)/float64(len(vals)))
		checkAggregator(rt, "distinct", sdk.CountDistinct(id), vals, cut, int64(len(distinct)))
		best := func(v []int) [3]int { return [3]int(append(v, 99, 99, 99)) }
		top := sdk.TopNAggregator(3, func(a, b int) bool { return a < b })
		all, merged := fold(top, vals, cut)
		if best(all) != best(merged) || best(all)[0] != low {
			rt.Errorf("top: all %v, merged %v, least %v", all, merged, low)
		}
	})
}

func fold[Acc, Out any](a sdk.Aggregator[int, Acc, Out], vals []int, cut int) (all, merged Out) {
	var whole, left, right, empty Acc
	for i, v := range vals {
		a.Add(&whole, v)
		if i < cut {
			a.Add(&left, v)
		} else {
			a.Add(&right, v)
		}
	}
	a.Merge(&empty, &left)
	a.Merge(&empty, &right)
	return a.Result(&whole), a.Result(&empty)
}

func checkAggregator[Acc any, Out comparable](t *rapid.T, name string, a sdk.Aggregator[int, Acc, Out], vals []int, cut int, want Out) {
	if all, merged := fold(a, vals, cut); all != want || merged != want {
		t.Errorf("%s: %v, and %v in parts; want %v", name, all, merged, want)
	}
}
