package rescale

import (
	"fmt"
	"slices"
	"time"
)

// maxSeen bounds the samples that a Scaler holds: more frequent ones than fit into its longest
// window push older ones out, and a change down waits for longer.
const maxSeen = 4096

// seen is what is kept of a sample.
type seen struct {
	at   int64
	want int
	rate float64
}

// Scaler decides for one job.
type Scaler struct {
	o Options
	// parallelism is that of the last sample, 0 before the first; since is when it came
	// to that.
	parallelism int
	since, last int64
	window      []seen // since then, after it has settled

	before    step // the last one up
	ups       int  // in a row, each soon after the one before
	upAt      int64
	downAt    int64 // when it last went down, 0: never
	downAfter time.Duration
	noUpUntil int64
	upWait    time.Duration
	noUpWhy   string
}

// step is a change that was made.
type step struct {
	from, to int
	rate     float64 // before
}

// New makes a Scaler.
func New(o Options) (*Scaler, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	return &Scaler{o: o, downAfter: o.DownAfter, upWait: 2 * o.DownAfter}, nil
}

// Observe is told a sample and decides. Its caller makes the change; that it was made shows in the
// parallelism of a later sample, whoever made it.
func (s *Scaler) Observe(sample Sample) Decision {
	d := Decision{Parallelism: sample.Parallelism, DryRun: s.o.DryRun}
	if err := check(&sample); err != nil {
		d.Reason = err.Error()
		return d
	}
	if sample.At <= s.last && s.parallelism > 0 {
		d.Reason = "the sample is older than the one before"
		return d
	}
	s.last = sample.At
	n := measure(&sample, &s.o)
	d.Lines = n.lines
	if sample.Parallelism != s.parallelism {
		s.changed(&sample)
	}
	switch p := sample.Parallelism; {
	case p < s.o.Min:
		return s.change(d, n, s.o.Min, fmt.Sprintf("the minimum is %d", s.o.Min))
	case p > s.o.Max:
		return s.change(d, n, s.o.Max, fmt.Sprintf("the maximum is %d", s.o.Max))
	}
	if settled := s.since + s.o.Settle.Microseconds(); sample.At < settled {
		d.Reason = fmt.Sprintf("it runs with %d for %s, and is looked at after %s",
			s.parallelism, ago(sample.At-s.since), s.o.Settle)
		return d
	}
	s.keep(seen{sample.At, n.subtasks, n.rate})
	return s.decide(d, n, sample.At)
}

// changed begins anew with another parallelism.
func (s *Scaler) changed(sample *Sample) {
	if s.parallelism > 0 {
		s.count(sample)
		if sample.Parallelism < s.parallelism {
			s.downAt, s.before = sample.At, step{}
		} else if s.downAt > 0 {
			// Up again. If that is soon, down was wrong.
			if soon := 2 * s.downAfter.Microseconds(); sample.At-s.downAt < soon {
				s.downAfter = min(2*s.downAfter, max(s.o.MaxWait, s.o.DownAfter))
			} else {
				s.downAfter = s.o.DownAfter
			}
			s.downAt = 0
		}
		if sample.Parallelism != s.before.to {
			s.before = step{} // somebody else's
		}
	}
	s.parallelism, s.since = sample.Parallelism, sample.At
	s.window = s.window[:0]
}

// count counts steps up that follow each other: the load is growing.
func (s *Scaler) count(sample *Sample) {
	switch {
	case sample.Parallelism < s.parallelism:
		s.ups = 0
	case s.ups > 0 && sample.At-s.upAt > 2*s.o.DownAfter.Microseconds():
		s.ups = 1
	default:
		s.ups++
	}
	s.upAt = sample.At
}

// keep adds to the window what is seen now, and drops what no decision looks at any more.
func (s *Scaler) keep(now seen) {
	s.window = append(s.window, now)
	old := now.at - max(s.downAfter, s.o.UpAfter).Microseconds()
	drop := max(0, len(s.window)-maxSeen)
	// One older sample stays: it says that the window is full.
	for drop+1 < len(s.window) && s.window[drop+1].at <= old {
		drop++
	}
	s.window = slices.Delete(s.window, 0, drop)
}

