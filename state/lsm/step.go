package lsm

import (
	"fmt"
	"time"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/state"
)

const (
	// drainLeast is how many entries one Step drains at least: some tens of
	// microseconds.
	drainLeast = 256
	drainMost  = 8192
	// drainTime is how long the draining of a cut should take, if Step is called that
	// often.
	drainTime = 250 * time.Millisecond
	// evictPiece is how many bytes one Step lets go of at least.
	evictPiece = 64 << 10
)

// pace says how much a Step drains: as fast as entries change and a bit more, or the
// cut would not end before the next barrier when the task has much to do; and so fast
// that it takes no longer than drainTime.
type pace struct {
	leaving int // entries of the cut
	changed int // at the last Step
	last    time.Time
}

func (p *pace) next(changed int, now time.Time) int {
	n := max(drainLeast, 2*(changed-p.changed))
	n = max(n, int(float64(p.leaving)*float64(now.Sub(p.last))/float64(drainTime)))
	p.changed, p.last = changed, now
	return min(n, drainMost)
}

// Step does a piece of draining and of sweeping what has expired, and keeps the
// memory within its bounds. It waits for
// the disk if the task changes entries faster than they are written.
func (s *Store) Step() (more bool) {
	if s.failed() || s.db == nil {
		return false
	}
	s.settle()
	swept := s.sweeps.Step()
	changed := s.changed()
	if s.filling != nil {
		more = !s.drain(s.pace.next(changed, time.Now()))
	}
	return s.balance(changed) || more || swept
}

// changed is the number of entries that have changed since the last cut.
func (s *Store) changed() (n int) {
	for _, h := range s.states {
		if h.paged != nil {
			n += h.paged.Changed()
		}
	}
	return n
}

// balance begins a flush when there is much to write, and lets go of what does not fit.
func (s *Store) balance(changed int) (more bool) {
	unwritten, budget := int64(float64(changed)*s.entrySize), s.env.cutBudget()
	switch {
	case unwritten > 2*budget && len(s.jobs) > 0:
		s.catchUp(0)
		s.relieved(s.flush())
	case unwritten > budget && len(s.jobs) == 0: // so that a barrier has never to wait for the disk
		s.relieved(s.flush())
	}
	over := s.over()
	if over <= 0 {
		return false
	}
	if s.evict(max(over/8, evictPiece)) > 0 {
		return s.over() > 0
	}
	// All that is left is changed.
	switch {
	case len(s.jobs) == 0 && changed > 0:
		s.relieved(s.flush())
	case len(s.jobs) > 0 && over > s.env.share(s.env.tableBudget())/4:
		s.catchUp(0)
	}
	return false
}

func (s *Store) relieved(err error) {
	if err != nil {
		s.fail(err)
	}
}

// over is how many bytes the tables take too much of memory, as far as it is for this
// store to give way.
func (s *Store) over() int64 {
	mine, all := s.count()
	budget := s.env.tableBudget()
	return min(all-budget, mine-s.env.share(budget))
}

// evict lets go of about n bytes of tables.
func (s *Store) evict(n int64) (freed int64) {
	for _, h := range s.states {
		if h.paged != nil && freed < n {
			freed += h.paged.Evict(n - freed)
		}
	}
	return freed
}

// relieve is a Step for work that is done in one go, such as rewriting a state: it
// waits until there is room.
func (s *Store) relieve() error {
	if int64(float64(s.changed())*s.entrySize) > s.env.cutBudget() || s.over() > 0 && s.evict(s.over()) == 0 {
		if err := s.flush(); err != nil {
			return err
		}
		s.catchUp(0)
		s.evict(s.over())
	}
	return s.Err()
}

// Freeze makes a cut for a snapshot.
func (s *Store) Freeze(form state.Form) (state.Snapshot, error) {
	if err := s.Err(); err != nil {
		return nil, err
	}
	if form != state.FormPortable && form != state.FormLSM {
		return nil, fmt.Errorf("state/lsm: a snapshot of the form %s is asked for", form)
	}
	if err := s.open(); err != nil {
		return nil, s.fail(s.wrap("opening the database", err))
	}
	if z := s.snap; z != nil {
		if s.filling == z.job {
			s.drainAll()
		}
		<-z.over
	}
	z := s.newSnapshot(form)
	if err := s.cut(z); err != nil {
		return nil, s.fail(err)
	}
	s.snap = z
	return z, nil
}

