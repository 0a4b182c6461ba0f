package shuffle_test

import (
	"context"
	"testing"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
	"github.com/weirflow/weir/flow/keyhash"
	"github.com/weirflow/weir/shuffle"
	"github.com/weirflow/weir/shuffle/local"
)

type event struct {
	Key   uint64
	Value int64
}

type named struct {
	ID    int64
	Name  string
	Price float64
	Tags  []string
}

type discard[T any] struct{}

func (discard[T]) Receive(*flow.Batch[T]) error { return nil }

// exchange sends b through a hash exchange of two partitions, and reads it.
func exchange[T any](b *testing.B, vals []T, key func(T) uint64, hashes bool) {
	hash, err := keyhash.Columns(key)
	if err != nil {
		b.Fatal(err)
	}
	gates := make([]*local.Gate[T], 2)
	senders := make([]shuffle.Sender[T], 2)
	for i := range gates {
		g, s := local.NewGate[T](1, local.Options{Hashes: hashes})
		if err := g.Attach(discard[T]{}); err != nil {
			b.Fatal(err)
		}
		gates[i], senders[i] = g, s[0]
	}
	c, err := codec.For[T]()
	if err != nil {
		b.Fatal(err)
	}
	o := shuffle.RouterOptions[T]{Bytes: c.MemSize}
	if hashes {
		if o.Summer, err = shuffle.NewSummer[T](); err != nil {
			b.Fatal(err)
		}
	}
	r := shuffle.NewHash(context.Background(), senders, 128, hash, o)
	batch := &flow.Batch[T]{Values: vals}
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Receive(batch); err != nil {
			b.Fatal(err)
		}
		for _, g := range gates {
			for {
				if _, ok, err := g.Next(); !ok {
					break
				} else if err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(vals)), "ns/record")
}

func events() []event {
	vals := make([]event, 1024)
	for i := range vals {
		vals[i] = event{uint64(i * 7919), int64(i)}
	}
	return vals
}

func names() []named {
	vals := make([]named, 1024)
	for i := range vals {
		vals[i] = named{int64(i), "a name of some length", 9.99, []string{"red", "large"}}
	}
	return vals
}

// BenchmarkExchange is a record's way through a hash exchange, with both ends on one
// goroutine: with counts only, and with sums of hashes at both ends.
func BenchmarkExchange(b *testing.B) {
	byKey := func(e event) uint64 { return e.Key }
	byID := func(n named) uint64 { return uint64(n.ID) }
	b.Run("event/counts", func(b *testing.B) { exchange(b, events(), byKey, false) })
	b.Run("event/hashes", func(b *testing.B) { exchange(b, events(), byKey, true) })
	b.Run("named/counts", func(b *testing.B) { exchange(b, names(), byID, false) })
	b.Run("named/hashes", func(b *testing.B) { exchange(b, names(), byID, true) })
}

// BenchmarkRecorder copies a batch as an epoch does that overtakes it.
func BenchmarkRecorder(b *testing.B) {
	batch := &flow.Batch[named]{Values: names()}
	for b.Loop() {
		r, err := shuffle.NewRecorder[named](false)
		if err != nil {
			b.Fatal(err)
		}
		r.Add(batch)
		in, err := r.Finish()
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(in.Data)))
	}
}
