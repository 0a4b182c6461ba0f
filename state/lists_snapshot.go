package state

import "github.com/weirflow/weir/flow"

// Schema is the shape of the entries. The value's is that of a whole list.
func (l *Lists[K, V]) Schema() Schema { return l.c.Schema() }

// Freeze gives access to all entries by key group. It also gives back memory not
// needed since the last call.
func (l *Lists[K, V]) Freeze(maxParallelism int, r flow.KeyGroupRange) (Frozen, error) {
	return l.c.Freeze(maxParallelism, r)
}

// Loader takes entries that were written with another schema, or the same.
func (l *Lists[K, V]) Loader(maxParallelism int, written Schema) (Loader, error) {
	f, err := l.c.f.reading(written)
	if err != nil {
		return nil, err
	}
	return sparse{&listsLoader[K, V]{cellsLoader[K, struct{}, []V]{c: l.c, f: f, max: maxParallelism}, l}}, nil
}

// listsLoader counts the memory of what it loads.
type listsLoader[K comparable, V any] struct {
	cellsLoader[K, struct{}, []V]
	l *Lists[K, V]
}

func (d *listsLoader[K, V]) Load(g flow.KeyGroup, key, value []byte) error {
	v, err := d.load(g, key, value)
	if err == nil {
		d.l.account(cap(*v))
	}
	return err
}

// Mount says that entries which the tables lack may be on a disk.
func (l *Lists[K, V]) Mount(m Mount) { l.c.Mount(m) }

// Entries is how many lists there are, here and on disk.
func (l *Lists[K, V]) Entries() int64 { return l.c.Entries() }

// Changed is how many lists have changed since the last Cut, about.
func (l *Lists[K, V]) Changed() int { return l.c.Changed() }

// Cut freezes what has changed since the last Cut.
func (l *Lists[K, V]) Cut(put Put, join bool) { l.c.Cut(put, join) }

// Flush begins to put what has changed without freezing it.
func (l *Lists[K, V]) Flush(put Put) { l.c.Flush(put) }

// Drain gives about n of the frozen lists to put.
func (l *Lists[K, V]) Drain(n int) (done bool) { return l.c.Drain(n) }

// Settled says that all that was put is on disk.
func (l *Lists[K, V]) Settled() { l.c.Settled() }

// Evict lets go of about n bytes.
func (l *Lists[K, V]) Evict(n int64) int64 { return l.c.Evict(n) }
