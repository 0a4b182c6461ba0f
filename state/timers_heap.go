package state

// The heap is 4-ary: half as deep as a binary one, and the four children that
// are compared stand in one cache line. No two entries have the same time.

func (t *Timers[K, N]) push(d due) {
	t.heap = append(t.heap, d)
	h := t.heap
	i := len(h) - 1
	for i > 0 {
		up := (i - 1) / 4
		if h[up].at <= d.at {
			break
		}
		h[i] = h[up]
		i = up
	}
	h[i] = d
}

// dropTop removes the first list from the heap and forgets it.
func (t *Timers[K, N]) dropTop() {
	t.releaseList(t.heap[0].list)
	last := len(t.heap) - 1
	t.heap[0] = t.heap[last]
	t.heap = t.heap[:last]
	if last > 0 {
		t.down(0)
	}
}

func (t *Timers[K, N]) down(i int) {
	h := t.heap
	d := h[i]
	for {
		first := 4*i + 1
		if first >= len(h) {
			break
		}
		least := first
		for j := first + 1; j < min(first+4, len(h)); j++ {
			if h[j].at < h[least].at {
				least = j
			}
		}
		if h[least].at >= d.at {
			break
		}
		h[i] = h[least]
		i = least
	}
	h[i] = d
}

// sweep removes all empty lists from the heap.
func (t *Timers[K, N]) sweep() {
	kept := t.heap[:0]
	for _, d := range t.heap {
		if t.lists[d.list].head == none {
			t.releaseList(d.list)
		} else {
			kept = append(kept, d)
		}
	}
	t.heap = kept
	t.empty = 0
	for i := (len(kept) - 2) / 4; i >= 0; i-- {
		if i < len(kept) {
			t.down(i)
		}
	}
}