// cut freezes all states for a snapshot. If they are being flushed that becomes part of the
// cut: nothing is put and nothing waited for here.
func (s *Store) cut(z *snapshot) error {
	j, join := s.filling, s.filling != nil && s.filling.snap == nil
	if !join {
		var err error
		if j, err = s.newJob(); err != nil {
			return err
		}
	}
	j.snap, z.job = z, j
	s.begin(j, func(p state.Paged, put state.Put) { p.Cut(put, join) })
	if !join {
		s.work <- j
	}
	return nil
}

// flush begins to write what has changed, to make room.
func (s *Store) flush() error {
	j, err := s.newJob()
	if err != nil {
		return err
	}
	s.begin(j, func(p state.Paged, put state.Put) { p.Flush(put) })
	s.work <- j
	return nil
}

// newJob is a job, once no more than one other has not settled.
func (s *Store) newJob() (*job, error) {
	s.drainAll()
	s.catchUp(1)
	if err := s.Err(); err != nil {
		return nil, err
	}
	j := &job{parts: make(chan *part, 1<<10), done: make(chan struct{})}
	s.jobs = append(s.jobs, j)
	return j, nil
}

// begin has all states put what has changed into j.
func (s *Store) begin(j *job, how func(state.Paged, state.Put)) {
	s.pace = pace{leaving: s.changed(), last: time.Now()}
	j.paged = j.paged[:0]
	for _, h := range s.states {
		if h.paged != nil {
			how(h.paged, s.putter(h))
			j.paged = append(j.paged, h.paged)
		}
	}
	s.filling, s.drainAt = j, 0
}

// putter takes the entries of a state.
func (s *Store) putter(h *held) state.Put {
	id, groups := h.id, s.opts.KeyGroups
	return func(g flow.KeyGroup, key, value []byte) {
		if !groups.Contains(g) {
			s.fail(fmt.Errorf("%s holds a key of key group %d, but its task owns %s: its records were not sent by key, "+
				"or the hash is not that of flow/keyhash", h.stored.Descriptor, g, groups))
			return
		}
		if s.part == nil {
			s.part = s.newPart()
		}
		s.part.add(g, id, key, value)
		if s.part.full() {
			s.seal()
		}
	}
}

func (s *Store) newPart() *part {
	select {
	case p := <-s.spare:
		return p
	default:
		return &part{first: s.opts.KeyGroups.First}
	}
}

// seal hands a part over to be written.
func (s *Store) seal() {
	if p := s.part; p != nil {
		s.entrySize += (float64(p.size)/float64(len(p.refs)) - s.entrySize) / 4
		s.filling.parts <- p
		s.part = nil
	}
}

// drain drains about n entries; done when nothing is left of the cut.
func (s *Store) drain(n int) (done bool) {
	for j := s.filling; s.drainAt < len(j.paged); s.drainAt++ {
		if !j.paged[s.drainAt].Drain(n) {
			return false
		}
	}
	s.seal()
	close(s.filling.parts)
	s.filling = nil
	return true
}

func (s *Store) drainAll() {
	for s.filling != nil {
		if s.failed() { // a value that cannot be encoded stops its state for good
			close(s.filling.parts)
			s.filling = nil
			return
		}
		s.drain(1 << 16)
	}
}

// settle tells the states which cuts are on disk.
func (s *Store) settle() {
	for len(s.jobs) > 0 {
		select {
		case <-s.jobs[0].done:
			s.settleFirst()
		default:
			return
		}
	}
}

// catchUp waits until at most n cuts have not settled.
func (s *Store) catchUp(n int) {
	if len(s.jobs) > n {
		if n == 0 {
			s.drainAll()
		}
		for len(s.jobs) > n {
			<-s.jobs[0].done
			s.settleFirst()
		}
	}
}

func (s *Store) settleFirst() {
	j := s.jobs[0]
	s.jobs = s.jobs[1:]
	if j.err != nil || s.failed() {
		return // the store is good for nothing but Close
	}
	for _, p := range j.paged {
		p.Settled()
	}
}

// Notify sets what is called when Step has something to do again.
func (s *Store) Notify(f func()) { s.notify.Store(&f) }
