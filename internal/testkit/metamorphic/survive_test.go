package metamorphic

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestSurvives kills the processes of a job, and wants the result of one that was left
// alone.
func TestSurvives(t *testing.T) {
	n := 12 // make chaos asks for more
	if s := os.Getenv("WEIR_CHAOS_SEEDS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatalf("WEIR_CHAOS_SEEDS=%q: want a number", s)
		}
	}
	setFlag(t, "rapid.checks", strconv.Itoa(n))
	setFlag(t, "rapid.seed", "1")
	setFlag(t, "rapid.nofailfile", "true")
	var (
		seed, runs, epochs, killed, restored int
		records                              int64
		failed                               bool
		start                                = time.Now()
	)
	rapid.Check(t, func(rt *rapid.T) {
		if !failed {
			seed++
		}
		large := rapid.IntRange(0, 3).Draw(rt, "large") == 3
		p := DrawPipeline(rt, 6, large)
		p.OneLane()
		size := 1500
		if large {
			size = 30_000
		}
		in := DrawInput(rt, p.Sources, size/p.Sources)
		want := p.Eval(in, map[string]int{})
		c := DrawConfig(rt, p, large)
		c.Unbounded = 0
		f := DrawFaults(rt, p, c, large)
		o, err := Survive(t.Context(), p, in, f, 10*time.Second)
		var diff string
		if err != nil {
			diff = err.Error() + "\n"
		} else {
			diff = o.Compare(p, want)
			runs++
			epochs += o.Epochs
			killed += o.Killed
			restored += o.Restored
			records += o.Records
		}
		if diff != "" {
			text := p.String() + in.String() + f.String() + "\n" + diff
			if !failed {
				failed = true
				t.Logf("found at seed %d of %d, after %d records:\n%s", seed, n, records, text)
			}
			rt.Log("\n" + strings.TrimSpace(text))
			rt.Fatal("the result depends on what the job lived through")
		}
	})
	t.Logf("%d seeds, %d jobs, %d processes killed, %d attempts restored, %d records through operators, %d epochs in %v",
		seed, runs, killed, restored, records, epochs, time.Since(start).Round(time.Millisecond))
}
