package sdk_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/weirflow/weir/connector/collect"
	"github.com/weirflow/weir/connector/slice"
	"github.com/weirflow/weir/sdk"
	"github.com/weirflow/weir/sdk/run"
)

type tick struct {
	Key string
	At  int64
	N   int64
}

func tickTime(t tick) sdk.Time { return sdk.Time(t.At * 1e6) }

func TestWindowsEndToEnd(t *testing.T) {
	ticks := []tick{{"a", 1, 1}, {"b", 2, 2}, {"a", 9, 3}, {"a", 11, 4}, {"b", 25, 5}}
	cases := []struct {
		name string
		w    sdk.Windowing
		want []string
	}{
		{"tumbling", sdk.Tumbling(10 * time.Second), []string{"a 0-10 4", "a 10-20 4", "b 0-10 2", "b 20-30 5"}},
		{"sliding", sdk.Sliding(20*time.Second, 10*time.Second), []string{"a -10-10 4", "a 0-20 8", "a 10-30 4", "b -10-10 2", "b 0-20 2", "b 10-30 5", "b 20-40 5"}},
		{"session", sdk.Session(5 * time.Second), []string{"a 1-6 1", "a 9-16 7", "b 2-7 2", "b 25-30 5"}},
		{"cumulative", sdk.Cumulative(20*time.Second, 10*time.Second), []string{"a 0-10 4", "a 0-20 8", "b 0-10 2", "b 0-20 2", "b 20-30 5", "b 20-40 5"}},
	}
	for _, c := range cases {
		for _, par := range []int{1, 2, 3} {
			t.Run(fmt.Sprintf("%s/%d", c.name, par), func(t *testing.T) {
				p := sdk.New("windows")
				in := sdk.ReadTimed(p, slice.Of(ticks...), sdk.OutOfOrder(30*time.Second, tickTime))
				keyed := sdk.KeyBy(in, func(t tick) string { return t.Key })
				sums, late := sdk.AggregateWindow(sdk.Window(keyed, c.w), sdk.Sum(func(t tick) int64 { return t.N }))
				got, lost := collect.New[sdk.WindowResult[string, int64]](), collect.New[tick]()
				sdk.Write(sums, got)
				sdk.Write(late, lost)
				if err := run.Run(t.Context(), p, run.Options{Parallelism: par}); err != nil {
					t.Fatal(err)
				}
				var lines []string
				for _, r := range got.Results() {
					lines = append(lines, fmt.Sprintf("%s %d-%d %d", r.Key, r.Window.Start/1e6, r.Window.End/1e6, r.Value))
				}
				slices.Sort(lines)
				if !slices.Equal(lines, c.want) || lost.Len() > 0 {
					t.Errorf("got %q, want %q, late %v", lines, c.want, lost.Results())
				}
			})
		}
	}
}

func TestJoinsEndToEnd(t *testing.T) {
	lefts := []tick{{"a", 1, 1}, {"b", 2, 2}, {"a", 12, 3}}
	rights := []tick{{"a", 0, 10}, {"a", 5, 20}, {"c", 3, 30}}
	pair := func(p sdk.Pair[tick, tick]) string {
		return fmt.Sprintf("%d/%d/%t", p.Left.N, p.Right.N, p.HasRight)
	}
	joins := map[string]struct {
		f    func(l, r *sdk.Keyed[string, tick]) *sdk.Stream[string]
		want []string
	}{
		"temporal": {func(l, r *sdk.Keyed[string, tick]) *sdk.Stream[string] {
			s, _, _ := sdk.TemporalJoin(l, r, sdk.LeftJoin, pair)
			return s
		}, []string{"1/10/true", "2/0/false", "3/20/true"}},
		"interval": {func(l, r *sdk.Keyed[string, tick]) *sdk.Stream[string] {
			s, _, _ := sdk.IntervalJoin(l, r, -time.Second, 5*time.Second, func(l, r tick) string { return fmt.Sprintf("%d/%d", l.N, r.N) })
			return s
		}, []string{"1/10", "1/20"}},
		"regular": {func(l, r *sdk.Keyed[string, tick]) *sdk.Stream[string] {
			return sdk.Join(l, r, sdk.InnerJoin, pair)
		}, []string{"1/10/true", "1/20/true", "3/10/true", "3/20/true"}},
		"window": {func(l, r *sdk.Keyed[string, tick]) *sdk.Stream[string] {
			s, _, _ := sdk.WindowJoin(l, r, sdk.Tumbling(10*time.Second), sdk.LeftJoin, func(w sdk.WindowSpan, p sdk.Pair[tick, tick]) string {
				return fmt.Sprintf("%d:%s", w.Start/1e6, pair(p))
			})
			return s
		}, []string{"0:1/10/true", "0:1/20/true", "0:2/0/false", "10:3/0/false"}},
	}
	for name, j := range joins {
		for _, par := range []int{1, 2, 3} {
			t.Run(fmt.Sprintf("%s/%d", name, par), func(t *testing.T) {
				p := sdk.New("joins")
				key := func(t tick) string { return t.Key }
				w := sdk.OutOfOrder(30*time.Second, tickTime)
				l := sdk.KeyBy(sdk.ReadTimed(p, slice.Of(lefts...), w, sdk.Name("left")), key)
				r := sdk.KeyBy(sdk.ReadTimed(p, slice.Of(rights...), w, sdk.Name("right")), key)
				got := collect.New[string]()
				sdk.Write(j.f(l, r), got)
				if err := run.Run(t.Context(), p, run.Options{Parallelism: par}); err != nil {
					t.Fatal(err)
				}
				lines := got.Results()
				slices.Sort(lines)
				if !slices.Equal(lines, j.want) {
					t.Errorf("got %q, want %q", lines, j.want)
				}
			})
		}
	}
}
