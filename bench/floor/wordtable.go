package floor

// wordTable counts words: open addressing with linear probing, at most half
// full, its size a power of two. A count of 0 marks a free slot.
type wordTable struct {
	slots []wordSlot
	used  int
}

type wordSlot struct {
	hash  uint64
	word  string
	count int64
}

func newWordTable() *wordTable { return &wordTable{slots: make([]wordSlot, 1<<12)} }

// The hash is FNV-1a: a multiplication a byte, done while the word is scanned.
const hashStart = 0xcbf29ce484222325

func hashByte(h uint64, c byte) uint64 { return (h ^ uint64(c)) * 0x100000001b3 }

// countAll counts the words of b.
func (t *wordTable) countAll(b []byte) {
	for i := 0; i < len(b); {
		for i < len(b) && space[b[i]] {
			i++
		}
		start, h := i, uint64(hashStart)
		for i < len(b) && !space[b[i]] {
			h = hashByte(h, b[i])
			i++
		}
		if start < i {
			word := b[start:i]
			s := t.find(h, word)
			if s.count == 0 {
				s = t.insert(s, h, string(word))
			}
			s.count++
		}
	}
}

// find returns the word's slot or the free one that it would take.
func (t *wordTable) find(h uint64, word []byte) *wordSlot {
	mask := uint64(len(t.slots) - 1)
	for i := (h ^ h>>32) & mask; ; i = (i + 1) & mask {
		s := &t.slots[i]
		if s.count == 0 || s.hash == h && s.word == string(word) {
			return s
		}
	}
}

// insert puts a word with a count of 0 into the free slot that find returned.
func (t *wordTable) insert(s *wordSlot, h uint64, word string) *wordSlot {
	if t.used++; 2*t.used > len(t.slots) {
		old := t.slots
		t.slots = make([]wordSlot, 2*len(old))
		for i := range old {
			if old[i].count > 0 {
				*t.find(old[i].hash, []byte(old[i].word)) = old[i]
			}
		}
		s = t.find(h, []byte(word))
	}
	s.hash, s.word = h, word
	return s
}

// merge adds the counts of o.
func (t *wordTable) merge(o *wordTable) {
	for i := range o.slots {
		if from := &o.slots[i]; from.count > 0 {
			s := t.find(from.hash, []byte(from.word))
			if s.count == 0 {
				s = t.insert(s, from.hash, from.word)
			}
			s.count += from.count
		}
	}
}

func (t *wordTable) result() (r Result) {
	for i := range t.slots {
		if s := &t.slots[i]; s.count > 0 {
			r.add(Result{Events: s.count, Results: 1, Max: s.count, Check: CheckWord(s.word, s.count)})
		}
	}
	return r
}
