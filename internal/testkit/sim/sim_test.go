package sim

import (
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir/internal/invariants"
)

var (
	oneSeed  = flag.Uint64("seed", 0, "run this seed alone")
	keepOnly = flag.String("keep", "", "with -seed: numbers of the faults to keep, or none")
	onlyOne  = flag.Bool("first", false, "end with the first seed that fails, and do not make it smaller")
	logLevel = slog.LevelInfo
)

// seeds is how many TestSim runs; make sim asks for more. With the race detector each takes
// many times as long.
const (
	seeds     = 30
	racySeeds = 6
)

// simulate carries out a schedule in a bubble.
func simulate(t *testing.T, s *Schedule) (o *outcome) {
	dir, err := os.MkdirTemp(fast(), "sim-") //nolint:usetesting // it is in memory, and gone with its schedule: there are hundreds
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	synctest.Test(t, func(*testing.T) { o = run(s, dir) })
	return o
}

// fast is where directories are in memory, if there is such a place: nothing there waits for a disk.
func fast() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return ""
}

// TestSim runs schedules, and wants of each what the package says.
func TestSim(t *testing.T) {
	first, n := uint64(1), uint64(seeds)
	if invariants.Race {
		n = racySeeds
	}
	if s := os.Getenv("SIM_SEEDS"); s != "" {
		var err error
		if n, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("SIM_SEEDS=%q: want a number", s)
		}
	}
	if *oneSeed != 0 {
		first, n = *oneSeed, 1
	}
	var (
		mu       sync.Mutex
		began    = time.Now()
		ran      int
		failed   int
		lived    time.Duration
		attempts uint64
		children int
	)
	t.Run("seeds", func(t *testing.T) {
		for seed := first; seed < first+n; seed++ {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				mu.Lock()
				enough := *onlyOne && failed > 0
				mu.Unlock()
				if enough {
					t.SkipNow()
				}
				s := draw(seed)
				if *keepOnly != "" {
					var which []int
					for text := range strings.SplitSeq(*keepOnly, ",") {
						if text == "none" {
							continue
						}
						i, err := strconv.Atoi(text)
						if err != nil || i < 0 || i >= len(s.Faults) {
							t.Fatalf("-keep %q: %q is no number of a fault", *keepOnly, text)
						}
						which = append(which, i)
					}
					s = s.keep(which)
				}
				o := simulate(t, s)
				mu.Lock()
				ran++
				lived += o.took
				attempts += o.attempts
				children += o.children
				first := o.failed() && failed == 0
				if o.failed() {
					failed++
				}
				mu.Unlock()
				if !o.failed() {
					return
				}
				file := filepath.Join(os.TempDir(), fmt.Sprintf("sim-%d.log", seed))
				if err := o.log.save(file); err != nil {
					t.Error(err)
				}
				t.Errorf("found at seed %d\n%sWRONG %s\nlog in %s", seed, s, strings.Join(o.wrong, "\nWRONG "), file)
				if first && *oneSeed == 0 && !*onlyOne {
					small := shrink(t, s)
					t.Logf("as small as it gets: %s", small)
				}
			})
		}
	})
	took := time.Since(began)
	t.Logf("%d schedules in %v, %.0f a minute: %v lived, %d executors, %d attempts; %d failed",
		ran, took.Round(time.Millisecond), float64(ran)/took.Minutes(), lived.Round(time.Second), children, attempts, failed)
}

// shrink leaves out faults, one by one, for as long as the rest fails. A failure may need
// luck, so that each is tried more than once.
func shrink(t *testing.T, s *Schedule) *Schedule {
	const tries = 3
	for i := 0; i < len(s.Faults); {
		var rest []int
		for j := range s.Faults {
			if j != i {
				rest = append(rest, j)
			}
		}
		smaller, fails := s.keep(rest), false
		for range tries {
			if fails = simulate(t, smaller).failed(); fails {
				break
			}
		}
		if fails {
			s = smaller
		} else {
			i++
		}
	}
	return s
}
