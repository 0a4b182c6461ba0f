package async

import "github.com/weirflow/weir/flow"

// order decides what leaves when. It is told of records, watermarks and finished
// records in the order in which they come.
type order[E any] interface {
	// add takes in a record.
	add(t *ticket[E])
	// mark takes in a watermark.
	mark(at flow.Time)
	// finish tells that a record could leave now.
	finish(t *ticket[E])
	// next removes what leaves next: a record; or a watermark, with a nil record;
	// or nothing, with ok false.
	next() (t *ticket[E], at flow.Time, ok bool)
	// empty reports whether nothing is inside, not even a watermark.
	empty() bool
}

// ticket is a record inside an operator.
type ticket[E any] struct {
	entry   E
	done    bool        // for ordered
	segment *segment[E] // for unordered
	// older and newer are its neighbours among all that is inside.
	older, newer *ticket[E]
}

// fifo is a queue that keeps its memory.
type fifo[T any] struct {
	items []T
	head  int
}

func (q *fifo[T]) len() int { return len(q.items) - q.head }
func (q *fifo[T]) push(v T) { q.items = append(q.items, v) }
func (q *fifo[T]) peek() *T { return &q.items[q.head] }
func (q *fifo[T]) last() *T { return &q.items[len(q.items)-1] }

func (q *fifo[T]) pop() (v T) {
	var zero T
	v, q.items[q.head] = q.items[q.head], zero
	q.head++
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	} else if q.head >= 64 && q.head > len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	return v
}

// ordered lets records leave as they came.
type ordered[E any] struct{ q fifo[place[E]] }

// place is a record's, or a watermark's where the record is nil.
type place[E any] struct {
	t  *ticket[E]
	at flow.Time
}

func (o *ordered[E]) add(t *ticket[E]) { t.done = false; o.q.push(place[E]{t: t}) }

func (o *ordered[E]) mark(at flow.Time) {
	if o.q.len() > 0 && o.q.last().t == nil {
		o.q.last().at = at
		return
	}
	o.q.push(place[E]{at: at})
}

func (o *ordered[E]) finish(t *ticket[E]) { t.done = true }

func (o *ordered[E]) next() (*ticket[E], flow.Time, bool) {
	if o.q.len() == 0 {
		return nil, 0, false
	}
	if p := o.q.peek(); p.t != nil && !p.t.done {
		return nil, 0, false
	}
	p := o.q.pop()
	return p.t, p.at, true
}

func (o *ordered[E]) empty() bool { return o.q.len() == 0 }

// unordered lets the records between two watermarks leave as they are finished.
type unordered[E any] struct{ q fifo[*segment[E]] }

// segment is the records up to a watermark. Only the last segment has none.
type segment[E any] struct {
	open   int // records that are not finished
	ready  fifo[*ticket[E]]
	at     flow.Time
	marked bool
}

func (o *unordered[E]) add(t *ticket[E]) {
	if o.q.len() == 0 || (*o.q.last()).marked {
		o.q.push(&segment[E]{})
	}
	t.segment = *o.q.last()
	t.segment.open++
}

func (o *unordered[E]) mark(at flow.Time) {
	if o.q.len() == 0 {
		o.q.push(&segment[E]{})
	}
	s := *o.q.last()
	s.at, s.marked = at, true
}

func (o *unordered[E]) finish(t *ticket[E]) {
	s := t.segment
	t.segment = nil
	s.open--
	s.ready.push(t)
}

func (o *unordered[E]) next() (*ticket[E], flow.Time, bool) {
	if o.q.len() == 0 {
		return nil, 0, false
	}
	s := *o.q.peek()
	switch {
	case s.ready.len() > 0:
		return s.ready.pop(), 0, true
	case s.open == 0 && s.marked:
		o.q.pop()
		return nil, s.at, true
	}
	return nil, 0, false
}

func (o *unordered[E]) empty() bool {
	if o.q.len() == 0 {
		return true
	}
	s := *o.q.peek()
	return !s.marked && s.open == 0 && s.ready.len() == 0
}
