package run_test

import (
	"errors"
	"testing"
	"time"

	"github.com/weirflow/weir/connector/collect"
	"github.com/weirflow/weir/connector/slice"
	"github.com/weirflow/weir/sdk"
	"github.com/weirflow/weir/sdk/run"
)

// TestStopGivesWhatTriggersByTheClockHaveNotCovered: what was accepted is finished,
// also where a trigger would have fired only later.
func TestStopGivesWhatTriggersByTheClockHaveNotCovered(t *testing.T) {
	inAll(t, func(t *testing.T, o run.Options) {
		p := sdk.New("p")
		words := sdk.Read(p, slice.Of("a", "b", "a").Unbounded())
		stop := make(chan struct{})
		seen := 0
		tapped := sdk.Map(words, func(w string) string {
			if seen++; seen == 3 {
				close(stop)
			}
			return w
		}, sdk.Parallelism(1))
		counts, _ := sdk.AggregateWindow(sdk.Window(sdk.KeyBy(tapped, func(w string) string { return w }), sdk.Global(),
			sdk.TriggerOn(sdk.Every(time.Hour))), sdk.Count[string]())
		got := collect.New[sdk.WindowResult[string, int64]]()
		sdk.Write(counts, got)
		o.Stop = stop
		if err := run.Run(t.Context(), p, o); !errors.Is(err, run.ErrStopped) {
			t.Fatal(err)
		}
		sum := map[string]int64{}
		for _, r := range got.Results() {
			sum[r.Key] = r.Value
		}
		if sum["a"] != 2 || sum["b"] != 1 {
			t.Errorf("got %v", sum)
		}
	})
}
