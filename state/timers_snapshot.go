package state

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/weirflow/weir/flow"
)

// timeSize is how many bytes of an entry's key are its time: first, and so that
// entries stand in the order of their times.
const timeSize = 8

// appendTimer is the key of a timer's entry.
func appendTimer[K, N comparable](f *format[K, N, uint64], dst []byte, at flow.Time, k *K, n *N) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(at)^1<<63)
	return f.appendKey(dst, k, n)
}

// timeOf is the time in the key of a timer's entry.
func timeOf(key []byte) flow.Time { return flow.Time(binary.BigEndian.Uint64(key) ^ 1<<63) }

// decodeTimer reads what appendTimer wrote.
func decodeTimer[K, N comparable](f *format[K, N, uint64], key []byte, g flow.KeyGroup, maxParallelism int) (h flow.Hash, k K, n N, at flow.Time, err error) {
	if len(key) < timeSize {
		return 0, k, n, 0, f.corrupt("key", errShortTimer)
	}
	h, k, n, err = f.decodeKey(key[timeSize:], g, maxParallelism)
	return h, k, n, timeOf(key), err
}

var errShortTimer = errors.New("it ends before the timer's time does")

// Schema is the shape of the entries.
func (t *Timers[K, N]) Schema() Schema { return t.f.schema() }

// Freeze gives access to all timers by key group, those of a group in the order
// in which they are due. It also gives back memory not needed since the last call.
func (t *Timers[K, N]) Freeze(maxParallelism int, r flow.KeyGroupRange) (Frozen, error) {
	t.known.trim()
	t.times.trim()
	order := slices.Clone(t.heap)
	slices.SortFunc(order, func(a, b due) int { return cmp.Compare(a.at, b.at) })
	g, err := byGroup(t.f.desc, t.Len(), maxParallelism, r, func(f func(flow.Hash, uint32) bool) {
		for _, d := range order {
			for i := t.lists[d.list].head; i != none; i = t.timers[i].next {
				if !f(t.timers[i].h, i) {
					return
				}
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return &frozenTimers[K, N]{t: t, g: g}, nil
}

type frozenTimers[K, N comparable] struct {
	t          *Timers[K, N]
	g          *groups[uint32]
	key, value []byte
}

func (z *frozenTimers[K, N]) Each(g flow.KeyGroup, f func(key, value []byte) error) (err error) {
	defer caught(z.t.f.desc, &err)
	for i, at := range z.g.of(g) {
		e := &z.t.timers[at]
		number := uint64(i)
		z.key = appendTimer(&z.t.f, z.key[:0], z.t.lists[e.list].at, &e.k, &e.n)
		z.value = z.t.f.value.Append(z.value[:0], &number)
		if err := f(z.key, z.value); err != nil {
			return err
		}
	}
	return nil
}

// Loader takes entries that were written with another schema, or the same.
func (t *Timers[K, N]) Loader(maxParallelism int, written Schema) (Loader, error) {
	f, err := t.f.reading(written)
	if err != nil {
		return nil, err
	}
	return &timersLoader[K, N]{t: t, f: f, max: maxParallelism}, nil
}

// timersLoader gathers timers and adds them when it has all. Of one time, those
// of one key group stay in order; between key groups, which may come from
// different tasks, the earlier in its group comes first. The outcome is the same
// each time the same snapshots are restored in the same order.
//
// If the store has a disk they are added as they come.
type timersLoader[K, N comparable] struct {
	t   *Timers[K, N]
	f   format[K, N, uint64]
	max int
	all []loadedTimer
}

type loadedTimer struct {
	at     flow.Time
	number uint64
	timer  uint32
}

func (l *timersLoader[K, N]) Load(g flow.KeyGroup, key, value []byte) error {
	h, k, n, at, err := decodeTimer(&l.f, key, g, l.max)
	if err != nil {
		return err
	}
	var number uint64
	if err := l.f.decodeValue(value, &number); err != nil {
		return err
	}
	if l.t.known.get(h, k, timerID[N]{n, at}) != nil {
		return l.f.corrupt("key", errTwice)
	}
	if l.t.p != nil {
		l.t.Add(h, k, n, at)
		return nil
	}
	i := l.t.make(h, k, n)
	p, _ := l.t.known.ref(h, k, timerID[N]{n, at})
	*p = i
	l.all = append(l.all, loadedTimer{at, number, i})
	return nil
}

func (l *timersLoader[K, N]) Done() {
	slices.SortStableFunc(l.all, func(a, b loadedTimer) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.number, b.number))
	})
	for _, e := range l.all {
		l.t.link(e.timer, e.at)
	}
	l.all = nil
}
