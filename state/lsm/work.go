package lsm

import (
	"context"
	"errors"
	"fmt"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/state"
)

// mostSublevels is how many layers of young tables there may be, through all of which
// a lookup must go, before the store waits for compaction.
const mostSublevels = 24

// job is a cut on its way to disk.
type job struct {
	parts chan *part // closed when the cut is drained
	paged []state.Paged
	snap  *snapshot // nil if the cut is only to make room
	done  chan struct{}
	err   error // once done
}

// run is the store's goroutine: it writes cuts, one after the other.
func (s *Store) run() {
	for j := range s.work {
		j.err = s.guarded(func() error { return s.write(j) })
		if j.err != nil {
			s.fail(s.wrap("writing changed entries", j.err))
			for range j.parts { // until the task has drained it
			}
		}
		close(j.done)
		if f := s.notify.Load(); f != nil {
			(*f)()
		}
	}
}

// write writes a cut, and takes its snapshot.
func (s *Store) write(j *job) error {
	for p := range j.parts {
		if err := s.writePart(p, false); err != nil {
			return err
		}
		p.reset()
		select {
		case s.spare <- p:
		default:
		}
	}
	select {
	case <-s.closing:
		return ErrClosed
	default:
	}
	if s.failed() {
		return s.Err() // not all of the cut may have been put
	}
	if j.snap != nil {
		return j.snap.take()
	}
	return nil
}

// writePart sorts a part and writes it. With unique, an entry may not be there twice;
// otherwise the later one counts.
func (s *Store) writePart(p *part, unique bool) error {
	if err := s.admit(); err != nil {
		return err
	}
	p.sort(s.opts.KeyGroups.Len())
	t := &tables{s: s}
	for i, r := range p.refs {
		key, value := p.entry(r)
		if i+1 < len(p.refs) && p.same(r, p.refs[i+1]) {
			if unique {
				t.discard()
				return fmt.Errorf("%w: %w", state.ErrCorrupt, errTwice)
			}
			continue
		}
		if err := t.add(flow.KeyGroup(r.group), r.id, key, value); err != nil {
			t.discard()
			return err
		}
	}
	err := t.finish(context.Background())
	s.compact()
	return err
}

// compact lets compactions begin, and those that were refused before.
func (s *Store) compact() {
	if c, ok := s.dbOpts.Experimental.CompactionScheduler.(*compactions); ok {
		c.allow()
	}
}

// admit waits while compaction lags behind: tables that are ingested are not slowed
// down by Pebble.
func (s *Store) admit() error {
	for {
		select {
		case <-s.closing:
			return ErrClosed
		default:
		}
		if int(s.db.Metrics().Levels[0].Sublevels) <= mostSublevels {
			return nil
		}
		select {
		case <-s.compacted:
		case <-s.closing:
			return ErrClosed
		}
		if s.failed() {
			return errors.Join(errors.New("waiting for compaction"), s.Err())
		}
	}
}
