package state

// grow makes room in s, the segment of place p.
func (t *table[K, N, V]) grow(p uint64, s *segment[K, N, V]) {
	if len(s.slots) < maxSlots || s.depth >= maxDepth {
		t.resize(s, p, 2*len(s.slots))
		return
	}
	if 1<<s.depth == len(t.dir) {
		dir := make([]*segment[K, N, V], 2*len(t.dir))
		for i, s := range t.dir {
			dir[2*i], dir[2*i+1] = s, s
		}
		t.dir = dir
		t.shift--
	}
	low := t.newSegment(len(s.slots), s.depth+1)
	high := t.newSegment(len(s.slots), s.depth+1)
	s.moveTo(t, low, high)
	t.bytes += low.bytes() + high.bytes() - s.bytes()
	first, span := t.covers(p, s)
	for i := range span / 2 {
		t.dir[first+i] = low
		t.dir[first+span/2+i] = high
	}
}

// resize gives the segment of place p another size.
func (t *table[K, N, V]) resize(s *segment[K, N, V], p uint64, size int) {
	to := t.newSegment(size, s.depth)
	s.moveTo(t, to, to)
	t.bytes += to.bytes() - s.bytes()
	first, span := t.covers(p, s)
	for i := range span {
		t.dir[first+i] = to
	}
}

// covers is the part of the directory that leads to s.
func (t *table[K, N, V]) covers(p uint64, s *segment[K, N, V]) (first, span uint64) {
	span = uint64(len(t.dir)) >> s.depth
	return p >> 1 >> t.shift &^ (span - 1), span
}

// moveTo copies all entries to low or high, as the first bit that they do not
// share says.
func (s *segment[K, N, V]) moveTo(t *table[K, N, V], low, high *segment[K, N, V]) {
	for i := range s.slots {
		if s.tags[i] == 0 {
			continue
		}
		h := t.hashAt(s, uint64(i))
		p := t.place(h, s.slots[i].n)
		to := low
		if p<<s.depth>>63 != 0 {
			to = high
		}
		j := to.add(p, h)
		to.slots[j] = s.slots[i]
		if s.marks != nil {
			to.marks[j] = s.marks[i]
		}
	}
	low.drained, high.drained = s.drained, s.drained
	if t.pages != nil && t.pages.seg == s {
		t.pages.seg = nil // what is left of it is found in low and high
	}
}

// trim gives back memory that has not been needed since the last call: segments
// of which less than an eighth was in use at any time shrink. Doing it here and
// not in remove keeps a table of windows, full and empty in turn, from being
// built up anew for each window.
func (t *table[K, N, V]) trim() {
	for i := 0; i < len(t.dir); i += len(t.dir) >> t.dir[i].depth {
		t.trimOne(i)
	}
}

// trimOne does it for the segment at index i of the directory.
func (t *table[K, N, V]) trimOne(i int) {
	s := t.dir[i]
	size := len(s.slots)
	for size > minSlots && max(s.peak, s.used) < size/8 {
		size /= 2
	}
	s.peak = s.used
	if t.pages != nil && t.pages.hidden > 0 {
		for _, m := range s.marks {
			if m&gone != 0 {
				s.peak-- // it is gone by the next time
			}
		}
	}
	if size < len(s.slots) {
		t.resize(s, uint64(i)<<1<<t.shift, size)
	}
}
