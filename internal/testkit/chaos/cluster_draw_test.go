//go:build integration

package chaos

import (
	"testing"
	"time"
)

// TestDrawCluster looks at what the first 50 seeds decide: the same each time, every kind of
// fault, nothing that does not fit together, and no schedule that takes for ever.
func TestDrawCluster(t *testing.T) {
	kinds := map[kind]int{}
	for seed := range uint64(50) {
		s := drawCluster(seed + 1)
		if again := drawCluster(seed + 1); again.String() != s.String() {
			t.Fatalf("two schedules of seed %d:\n%s\n%s", seed+1, s, again)
		}
		for _, f := range s.Faults {
			kinds[f.Kind]++
			switch f.Kind {
			case cutOff, deaf, mute, controlOnly, dataOnly, apart, bad:
				if !s.Hosts || s.Kafka {
					t.Errorf("a network is wanted and not there: %s", s)
				}
			case diskFull:
				if len(s.Small) == 0 {
					t.Errorf("a small disk is wanted and not there: %s", s)
				}
			}
			if f.At+f.For > 25*time.Second {
				t.Errorf("it is over after %v: %s", f.At+f.For, s)
			}
		}
	}
	for _, k := range []kind{killAgent, stopAgent, leaveAgent, killExecutor, stopExecutor, outage, rolling, drain, rescale, diskFull, cutOff, deaf, mute, controlOnly, dataOnly, apart, bad} {
		if kinds[k] == 0 {
			t.Errorf("no schedule has %q", k)
		}
	}
	t.Log(kinds)
}
