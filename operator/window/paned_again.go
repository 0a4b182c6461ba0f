package window

// lateWindows are the windows of the record in hand that are complete, but not
// over.
func (o *paned[K, In, Acc, R]) lateWindows() (first, last int64) {
	return max(o.first, o.over+1), min(o.last, o.complete)
}

// countAgain makes sure, before a late record is added, that its windows' results
// are counted from now on: until then a window had one if it had a pane.
func (o *paned[K, In, Acc, R]) countAgain(s *panes[Acc]) {
	first, last := o.lateWindows()
	for j := first; j <= last; j++ {
		if s.given(j) == nil {
			from, end := o.grid.panes(j)
			n := 0
			if i := search(s.Panes, from); i < len(s.Panes) && s.Panes[i].Number < end {
				n = 1
			}
			s.Again = append(s.Again, given{j, n})
		}
	}
}

func (s *panes[Acc]) given(j int64) *given {
	for i := range s.Again {
		if s.Again[i].Window == j {
			return &s.Again[i]
		}
	}
	return nil
}

// giveAgain gives the results of all complete windows that the late record v is
// in.
func (o *paned[K, In, Acc, R]) giveAgain(s *panes[Acc], k K, v In) {
	o.again.reset()
	first, last := o.lateWindows()
	for j := first; j <= last; j++ {
		acc := &o.scratch
		*acc = o.new()
		from, end := o.grid.panes(j)
		switch {
		case o.cfg.Mode == Discarding:
			o.fold(acc, v)
		case o.lists:
			merged(&o.folder, s.Panes, from, end, acc)
		default:
			o.again.run(&o.folder, s.Panes, from, end, acc)
		}
		g := s.given(j)
		o.result(k, o.grid.window(j), Pane{Index: g.Panes, Timing: Late}, acc)
		g.Panes++
	}
}