// wants are those of the time d before now; full says that there were samples all that time.
func (s *Scaler) wants(now int64, d time.Duration) (wants []int, full bool) {
	from := now - d.Microseconds()
	for i := len(s.window) - 1; i >= 0; i-- {
		if wants = append(wants, s.window[i].want); s.window[i].at <= from {
			return wants, true
		}
	}
	return wants, false
}

func (s *Scaler) decide(d Decision, n need, now int64) Decision {
	p := s.parallelism
	up, upFull := s.wants(now, s.o.UpAfter)
	down, downFull := s.wants(now, s.downAfter)
	worth := max(1, int(s.o.Least*float64(p)+0.5))
	slices.Sort(up)
	switch most := slices.Max(down); {
	case n.subtasks >= p+worth:
		if p == s.o.Max {
			d.Reason = fmt.Sprintf("%s wants %d, and the maximum is %d", n.load, n.subtasks, s.o.Max)
			return d
		}
		if now < s.noUpUntil {
			d.Reason = s.noUpWhy
			return d
		}
		if !upFull || up[0] < p+worth {
			d.Reason = fmt.Sprintf("%s wants %d, but not for %s yet", n.load, n.subtasks, s.o.UpAfter)
			return d
		}
		if b := s.before; b.to == p && n.rate < b.rate*(1+0.2*(float64(b.to)/float64(b.from)-1)) {
			// The last change did not do a fifth of what it should have done.
			s.noUpUntil = now + s.upWait.Microseconds()
			s.noUpWhy = fmt.Sprintf("going from %d to %d has changed %s to %s only: something else holds the job back, "+
				"more subtasks are not tried for %s", b.from, b.to, rate(b.rate), rate(n.rate), s.upWait)
			s.upWait = min(2*s.upWait, max(s.o.MaxWait, s.upWait))
			s.before = step{}
			d.Reason = s.noUpWhy
			return d
		}
		// The middle of what was wanted: a single sample says too much or too little.
		to := max(p+worth, up[len(up)/2])
		why := fmt.Sprintf("%s has wanted %s or more for %s", n.load, subtasks(up[0]), s.o.UpAfter)
		if more := p + (p+3)/4; s.ups >= 2 && more > to {
			to, why = more, why+", and the load goes on growing"
		}
		if to > s.o.Max {
			why += fmt.Sprintf("; the maximum is %d", s.o.Max)
		}
		return s.change(d, n, min(to, s.o.Max), why)
	case n.skewed != "":
		d.Reason = n.skewed
	case n.stuck != "":
		d.Reason = n.stuck
	case n.subtasks > p:
		d.Reason = fmt.Sprintf("%s wants %d, which is not worth a restart", n.load, n.subtasks)
	case n.subtasks == p:
		d.Reason = "it is what is needed"
	case p == s.o.Min:
		d.Reason = fmt.Sprintf("%d would do, and the minimum is %d", n.subtasks, s.o.Min)
	case most > p-worth:
		d.Reason = fmt.Sprintf("%d would do now, and %d were needed within %s", n.subtasks, most, s.downAfter)
		if n.subtasks > p-worth {
			d.Reason = fmt.Sprintf("%d would do, which is not worth a restart", n.subtasks)
		}
	case !downFull:
		d.Reason = fmt.Sprintf("%d would do, but not for %s yet", most, s.downAfter)
	default:
		return s.change(d, n, max(most, s.o.Min), fmt.Sprintf("%s would have been enough for %s", subtasks(most), s.downAfter))
	}
	return d
}

// change decides for a change.
func (s *Scaler) change(d Decision, n need, to int, why string) Decision {
	d.Change, d.Parallelism, d.Reason = true, to, why
	if to > s.parallelism {
		s.before = step{s.parallelism, to, n.rate}
	}
	return d
}

func ago(us int64) time.Duration { return (time.Duration(us) * time.Microsecond).Round(time.Second) }
