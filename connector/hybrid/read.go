package hybrid

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/weirflow/weir/operator"
)

// reader has a reader for each phase that it has splits of: one, but for the
// moment of a switch.
type reader[T any] struct {
	source *Source[T]
	ctx    *operator.ReaderContext
	phases map[int]*phase[T]
	now    *phase[T] // the one that was read last
}

// phase is a phase in reading.
type phase[T any] struct {
	number int
	inner  operator.Reader[T]
	single bool              // it wants one split at a time
	held   map[string]string // the splits that inner has, with their ids of ours
	// waiting are splits, by our ids, that inner has not been given.
	waiting []operator.Split
	paused  map[string]bool // those of waiting, by our ids
}

func (r *reader[T]) Add(s operator.Split) error {
	number, _, err := parseID(s.ID)
	if err != nil {
		return err
	}
	p := r.phases[number]
	if p == nil {
		if p, err = r.enter(number); err != nil {
			return err
		}
	}
	p.waiting = append(p.waiting, s)
	return p.feed()
}

// enter makes the reader of a phase, and closes those of phases before it.
func (r *reader[T]) enter(number int) (*phase[T], error) {
	for n, p := range r.phases {
		if n >= number || len(p.held)+len(p.waiting) > 0 {
			continue
		}
		delete(r.phases, n)
		if r.now == p {
			r.now = nil
		}
		if err := p.inner.Close(); err != nil {
			return nil, fmt.Errorf("hybrid: closing phase %d: %w", n, err)
		}
	}
	src, err := r.source.source(r.ctx.Context, number)
	if err != nil {
		return nil, err
	}
	inner, err := src.Reader(r.ctx)
	if err != nil {
		return nil, fmt.Errorf("hybrid: phase %d: %w", number, err)
	}
	p := &phase[T]{
		number: number, inner: inner, single: src.Info().Assign == operator.AssignOnDemand,
		held: map[string]string{}, paused: map[string]bool{},
	}
	r.phases[number] = p
	return p, nil
}

// feed gives waiting splits to inner, as many as it wants.
func (p *phase[T]) feed() error {
	for len(p.waiting) > 0 && (!p.single || len(p.held) == 0) {
		s := p.waiting[0]
		ours := s.ID
		_, id, err := parseID(ours)
		if err != nil {
			return err
		}
		s.ID = id
		if err := p.inner.Add(s); err != nil {
			return fmt.Errorf("hybrid: phase %d: %w", p.number, err)
		}
		p.waiting = p.waiting[1:]
		p.held[id] = ours
		if p.paused[ours] {
			delete(p.paused, ours)
			p.inner.Pause(id, true)
		}
	}
	return nil
}

func (r *reader[T]) Read(into *operator.Records[T], limit int) (operator.Status, error) {
	var p *phase[T]
	for _, other := range r.phases {
		if len(other.held) > 0 && (p == nil || other.number < p.number) {
			p = other
		}
	}
	if p == nil {
		return operator.WaitForWake, nil
	}
	r.now = p
	status, err := p.inner.Read(into, limit)
	if err != nil {
		return status, fmt.Errorf("hybrid: phase %d: %w", p.number, err)
	}
	id := into.Split
	ours, ok := p.held[id]
	if ok {
		into.Split = ours
	}
	if ok && into.Done {
		delete(p.held, id)
		if len(p.waiting) > 0 {
			status = operator.More
			err = p.feed()
		}
	}
	return status, err
}

func (r *reader[T]) Where() string {
	if r.now == nil {
		return "between phases"
	}
	return fmt.Sprintf("phase %d, %s", r.now.number, r.now.inner.Where())
}

func (r *reader[T]) Snapshot() ([]operator.Split, error) {
	var all []operator.Split
	for _, number := range slices.Sorted(maps.Keys(r.phases)) {
		p := r.phases[number]
		splits, err := p.inner.Snapshot()
		if err != nil {
			return nil, fmt.Errorf("hybrid: phase %d: %w", number, err)
		}
		for _, s := range splits {
			s.ID = splitID(number, s.ID)
			all = append(all, s)
		}
		all = append(all, p.waiting...)
	}
	return all, nil
}

func (r *reader[T]) Pause(split string, paused bool) {
	number, id, err := parseID(split)
	if err != nil {
		return
	}
	p := r.phases[number]
	switch {
	case p == nil:
	case p.held[id] != "":
		p.inner.Pause(id, paused)
	case paused:
		p.paused[split] = true
	default:
		delete(p.paused, split)
	}
}

func (r *reader[T]) Close() error {
	var errs []error
	for _, p := range r.phases {
		errs = append(errs, p.inner.Close())
	}
	return errors.Join(errs...)
}
