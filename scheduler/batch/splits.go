package batch

import (
	"fmt"
	"strings"
)

// Deal is what a subtask of a source is to be told: splits to read, or that none will
// come.
type Deal struct {
	Subtask int
	Splits  []string
	End     bool
}

// String is for scripts.
func (d Deal) String() string {
	if d.End {
		return fmt.Sprintf("%d gets no more", d.Subtask)
	}
	return fmt.Sprintf("%d gets %s", d.Subtask, strings.Join(d.Splits, " "))
}

// Splits deals the splits of one source out to its subtasks, each of which may run
// several times: what one had once stays its own.
type Splits struct {
	// spread gives each subtask its share at once; otherwise a subtask gets a split when it
	// asks for one.
	spread bool
	seen   map[string]bool
	queue  []string
	next   int // subtask whose turn it is
	done   bool
	reader []reader
}

// reader is a subtask.
type reader struct {
	own    []string
	given  int  // of own, to the present attempt
	live   bool // it runs
	asks   bool
	ended  bool // the present attempt was told that none will come
	closed bool // an attempt has finished: own is all that it reads
}

// NewSplits makes those of a source.
func NewSplits(parallelism int, spread bool) *Splits {
	return &Splits{spread: spread, seen: map[string]bool{}, reader: make([]reader, parallelism)}
}

// Found adds splits; those that are known are passed over.
func (s *Splits) Found(ids ...string) []Deal {
	if s.done {
		return nil
	}
	for _, id := range ids {
		if s.seen[id] {
			continue
		}
		s.seen[id] = true
		if !s.spread {
			s.queue = append(s.queue, id)
			continue
		}
		r := &s.reader[s.next]
		r.own = append(r.own, id)
		s.next = (s.next + 1) % len(s.reader)
	}
	return s.deal()
}

// NoMore says that no other splits will be found.
func (s *Splits) NoMore() []Deal {
	s.done = true
	return s.deal()
}

// Stop forgets what nobody has yet.
func (s *Splits) Stop() []Deal {
	s.queue = nil
	return s.NoMore()
}

// Begin says that an attempt of a subtask runs. It starts at the beginning.
func (s *Splits) Begin(subtask int) []Deal {
	r := &s.reader[subtask]
	r.given, r.live, r.asks, r.ended = 0, true, false, false
	return s.deal()
}

// Ask says that a subtask wants a split.
func (s *Splits) Ask(subtask int) []Deal {
	s.reader[subtask].asks = true
	return s.deal()
}

// Gone says that the attempt of a subtask has ended, and whether in order.
func (s *Splits) Gone(subtask int, finished bool) {
	r := &s.reader[subtask]
	r.live = false
	r.closed = r.closed || finished
}

// Starved reports whether a subtask that has asked has to wait.
func (s *Splits) Starved(subtask int) bool {
	r := &s.reader[subtask]
	return r.live && r.asks && !r.ended
}

func (s *Splits) deal() (deals []Deal) {
	for n := range s.reader {
		r := &s.reader[n]
		if !r.live || r.ended {
			continue
		}
		var give []string
		switch {
		case s.spread:
			give = r.own[r.given:]
		case !r.asks:
		case r.given < len(r.own):
			give = r.own[r.given : r.given+1]
		case len(s.queue) > 0 && !r.closed:
			r.own = append(r.own, s.queue[0])
			s.queue = s.queue[1:]
			give = r.own[r.given:]
		}
		if len(give) > 0 {
			r.given += len(give)
			r.asks = false
			deals = append(deals, Deal{Subtask: n, Splits: give})
			if !s.spread {
				continue
			}
		}
		if r.given == len(r.own) && (r.closed || s.done && len(s.queue) == 0) && (s.spread || r.asks) {
			r.ended = true
			deals = append(deals, Deal{Subtask: n, End: true})
		}
	}
	return deals
}
