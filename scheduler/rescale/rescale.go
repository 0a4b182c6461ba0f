package rescale

import (
	"fmt"
	"math"
	"time"
)

// Load is what was measured of one operator, or of a chain of them, over the time of a sample.
type Load struct {
	ID string
	// Inputs are the loads that feed it. They come before it. A source has none.
	Inputs []string
	// Subtasks is how many it has. Default 0: as many as the job.
	Subtasks int
	// In and Out are records per second, of all subtasks together. What a source reads is In.
	In, Out float64
	// Busy is the share of the time in which a subtask works, 0 to 1: the mean, and that of the
	// busiest.
	Busy, Busiest float64
	// Backpressured is the share of the time in which subtasks wait for those behind them.
	Backpressured float64
	// Backlog is how many records wait at a source, and Growth by how many a second they
	// become more. Known says that the source can tell.
	Backlog, Growth float64
	Known           bool
}

// Sample is what was measured of a job.
type Sample struct {
	At          int64 // microseconds; later than the sample before
	Parallelism int
	Loads       []Load
}

// Options say what is wanted.
type Options struct {
	// Min and Max bound the parallelism. Max is at least Min, and Min at least 1.
	Min, Max int
	// Utilisation is the share of the time in which subtasks should be busy: the rest is for
	// what comes in bursts, and to catch up after a restart. Default 0.7.
	Utilisation float64
	// UpAfter is for how long more must have been wanted, DownAfter for how long less would have
	// been enough. Defaults 15s, 5m.
	UpAfter, DownAfter time.Duration
	// Settle is how long nothing is measured after a change: caches are cold, and what has
	// piled up is worked off. Default 30s.
	Settle time.Duration
	// CatchUp is within what time a backlog should be gone. Default 5m.
	CatchUp time.Duration
	// Least is the least change that is worth a restart, as a share of what there is.
	// Default 0.1.
	Least float64
	// Skew is how many times as busy as the mean a subtask is if more of them do not help.
	// Default 1.75.
	Skew float64
	// MaxWait bounds what DownAfter, and the wait after a change that was of no use,
	// grow to. Default 1h.
	MaxWait time.Duration
	// DryRun only says what would be done.
	DryRun bool
}

// EnsureDefaults fills what is not set.
func (o *Options) EnsureDefaults() {
	o.Min = max(o.Min, 1)
	for _, f := range []struct {
		v    *float64
		dflt float64
	}{{&o.Utilisation, 0.7}, {&o.Least, 0.1}, {&o.Skew, 1.75}} {
		if *f.v == 0 {
			*f.v = f.dflt
		}
	}
	for _, d := range []struct {
		v    *time.Duration
		dflt time.Duration
	}{{&o.UpAfter, 15 * time.Second}, {&o.DownAfter, 5 * time.Minute}, {&o.Settle, 30 * time.Second},
		{&o.CatchUp, 5 * time.Minute}, {&o.MaxWait, time.Hour}} {
		if *d.v == 0 {
			*d.v = d.dflt
		}
	}
}

// Validate refuses what can't be meant.
func (o *Options) Validate() error {
	switch {
	case o.Max < o.Min:
		return fmt.Errorf("rescale: at most %d subtasks and at least %d: the maximum is not less than the minimum", o.Max, o.Min)
	case !(o.Utilisation > 0 && o.Utilisation <= 1):
		return fmt.Errorf("rescale: utilisation %g is not above 0 and at most 1", o.Utilisation)
	case !(o.Least >= 0 && o.Least < 1):
		return fmt.Errorf("rescale: a least change of %g is not from 0 to below 1", o.Least)
	case !(o.Skew > 1):
		return fmt.Errorf("rescale: skew %g is not above 1", o.Skew)
	case min(o.UpAfter, o.DownAfter, o.Settle, o.CatchUp, o.MaxWait) < 0:
		return fmt.Errorf("rescale: a time is negative")
	}
	return nil
}

// Decision is what comes of a sample.
type Decision struct {
	// Parallelism is what the job should have: what it has, unless Change.
	Parallelism int
	Change      bool
	// DryRun says that it is not to be done.
	DryRun bool
	// Reason is one line for people. Lines are the figures behind it, one for each load.
	Reason string
	Lines  []string
}

// String is the reason with its head.
func (d Decision) String() string {
	switch {
	case d.Change && d.DryRun:
		return fmt.Sprintf("would go to %d: %s", d.Parallelism, d.Reason)
	case d.Change:
		return fmt.Sprintf("go to %d: %s", d.Parallelism, d.Reason)
	}
	return fmt.Sprintf("stay at %d: %s", d.Parallelism, d.Reason)
}

// need is what one sample asks for.
type need struct {
	subtasks int     // of the job, between 1 and any number
	rate     float64 // records that sources read, per second
	load     string  // which load asks for most
	skewed   string  // what to say of a skew that holds the job back
	stuck    string  // what to say where nothing measured holds it back, and something does
	lines    []string
}

