package sdk_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/weirflow/weir/connector/slice"
	"github.com/weirflow/weir/sdk"
)

func TestCoProcess(t *testing.T) {
	everyWay(t, func(p *sdk.Pipeline) *sdk.Stream[string] {
		names := sdk.KeyBy(sdk.Read(p, slice.Of("a", "bb", "ccc")), func(s string) int { return len(s) })
		counts := sdk.KeyBy(sdk.Read(p, slice.Of(1, 2, 2, 3)), func(n int) int { return n })
		return sdk.CoProcess(names, counts, func(s *sdk.Setup[int]) sdk.CoProcessor[int, string, int, string] {
			name := sdk.NewValue[string](s, "name")
			seen := sdk.NewValue[int](s, "seen")
			return sdk.CoProcessor[int, string, int, string]{
				Left: func(c *sdk.Context[int], v string, _ *sdk.Out[string]) {
					name.Set(v)
					c.SetTimer(sdk.TimeOf(time.Unix(0, 0)))
				},
				Right: func(_ *sdk.Context[int], _ int, _ *sdk.Out[string]) {
					n, _ := seen.Get()
					seen.Set(n + 1)
				},
				Timer: func(_ *sdk.Context[int], _ sdk.Timer, out *sdk.Out[string]) {
					v, _ := name.Get()
					n, _ := seen.Get()
					out.Emit(fmt.Sprintf("%s*%d", v, n))
				},
			}
		})
	}, "a*1", "bb*2", "ccc*1")
}

func TestProcessBroadcast(t *testing.T) {
	type limit struct {
		Shop string
		Max  int
	}
	// Orders wait for the end of both inputs, so that every one meets all limits.
	everyWay(t, func(p *sdk.Pipeline) *sdk.Stream[string] {
		limits := sdk.Read(p, slice.Of(limit{"x", 4}, limit{"y", 7}, limit{"x", 6}, limit{"z", 1}))
		return sdk.ProcessBroadcast(byShop(p), limits, func(s *sdk.Setup[string]) sdk.BroadcastProcessor[string, order, limit, string] {
			max := sdk.NewBroadcastState[string, int](s, "limits")
			held := sdk.NewList[int](s, "held")
			return sdk.BroadcastProcessor[string, order, limit, string]{
				Each: func(c *sdk.Context[string], o order, _ *sdk.Out[string]) {
					held.Append(o.Amount)
					c.SetTimer(0)
				},
				Broadcast: func(b *sdk.BroadcastContext, l limit, _ *sdk.Out[string]) {
					if l.Max == 1 {
						max.Delete(b, l.Shop)
						return
					}
					max.Set(b, l.Shop, l.Max)
				},
				Timer: func(c *sdk.Context[string], _ sdk.Timer, out *sdk.Out[string]) {
					limit, _ := max.Get(c.Key)
					for _, a := range held.Get() {
						if a > limit {
							out.Emit(fmt.Sprintf("%s:%d>%d of %d", c.Key, a, limit, max.Len()))
						}
					}
				},
			}
		})
	}, "x:9>6 of 2")
}

func TestMistakesInTwoStreams(t *testing.T) {
	make := func(s *sdk.Setup[string]) sdk.CoProcessor[string, order, order, int] {
		sdk.NewValue[int](s, "n")
		sdk.NewValue[int](s, "n")
		return sdk.CoProcessor[string, order, order, int]{}
	}
	refused(t, func(p *sdk.Pipeline) { sdk.CoProcess(byShop(p), byShop(p), make) }, `"coprocess"`, `"n" is declared twice`)
	refused(t, func(p *sdk.Pipeline) {
		sdk.CoProcess(byShop(p), byShop(sdk.New("other")), func(s *sdk.Setup[string]) sdk.CoProcessor[string, order, order, int] {
			return sdk.CoProcessor[string, order, order, int]{}
		})
	}, `"coprocess"`, "different pipelines")
}
