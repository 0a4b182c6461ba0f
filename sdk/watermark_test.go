package sdk_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/weirflow/weir/connector/collect"
	"github.com/weirflow/weir/connector/file"
	"github.com/weirflow/weir/sdk"
	"github.com/weirflow/weir/sdk/run"
)

// TestFilesThatOverlapInTimeLoseNothing: two servers' logs of the same hour, read
// one after the other by one subtask or side by side by two, give the same counts.
func TestFilesThatOverlapInTimeLoseNothing(t *testing.T) {
	dir := t.TempDir()
	type entry struct{ At int64 }
	for _, server := range []string{"a", "b", "c"} {
		var lines []byte
		for second := range 3600 {
			lines = fmt.Appendf(lines, "{\"At\":%d}\n", second)
		}
		if err := os.WriteFile(filepath.Join(dir, server+".jsonl"), lines, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, parallelism := range []int{1, 2, 3} {
		p := sdk.New("logs")
		in := sdk.ReadTimed(p, file.JSONLines[entry](dir, file.SplitSize(4096)),
			sdk.OutOfOrder(time.Second, func(e entry) sdk.Time { return sdk.Time(e.At * 1e6) }))
		perMinute, late := sdk.AggregateWindow(sdk.Window(sdk.KeyBy(in, func(entry) bool { return true }), sdk.Tumbling(time.Minute)), sdk.Count[entry]())
		got, lost := collect.New[sdk.WindowResult[bool, int64]](), collect.New[entry]()
		sdk.Write(perMinute, got)
		sdk.Write(late, lost)
		if err := run.Run(t.Context(), p, run.Options{Parallelism: parallelism}); err != nil {
			t.Fatal(err)
		}
		if got.Len() != 60 || lost.Len() != 0 {
			t.Errorf("parallelism %d: %d windows, %d records late", parallelism, got.Len(), lost.Len())
		}
		for _, r := range got.Results() {
			if r.Value != 180 {
				t.Errorf("parallelism %d: %s has %d records, not 180", parallelism, r.Window, r.Value)
			}
		}
	}
}
