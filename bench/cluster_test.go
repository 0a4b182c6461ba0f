package bench

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestBeats reads what writers leave, also one that was killed, and finds gaps in it.
func TestBeats(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"1-0-7.beats": "1000\n3000\n", "1-1-8.beats": "2000\n9000\n95", "2-0-9.beats": "20000\n21000\n", "other": "4000\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all, err := beats(dir)
	if err != nil || len(all) != 6 || all[0] != 1000 || all[5] != 21000 {
		t.Fatalf("%v, %v", all, err)
	}
	for _, c := range []struct {
		from, to int64
		longest  time.Duration
		over     bool
	}{
		{1500, 2500, time.Millisecond, true},
		{2500, 8000, 6 * time.Millisecond, true},
		{8000, 10000, 11 * time.Millisecond, true}, // it ends behind, and counts
		{20500, 30000, time.Millisecond, false},
		{22000, 30000, 0, false},
	} {
		longest, over := gap(all, time.UnixMicro(c.from), time.UnixMicro(c.to))
		if longest != c.longest || over != c.over {
			t.Errorf("from %d to %d: %v, %t", c.from, c.to, longest, over)
		}
	}
	if d, ok := firstAfter(all, time.UnixMicro(9500)); !ok || d != 10500*time.Microsecond {
		t.Errorf("%v, %t", d, ok)
	}
	if _, ok := firstAfter(all, time.UnixMicro(21001)); ok {
		t.Error("there is nothing behind the last")
	}
}