// check refuses samples that make no sense.
func check(s *Sample) error {
	if s.Parallelism < 1 || len(s.Loads) == 0 {
		return fmt.Errorf("a sample of %d loads at parallelism %d", len(s.Loads), s.Parallelism)
	}
	seen := make(map[string]bool, len(s.Loads))
	for i := range s.Loads {
		l := &s.Loads[i]
		if seen[l.ID] {
			return fmt.Errorf("two loads are called %s", l.ID)
		}
		for _, in := range l.Inputs {
			if !seen[in] {
				return fmt.Errorf("load %s is fed by %s, which is not before it", l.ID, in)
			}
		}
		seen[l.ID] = true
		for _, v := range []float64{l.In, l.Out, l.Busy, l.Busiest, l.Backpressured, l.Backlog} {
			if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
				return fmt.Errorf("load %s has a figure of %g", l.ID, v)
			}
		}
		if math.IsNaN(l.Growth) || math.IsInf(l.Growth, 0) || l.Subtasks < 0 {
			return fmt.Errorf("load %s has a growth of %g and %d subtasks", l.ID, l.Growth, l.Subtasks)
		}
	}
	return nil
}

// measure finds out how many subtasks each load needs when nothing holds the others back.
func measure(s *Sample, o *Options) need {
	n := need{subtasks: 1}
	busiest := 0.0 // of what has inputs
	for i := range s.Loads {
		if len(s.Loads[i].Inputs) > 0 {
			busiest = max(busiest, s.Loads[i].Busy, s.Loads[i].Busiest)
		}
	}
	factor := make(map[string]float64, len(s.Loads)) // demand by what is done now
	out := make(map[string]float64, len(s.Loads))
	for i := range s.Loads {
		l := &s.Loads[i]
		f := 1.0
		if len(l.Inputs) == 0 {
			n.rate += l.In
			f = sourceFactor(l, o)
			if f > 1 && l.Backpressured > 0.1 && busiest < 0.5 {
				f = 1
				n.stuck = fmt.Sprintf("%s waits for %.0f%% of the time, and nobody behind it is busy: something else holds the job back",
					l.ID, 100*min(l.Backpressured, 1))
			}
		} else {
			sum, wanted := 0.0, 0.0
			for _, in := range l.Inputs {
				sum += out[in]
				wanted += out[in] * factor[in]
			}
			if sum > 0 {
				f = wanted / sum
			}
		}
		factor[l.ID], out[l.ID] = f, l.Out
		p := s.Parallelism
		if l.Subtasks > 0 {
			p = min(p, l.Subtasks)
		}
		busy, most := min(l.Busy, 1), min(max(l.Busiest, l.Busy), 1)
		line := fmt.Sprintf("%s: %s in, busy %.0f%%", l.ID, rate(l.In), 100*busy)
		if l.In == 0 || busy < 0.001 {
			n.lines = append(n.lines, line+": nothing to measure")
			continue
		}
		// A subtask that has most of the records has its limit whatever the others could do.
		useful := f
		if p > 1 && most > o.Skew*busy {
			line += fmt.Sprintf(", its busiest subtask %.0f%%", 100*most)
			if f*most > o.Utilisation {
				useful = min(f, 1/most)
				n.skewed = fmt.Sprintf("one subtask of %s is busy for %.0f%% of the time, on average they are for %.0f%%: "+
					"few keys have most of the records, and more subtasks do not help them", l.ID, 100*most, 100*busy)
			}
		}
		load := float64(p) * busy * useful / o.Utilisation
		wants := s.Parallelism
		if load < float64(math.MaxInt32) {
			wants = max(1, int(math.Ceil(load-1e-9)))
		}
		n.lines = append(n.lines, fmt.Sprintf("%s: %s up to %s; %s are wanted: %d at %.0f%%",
			line, doing(p), rate(l.In/busy), rate(l.In*f), wants, 100*o.Utilisation))
		// What has fewer subtasks than the job has them for another reason.
		if (l.Subtasks == 0 || l.Subtasks >= s.Parallelism) && wants > n.subtasks {
			n.subtasks, n.load = wants, l.ID
		}
	}
	return n
}

// sourceFactor is how many times as much a source would have to read.
func sourceFactor(l *Load, o *Options) float64 {
	if l.In <= 0 {
		return 1
	}
	if l.Known {
		return max(0, l.In+l.Growth+l.Backlog/max(1, o.CatchUp.Seconds())) / l.In
	}
	// Nobody knows how much there is: at least what it could read if nobody stopped it. More
	// than three quarters of the time is not believed: it would be a wild guess.
	return 1 / (1 - min(l.Backpressured, 0.75))
}

func doing(n int) string {
	if n == 1 {
		return "1 subtask does"
	}
	return fmt.Sprintf("%d subtasks do", n)
}

func subtasks(n int) string {
	if n == 1 {
		return "1 subtask"
	}
	return fmt.Sprintf("%d subtasks", n)
}

// rate is for people.
func rate(v float64) string {
	switch {
	case v >= 10e6:
		return fmt.Sprintf("%.0f M/s", v/1e6)
	case v >= 10e3:
		return fmt.Sprintf("%.0f k/s", v/1e3)
	}
	return fmt.Sprintf("%.0f/s", v)
}
