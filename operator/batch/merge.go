package batch

import (
	"bufio"
	"bytes"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirflow/weir/shuffle/spill"
)

// source gives entries in order.
type source interface {
	// next moves to the next entry, which is valid until the call after; false at the end.
	next(e *entry) (bool, error)
	close() error
}

// memorySource gives the entries of a sorted arena. They lie all over the memory: what
// comes next is touched some entries at a time, so that the processor waits for many
// of them at once and not for each.
type memorySource struct {
	arena *arena
	at    int
	sum   byte // of what was touched: a use for it
}

// touched is how many entries are touched at a time.
const touched = 32

func (s *memorySource) touch() {
	refs := s.arena.refs[s.at:]
	for _, r := range refs[:min(len(refs), touched)] {
		c := s.arena.chunks[r.at>>32]
		at := int(uint32(r.at))
		s.sum += c[at] + c[min(at+64, len(c)-1)]
	}
}

func (s *memorySource) next(e *entry) (bool, error) {
	if s.at == len(s.arena.refs) {
		return false, nil
	}
	if s.at%touched == 0 {
		s.touch()
	}
	s.at++
	return true, e.parse(s.arena.at(s.arena.refs[s.at-1]))
}

func (s *memorySource) close() error { return nil }

// runSource gives the entries of a run.
type runSource struct {
	file    vfs.File
	blocks  *spill.BlockReader
	rest    []byte
	records int64
}

func openRun(fs vfs.FS, path string) (*runSource, error) {
	f, err := fs.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return nil, fmt.Errorf("operator/batch: opening a run: %w", err)
	}
	return &runSource{file: f, blocks: spill.NewBlockReader(bufio.NewReaderSize(f, 4<<10))}, nil
}

func (s *runSource) next(e *entry) (bool, error) {
	if len(s.rest) == 0 {
		body, records, err := s.blocks.Next()
		if err != nil {
			return false, fmt.Errorf("operator/batch: reading a run: %w", err)
		}
		if body == nil {
			if records != s.records {
				return false, fmt.Errorf("operator/batch: %w: a run of %d records has %d", spill.ErrCorrupt, records, s.records)
			}
			return false, nil
		}
		s.rest = body
	}
	if err := e.parse(s.rest); err != nil {
		return false, err
	}
	s.rest = s.rest[len(e.all):]
	s.records++
	return true, nil
}

func (s *runSource) close() error { return s.file.Close() }

// merger merges sources by a tree of losers: each inner node keeps who has lost there,
// so that the next winner is found by one comparison for each level.
type merger struct {
	sources []source
	heads   []entry
	ended   []bool
	losers  []int // losers[0] is the winner
	begun   bool
}

func newMerger(sources []source) *merger {
	return &merger{sources: sources, heads: make([]entry, len(sources)), ended: make([]bool, len(sources)), losers: make([]int, len(sources))}
}

// less reports whether source i comes before source j: of equal keys, the source
// that stands first has the records that came first.
func (m *merger) less(i, j int) bool {
	if m.ended[i] || m.ended[j] {
		return !m.ended[i] && (m.ended[j] || i < j)
	}
	x, y := &m.heads[i], &m.heads[j]
	if x.prefix != y.prefix {
		return x.prefix < y.prefix
	}
	if c := bytes.Compare(x.key, y.key); c != 0 {
		return c < 0
	}
	return i < j
}

func (m *merger) advance(i int) error {
	ok, err := m.sources[i].next(&m.heads[i])
	m.ended[i] = !ok
	return err
}

// begin plays all matches.
func (m *merger) begin() error {
	m.begun = true
	n := len(m.sources)
	winners := make([]int, 2*n)
	for i := range n {
		if err := m.advance(i); err != nil {
			return err
		}
		winners[n+i] = i
	}
	for at := n - 1; at > 0; at-- {
		a, b := winners[2*at], winners[2*at+1]
		if m.less(b, a) {
			a, b = b, a
		}
		winners[at], m.losers[at] = a, b
	}
	if n > 1 {
		m.losers[0] = winners[1]
	}
	return nil
}

// next is the next entry of all, valid until the next call; nil at the end.
func (m *merger) next() (*entry, error) {
	n := len(m.sources)
	if n == 0 {
		return nil, nil
	}
	if !m.begun {
		if err := m.begin(); err != nil {
			return nil, err
		}
	} else {
		w := m.losers[0]
		if m.ended[w] {
			return nil, nil
		}
		if err := m.advance(w); err != nil {
			return nil, err
		}
		for at := (n + w) / 2; at > 0; at /= 2 {
			if l := m.losers[at]; m.less(l, w) {
				w, m.losers[at] = l, w
			}
		}
		m.losers[0] = w
	}
	if w := m.losers[0]; !m.ended[w] {
		return &m.heads[w], nil
	}
	return nil, nil
}

func (m *merger) close() (err error) {
	for _, s := range m.sources {
		if e := s.close(); e != nil && err == nil {
			err = fmt.Errorf("operator/batch: closing a run: %w", e)
		}
	}
	m.sources = nil
	return err
}
