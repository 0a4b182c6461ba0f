package local

import "github.com/weirflow/weir/flow"

// queue is a ring that grows; its length is bounded by the credit.
type queue[T any] struct {
	ring  []item[T]
	head  int
	count int
}

func (q *queue[T]) len() int { return q.count }

func (q *queue[T]) push(it item[T]) {
	if q.count == len(q.ring) {
		ring := make([]item[T], max(8, 2*len(q.ring)))
		for i := range q.count {
			ring[i] = q.ring[(q.head+i)%len(q.ring)]
		}
		q.ring, q.head = ring, 0
	}
	q.ring[(q.head+q.count)%len(q.ring)] = it
	q.count++
}

func (q *queue[T]) pop() item[T] {
	it := q.ring[q.head]
	q.ring[q.head] = item[T]{}
	q.head = (q.head + 1) % len(q.ring)
	q.count--
	return it
}

// at is the item behind i others.
func (q *queue[T]) at(i int) *item[T] { return &q.ring[(q.head+i)%len(q.ring)] }

// lastIs reports whether the last item is a control record of the kind.
func (q *queue[T]) lastIs(k flow.ControlKind) bool {
	if q.count == 0 {
		return false
	}
	it := &q.ring[(q.head+q.count-1)%len(q.ring)]
	return it.batch == nil && it.control.Kind == k
}

// dropLast takes off the last item, which is a control record.
func (q *queue[T]) dropLast() item[T] {
	q.count--
	return q.ring[(q.head+q.count)%len(q.ring)]
}
