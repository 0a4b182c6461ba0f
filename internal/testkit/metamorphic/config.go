package metamorphic

import (
	"fmt"
	"time"

	"pgregory.net/rapid"
)

// Config is a way to run a pipeline. Every one must give the same result.
type Config struct {
	Parallelism int
	Chaining    bool
	BatchSize   int
	Credit      int // in bytes; 0 is the default
	Interval    time.Duration
	// Splits is the number of splits of each source.
	Splits int
	// Unbounded is a set of sources, by bit, that have no end.
	Unbounded uint
	// Untimed is a set of sources, by bit, whose records have no event time until they
	// are given one.
	Untimed uint
	// OnDemand deals splits one by one instead of all at once.
	OnDemand bool
	// Uneven sources read runs of random length.
	Uneven bool
	// Align keeps the sources together in event time.
	Align bool
	// Yield makes user code give up its turn at one in so many records.
	Yield int
	// Scheduling makes tasks choose among their inputs at random.
	Scheduling bool
	// Batch runs it in batch mode.
	Batch bool
	// Seed is for splits, chains, runs and scheduling.
	Seed uint64
}

// DrawConfig draws one. Slow ones, with tiny batches, are not for large inputs.
func DrawConfig(t *rapid.T, p *Pipeline, large bool) Config {
	c := Config{
		Parallelism: rapid.IntRange(1, 4).Draw(t, "parallelism"),
		Chaining:    rapid.Bool().Draw(t, "chaining"),
		BatchSize:   rapid.SampledFrom([]int{1024, 1, 2, 3, 16, 100, 256}).Draw(t, "batch size"),
		Credit:      rapid.SampledFrom([]int{0, 1, 100, 5000}).Draw(t, "credit"),
		Interval:    rapid.SampledFrom([]time.Duration{time.Hour, 100 * time.Microsecond, 2 * time.Millisecond}).Draw(t, "interval"),
		Splits:      rapid.IntRange(1, 6).Draw(t, "splits"),
		Uneven:      rapid.Bool().Draw(t, "uneven"),
		Align:       rapid.IntRange(0, 5).Draw(t, "align") == 5,
		Yield:       rapid.SampledFrom([]int{0, 3, 50}).Draw(t, "yield"),
		Scheduling:  rapid.Bool().Draw(t, "scheduling"),
		Seed:        rapid.Uint64Range(1, 1<<20).Draw(t, "seed"),
	}
	if rapid.Bool().Draw(t, "any unbounded") && !p.Final() {
		c.Unbounded = rapid.UintRange(0, 1<<p.Sources-1).Draw(t, "unbounded")
	}
	if c.Unbounded == 0 && !p.Timed() {
		// Splits that come one after the other are late to each other.
		c.OnDemand = rapid.Bool().Draw(t, "on demand")
	}
	if c.Unbounded == 0 && rapid.IntRange(0, 3).Draw(t, "batch") == 3 {
		// Sources cannot wait for each other where each runs when there is room.
		c.Batch, c.Align = true, false
	}
	if !p.Timed() && rapid.Bool().Draw(t, "any untimed") {
		c.Untimed = rapid.UintRange(0, 1<<p.Sources-1).Draw(t, "untimed")
	}
	if large {
		c.BatchSize = max(c.BatchSize, 64)
		if c.Credit > 0 {
			c.Credit += 20_000
		}
	}
	return c
}

func (c Config) unbounded(source int) bool { return c.Unbounded>>source&1 == 1 }

func (c Config) untimed(source int) bool { return c.Untimed>>source&1 == 1 }

func (c Config) anyUnbounded() bool { return c.Unbounded != 0 }

// String is one line.
func (c Config) String() string {
	return fmt.Sprintf("run: parallelism %d, chaining %t, batch %d, credit %d, epoch every %v, splits %d, unbounded %b, untimed %b, on demand %t, uneven %t, align %t, yield %d, random scheduling %t, batch mode %t, seed %d",
		c.Parallelism, c.Chaining, c.BatchSize, c.Credit, c.Interval, c.Splits, c.Unbounded, c.Untimed, c.OnDemand, c.Uneven, c.Align, c.Yield, c.Scheduling, c.Batch, c.Seed)
}
