package metamorphic

import (
	"errors"
	"flag"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/weirflow/weir/internal/invariants"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// seeds is how many pipelines are drawn: WEIR_METAMORPHIC_SEEDS, or what a minute
// has room for.
func seeds(t *testing.T) int {
	if s := os.Getenv("WEIR_METAMORPHIC_SEEDS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			t.Fatalf("WEIR_METAMORPHIC_SEEDS=%q: want a number from 1", s)
		}
		return n
	}
	if invariants.Race || testing.Short() {
		return 40
	}
	return 500
}

// setFlag sets a flag of rapid for one test, unless the user has set it.
func setFlag(t *testing.T, name, value string) {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	if given {
		return
	}
	old := flag.Lookup(name).Value.String()
	if err := flag.Set(name, value); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flag.Set(name, old) })
}

// TestSameResult is the test that states the mission.
func TestSameResult(t *testing.T) {
	n := seeds(t)
	setFlag(t, "rapid.checks", strconv.Itoa(n))
	setFlag(t, "rapid.seed", "1")
	setFlag(t, "rapid.nofailfile", "true")
	var (
		seed, runs, epochs int
		batches            int
		records            int64
		stuck, failed      bool
		made               = map[string]int{}
	)
	start := time.Now()
	rapid.Check(t, func(rt *rapid.T) {
		if stuck {
			return // a run that cannot end disturbs those behind it
		}
		if !failed {
			seed++
		}
		large := rapid.IntRange(0, 7).Draw(rt, "large") == 7
		p := DrawPipeline(rt, 8, large)
		size := 150
		if large {
			size = 15_000
		}
		in := DrawInput(rt, p.Sources, size/p.Sources)
		want, wantBatch := p.Eval(in, made), p.EvalBatch(in, map[string]int{})
		for range rapid.IntRange(2, 3).Draw(rt, "runs") {
			c := DrawConfig(rt, p, large)
			again, patience := 1, 20*time.Second
			if failed {
				again, patience = 4, 5*time.Second // what depends on chance is tried more often while it is made small
			}
			for range again {
				o, err := Run(t.Context(), p, in, c, patience)
				var diff string
				switch {
				case err != nil:
					diff = err.Error() + "\n"
					stuck = errors.Is(err, ErrStuck)
				default:
					expected := want
					if c.Batch {
						expected = wantBatch
						batches++
					}
					diff = o.Compare(p, expected)
					runs++
					epochs += o.Epochs
				}
				if o != nil {
					records += o.Records
				}
				if diff != "" {
					text := p.String() + in.String() + c.String() + "\n" + diff
					if !failed {
						failed = true
						t.Logf("found at seed %d of %d, after %d records:\n%s", seed, n, records, text)
					}
					rt.Log("\n" + strings.TrimSpace(text))
					rt.Fatal("the result depends on how the pipeline is run")
				}
			}
		}
	})
	for _, o := range ops {
		if made[o.name] == 0 && n >= 500 {
			t.Errorf("no %s has made a record: the drawing is no good", o.name)
		}
	}
	t.Logf("records made: %v", made)
	if batches == 0 && n >= 40 && !failed {
		t.Error("no run was in batch mode")
	}
	t.Logf("%d of the runs in batch mode", batches)
	t.Logf("%d seeds, %d runs, %d records through operators, %d epochs in %v", seed, runs, records, epochs, time.Since(start).Round(time.Millisecond))
}
