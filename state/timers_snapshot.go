package state

import (
	"cmp"
	"slices"

	"github.com/weirflow/weir/flow"
)

// firing is what is stored of a timer beside its key: the namespace, and its time.
type firing[N comparable] struct {
	Namespace N
	At        flow.Time
}

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
		z.key = z.t.f.appendKey(z.key[:0], &e.k, &firing[N]{e.n, z.t.lists[e.list].at})
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
type timersLoader[K, N comparable] struct {
	t   *Timers[K, N]
	f   format[K, firing[N], uint64]
	max int
	all []loadedTimer[K, N]
}

type loadedTimer[K, N comparable] struct {
	h      flow.Hash
	k      K
	f      firing[N]
	number uint64
}

func (l *timersLoader[K, N]) Load(g flow.KeyGroup, key, value []byte) error {
	h, k, f, err := l.f.decodeKey(key, g, l.max)
	if err != nil {
		return err
	}
	var number uint64
	if err := l.f.decodeValue(value, &number); err != nil {
		return err
	}
	if p, fresh := l.t.known.ref(h, k, timerID[N]{f.Namespace, f.At}); !fresh {
		return l.f.corrupt("key", errTwice)
	} else {
		*p = none
	}
	l.all = append(l.all, loadedTimer[K, N]{h, k, f, number})
	return nil
}

func (l *timersLoader[K, N]) Done() {
	slices.SortStableFunc(l.all, func(a, b loadedTimer[K, N]) int {
		return cmp.Or(cmp.Compare(a.f.At, b.f.At), cmp.Compare(a.number, b.number))
	})
	for _, e := range l.all {
		p := l.t.known.get(e.h, e.k, timerID[N]{e.f.Namespace, e.f.At})
		*p = l.t.enlist(e.h, e.k, e.f.Namespace, e.f.At)
	}
	l.all = nil
}
