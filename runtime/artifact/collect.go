package artifact

import (
	"errors"
	"fmt"
	"os"
	"slices"
)

// Delete removes a program. One that is pinned stays, with ErrInUse.
func (s *Store) Delete(h Hash) error {
	if err := s.remove(h, func(*entry) bool { return s.mu.pins[h] == 0 }); err != nil {
		return fmt.Errorf("artifact: delete %v: %w", h, err)
	}
	return nil
}

// GC removes the programs that were not used for the longest time until the rest fits
// the budget, and returns what it removed.
func (s *Store) GC() ([]Hash, error) {
	removed, err := s.collect(Hash{}, 0)
	if err != nil {
		return removed, fmt.Errorf("artifact: collect programs: %w", err)
	}
	return removed, nil
}

// makeRoom collects until size more bytes fit, which are to be those of h, and keeps
// their room until leave is called.
func (s *Store) makeRoom(h Hash, size int64) (leave func(), err error) {
	if _, err := s.collect(h, size); err != nil {
		return nil, fmt.Errorf("make room: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	others := s.mu.total + s.mu.coming
	if e := s.mu.entries[h]; e != nil {
		others -= e.size
	}
	if others+size > s.o.Budget {
		return nil, fmt.Errorf("%w: %d bytes beside %d that are in use, wanted or younger than %v are above the budget of %d bytes",
			ErrNoRoom, size, others, s.o.Keep, s.o.Budget)
	}
	s.mu.coming += size
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.mu.coming -= size
	}, nil
}

// collectableLocked reports whether a program is neither pinned, nor wanted, nor young.
func (s *Store) collectableLocked(h Hash, e *entry) bool {
	return s.mu.pins[h] == 0 && !s.mu.wanted[h] && s.o.testing.now().Sub(e.used) > s.o.Keep
}

func (s *Store) collect(but Hash, more int64) (removed []Hash, err error) {
	s.mu.Lock()
	excess := s.mu.total + s.mu.coming + more - s.o.Budget
	if e := s.mu.entries[but]; e != nil {
		excess -= e.size
	}
	var old []Hash
	if excess > 0 {
		for h, e := range s.mu.entries {
			if h != but && s.collectableLocked(h, e) {
				old = append(old, h)
			}
		}
		slices.SortFunc(old, func(a, b Hash) int {
			if c := s.mu.entries[a].used.Compare(s.mu.entries[b].used); c != 0 {
				return c
			}
			return slices.Compare(a[:], b[:])
		})
	}
	s.mu.Unlock()
	for _, h := range old {
		if excess <= 0 {
			break
		}
		var size int64
		err := s.remove(h, func(e *entry) bool { size = e.size; return s.collectableLocked(h, e) })
		switch {
		case errors.Is(err, ErrInUse), errors.Is(err, ErrNotFound): // used or removed meanwhile
		case err != nil:
			return removed, err
		default:
			removed = append(removed, h)
			excess -= size
		}
	}
	return removed, nil
}

// remove takes a program away if may, which is asked under the lock, allows it.
func (s *Store) remove(h Hash, may func(*entry) bool) error {
	s.files.Lock()
	defer s.files.Unlock()
	s.mu.Lock()
	e := s.mu.entries[h]
	free := e != nil && may(e)
	if free {
		delete(s.mu.entries, h)
		s.mu.total -= e.size
	}
	s.mu.Unlock()
	if e == nil {
		return ErrNotFound
	}
	if !free {
		return ErrInUse
	}
	if err := s.o.FS.Remove(s.path(h)); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.mu.entries[h] = e
		s.mu.total += e.size
		return err
	}
	return nil
}
