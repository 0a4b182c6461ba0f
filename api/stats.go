package api

import "slices"

// MergeStats makes one JobStats of what a job's executors have answered, in any order.
// Counts, rates, parallelism and sizes are sums, shares are weighted by parallelism, of
// watermarks the least counts, of the busiest the most. An executor that still is at an older attempt is left out: it
// has none of the newest attempt's tasks.
//
// Operators come in the order of whoever names the most of them. A coordinator names all.
func MergeStats(of []JobStats) JobStats {
	var m JobStats
	for i := range of {
		m.Attempt = max(m.Attempt, of[i].Attempt)
	}
	var newest []*JobStats
	for i := range of {
		if of[i].Attempt == m.Attempt {
			newest = append(newest, &of[i])
		}
	}
	slices.SortStableFunc(newest, func(a, b *JobStats) int { return len(b.Operators) - len(a.Operators) })
	m.Operators = []OperatorStats{}
	at := map[string]int{}
	for _, s := range newest {
		m.Job, m.Time, m.Epoch = s.Job, max(m.Time, s.Time), max(m.Epoch, s.Epoch)
		for i := range s.Operators {
			o := &s.Operators[i]
			k, known := at[o.ID]
			if !known {
				k = len(m.Operators)
				at[o.ID] = k
				m.Operators = append(m.Operators, OperatorStats{ID: o.ID, Name: o.Name})
			}
			m.Operators[k].add(o)
		}
	}
	return m
}

// add takes further subtasks in.
func (s *OperatorStats) add(o *OperatorStats) {
	if o.Parallelism == 0 {
		return // none: its watermark is not unknown, there is none to know
	}
	switch {
	case s.Parallelism == 0 && o.Watermark != nil:
		w := *o.Watermark
		s.Watermark = &w
	case o.Watermark == nil:
		s.Watermark = nil
	case s.Watermark != nil:
		*s.Watermark = min(*s.Watermark, *o.Watermark)
	}
	a, b := float64(s.Parallelism), float64(o.Parallelism)
	mean := func(x *float64, y float64) { *x = (*x*a + y*b) / (a + b) }
	mean(&s.Busy, o.Busy)
	mean(&s.Idle, o.Idle)
	mean(&s.Backpressured, o.Backpressured)
	s.Busiest = max(s.Busiest, o.Busiest)
	s.Parallelism += o.Parallelism
	s.RecordsIn += o.RecordsIn
	s.RecordsOut += o.RecordsOut
	s.RateIn += o.RateIn
	s.RateOut += o.RateOut
	s.StateBytes += o.StateBytes
}
