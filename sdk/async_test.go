package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/weirflow/weir/connector/collect"
	"github.com/weirflow/weir/connector/slice"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/sdk"
	"github.com/weirflow/weir/sdk/run"
)

var errOdd = errors.New("odd")

func half(_ context.Context, v int) (int, error) {
	if v%2 == 1 {
		return 0, errOdd
	}
	return v / 2, nil
}

func TestAsyncMap(t *testing.T) {
	for _, ordered := range []bool{false, true} {
		// Two of them in a row: the second is full while the first has results.
		everyWay(t, func(p *sdk.Pipeline) *sdk.Stream[string] {
			a := sdk.AsyncMap(sdk.Read(p, slice.Of(2, 4, 3, 8, 12)), half, sdk.Async{Ordered: ordered, Capacity: 2}, sdk.DeadLetterBad(0, 0))
			b := sdk.AsyncMap(a, half, sdk.Async{Ordered: ordered, Capacity: 1}, sdk.SkipBad(0, 0))
			bad := sdk.Map(sdk.DeadLetters(a), func(b sdk.BadRecord) string { return string(b.Raw) + ":" + b.Reason })
			return sdk.Union(sdk.Map(b, func(v int) string { return fmt.Sprint(v) }), bad)
		}, "1", "2", "3", "3:odd")
	}
}

func TestAsyncMapKeepsOrderAndTimes(t *testing.T) {
	var in []slice.Record[int]
	for i := range 500 {
		in = append(in, slice.Record[int]{Value: i, Time: flow.Time(i)})
	}
	p := sdk.New("ordered")
	got := collect.New[int]()
	sdk.Write(sdk.AsyncMap(sdk.Read(p, slice.Timed(in)), func(_ context.Context, v int) (int, error) { return v, nil },
		sdk.Async{Ordered: true}), got)
	if err := run.Run(t.Context(), p, run.Options{Parallelism: 1, BatchSize: 7}); err != nil {
		t.Fatal(err)
	}
	for i, r := range got.Records() {
		if r.Value != i || r.Time != flow.Time(i) {
			t.Fatalf("record %d is %d at %v", i, r.Value, r.Time)
		}
	}
}

func TestAsyncMapFails(t *testing.T) {
	p := sdk.New("fails")
	sdk.Write(sdk.AsyncMap(sdk.Read(p, slice.Of(2, 3)), half, sdk.Async{}, sdk.Name("halves")), collect.New[int]())
	err := run.Run(t.Context(), p, run.Options{Parallelism: 1})
	var f *flow.Failure
	if !errors.As(err, &f) || f.Name != "halves" || f.Domain != flow.DomainExternal || !f.Retryable || !errors.Is(err, errOdd) {
		t.Errorf("got %#v", err)
	}
}

// TestAsyncMapIsCancelled ends a job whose calls hang.
func TestAsyncMapIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := sdk.New("hangs")
	sdk.Write(sdk.AsyncMap(sdk.Read(p, slice.Of(1, 2, 3)), func(ctx context.Context, v int) (int, error) {
		cancel()
		<-ctx.Done()
		return 0, ctx.Err()
	}, sdk.Async{Capacity: 1}), collect.New[int]())
	if err := run.Run(ctx, p, run.Options{Parallelism: 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestLookupJoin(t *testing.T) {
	names := map[string]string{"x": "Xavier", "y": "Yvonne"}
	everyWay(t, func(p *sdk.Pipeline) *sdk.Stream[string] {
		return sdk.LookupJoin(sdk.Read(p, slice.Of(append(slices.Clone(orders), order{Shop: "z"})...)), shop,
			func(_ context.Context, k string) (string, bool, error) { n, ok := names[k]; return n, ok, nil },
			func(o order, name string, ok bool) string { return fmt.Sprintf("%s %d %t", name, o.Amount, ok) },
			sdk.Lookup{Async: sdk.Async{Ordered: true, Capacity: 3}, CacheSize: 1, CacheTTL: time.Hour})
	}, "Xavier 5 true", "Yvonne 7 true", "Xavier 3 true", "Xavier 9 true", "Yvonne 7 true", " 0 false")
}

func TestMistakesInAsync(t *testing.T) {
	refused(t, func(p *sdk.Pipeline) { sdk.AsyncMap(sdk.Read(p, slice.Of(1)), half, sdk.Async{Capacity: -1}) }, `"asyncmap"`, "capacity is -1")
	refused(t, func(p *sdk.Pipeline) { sdk.AsyncMap[int, int](sdk.Read(p, slice.Of(1)), nil, sdk.Async{}) }, `"asyncmap"`, "is nil")
	refused(t, func(p *sdk.Pipeline) {
		sdk.LookupJoin[int, int, int, int](sdk.Read(p, slice.Of(1)), nil, nil, nil, sdk.Lookup{CacheSize: -1})
	}, "the key function", "the lookup function", "the join function", "cache's size is -1")
}
