package shuffle_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/shuffle"
)

// partition is a sender that keeps what it is given.
type partition struct {
	vals    []int
	times   []flow.Time // MinTime where none
	log     []string    // batches and control records in their line
	largest int
	credit  bool
	err     error
	notify  func()
	check   func(b *flow.Batch[int])
}

func (p *partition) Buffer() *flow.Batch[int] { return &flow.Batch[int]{} }

func (p *partition) Send(_ context.Context, b *flow.Batch[int], bytes int) error {
	if p.err != nil {
		return p.err
	}
	p.log = append(p.log, fmt.Sprintf("%d records of %d bytes", b.Len(), bytes))
	p.largest = max(p.largest, b.Len())
	if p.check != nil {
		p.check(b)
	}
	for i, v := range b.Values {
		p.vals, p.times = append(p.vals, v), append(p.times, b.Time(i))
	}
	return nil
}

func (p *partition) Push(b *flow.Batch[int], bytes int) error {
	return p.Send(context.Background(), b, bytes)
}

func (p *partition) Control(c flow.Control) { p.log = append(p.log, c.String()) }
func (p *partition) Available() bool        { return p.credit }
func (p *partition) Notify(f func())        { p.notify = f }

func partitions(n int) ([]*partition, []shuffle.Sender[int]) {
	ps, ss := make([]*partition, n), make([]shuffle.Sender[int], n)
	for i := range ps {
		ps[i] = &partition{credit: true}
		ss[i] = ps[i]
	}
	return ps, ss
}

// groups is the number of key groups; hash puts record v into group v%groups.
const groups = 16

func hash(vals []int, dst []flow.Hash) []flow.Hash {
	for _, v := range vals {
		dst = append(dst, flow.Hash(v)<<32)
	}
	return dst
}

func TestRoutersDeliver(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom([]string{"forward", "broadcast", "rebalance", "hash"}).Draw(t, "kind")
		n := rapid.IntRange(1, 5).Draw(t, "partitions")
		if kind == "forward" {
			n = 1
		}
		ps, ss := partitions(n)
		opt := shuffle.RouterOptions[int]{BatchSize: rapid.IntRange(1, 9).Draw(t, "batch")}
		var r *shuffle.Router[int]
		switch kind {
		case "forward":
			r = shuffle.NewForward(t.Context(), ss[0], opt)
		case "broadcast":
			r = shuffle.NewBroadcast(t.Context(), ss, opt)
		case "rebalance":
			r = shuffle.NewRebalance(t.Context(), ss, rapid.IntRange(0, 9).Draw(t, "first"), opt)
		case "hash":
			r = shuffle.NewHash(t.Context(), ss, groups, hash, opt)
		}
		for _, p := range ps {
			p.check = func(b *flow.Batch[int]) {
				if len(b.Times) != 0 && len(b.Times) != b.Len() {
					t.Fatalf("%d records and %d times", b.Len(), len(b.Times))
				}
				if kind != "hash" && len(b.Hashes) != 0 || kind == "hash" && !slices.Equal(b.Hashes, hash(b.Values, nil)) {
					t.Fatalf("hashes %v of %v", b.Hashes, b.Values)
				}
			}
		}
		var sent []int
		var times []flow.Time
		t.Repeat(map[string]func(*rapid.T){
			"receive": func(t *rapid.T) {
				var b flow.Batch[int]
				timed := rapid.Bool().Draw(t, "timed")
				for range rapid.IntRange(0, 30).Draw(t, "records") {
					at := flow.MinTime
					if timed {
						at = flow.Time(len(sent))
					}
					b.Append(len(sent), at)
					sent, times = append(sent, len(sent)), append(times, at)
				}
				// As a batch behind an exchange by another key.
				b.Hashes = make([]flow.Hash, b.Len())
				lent := slices.Clone(b.Values)
				if err := r.Receive(&b); err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(lent, b.Values) {
					t.Fatal("the router changed a lent batch")
				}
				for i := range b.Values { // and it must not have kept it
					b.Values[i] = -1
				}
			},
			"flush": func(*rapid.T) { _ = r.Flush() },
			"control": func(t *rapid.T) {
				if err := r.Control(flow.Watermark(flow.Time(len(sent)))); err != nil {
					t.Fatal(err)
				}
				all := 0
				for i, p := range ps {
					all += len(p.vals)
					if l := len(p.log); p.log[l-1] != flow.Watermark(flow.Time(len(sent))).String() {
						t.Fatalf("partition %d: %q", i, p.log)
					}
				}
				if kind == "broadcast" {
					all /= n
				}
				if all != len(sent) {
					t.Fatalf("%d of %d records came before the watermark", all, len(sent))
				}
			},
		})
		if err := r.Flush(); err != nil {
			t.Fatal(err)
		}
		seen := make([]int, len(sent))
		least, most := len(sent), 0
		for i, p := range ps {
			if p.largest > opt.BatchSize {
				t.Fatalf("a batch of %d records, of %d at most", p.largest, opt.BatchSize)
			}
			if !slices.IsSorted(p.vals) {
				t.Fatalf("partition %d is out of order: %v", i, p.vals)
			}
			for j, v := range p.vals {
				seen[v]++
				if p.times[j] != times[v] {
					t.Fatalf("record %d at %v has time %v", v, times[v], p.times[j])
				}
				if want := flow.SubtaskOf(flow.KeyGroupOf(flow.Hash(v)<<32, groups), groups, n); kind == "hash" && want != i {
					t.Fatalf("record %d went to %d and belongs to %d", v, i, want)
				}
			}
			least, most = min(least, len(p.vals)), max(most, len(p.vals))
		}
		copies := 1
		if kind == "broadcast" {
			copies = n
		}
		for v, c := range seen {
			if c != copies {
				t.Fatalf("record %d arrived %d times", v, c)
			}
		}
	})
}

// TestRebalanceSpreads: also when every batch has one record.
func TestRebalanceSpreads(t *testing.T) {
	for _, size := range []int{1, 2, 3, 7, 100} {
		ps, ss := partitions(3)
		r := shuffle.NewRebalance(t.Context(), ss, 7, shuffle.RouterOptions[int]{})
		for range 60 {
			if err := r.Receive(&flow.Batch[int]{Values: make([]int, size)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Flush(); err != nil {
			t.Fatal(err)
		}
		for _, p := range ps {
			if d := len(p.vals) - 20*size; d < -60 || d > 60 {
				t.Errorf("batches of %d: a partition got %d records", size, len(p.vals))
			}
		}
	}
}

// TestBatchBytes: batches of large records are sent when they have few.
func TestBatchBytes(t *testing.T) {
	for name, route := range map[string]func([]shuffle.Sender[int], shuffle.RouterOptions[int]) *shuffle.Router[int]{
		"forward": func(s []shuffle.Sender[int], o shuffle.RouterOptions[int]) *shuffle.Router[int] {
			return shuffle.NewForward(t.Context(), s[0], o)
		},
		"hash": func(s []shuffle.Sender[int], o shuffle.RouterOptions[int]) *shuffle.Router[int] {
			return shuffle.NewHash(t.Context(), s, groups, hash, o)
		},
	} {
		ps, ss := partitions(1)
		// A record's value is its size.
		r := route(ss, shuffle.RouterOptions[int]{BatchSize: 100, BatchBytes: 1000, Bytes: func(vals []int) (n int) {
			for _, v := range vals {
				n += v
			}
			return n
		}})
		size := func(v, n int) {
			t.Helper()
			ps[0].largest, ps[0].log = 0, nil
			for range n {
				if err := r.Receive(&flow.Batch[int]{Values: []int{v}}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if size(100, 50); ps[0].largest != 10 {
			t.Errorf("%s: %d records of 100 bytes in batches of 1000", name, ps[0].largest)
		}
		if size(1_000_000, 50); ps[0].largest != 1 && len(ps[0].log) < 40 {
			t.Errorf("%s: %v", name, ps[0].log)
		}
		if size(1, 500); ps[0].largest != 100 {
			t.Errorf("%s: small records do not fill batches again: %v", name, ps[0].log)
		}
		if size(0, 500); ps[0].largest != 100 {
			t.Errorf("%s: %v", name, ps[0].log)
		}
	}
}

// TestFlushDoesNotBlock: what is collected for a partition without credit waits,
// for credit or for a control record.
func TestFlushDoesNotBlock(t *testing.T) {
	ps, ss := partitions(2)
	r := shuffle.NewBroadcast(t.Context(), ss, shuffle.RouterOptions[int]{})
	if err := r.Receive(&flow.Batch[int]{Values: []int{1}}); err != nil {
		t.Fatal(err)
	}
	ps[0].credit = false
	if r.Available() {
		t.Error("a router is available though a partition is not")
	}
	if err := r.Flush(); err != nil || len(ps[0].vals) != 0 || len(ps[1].vals) != 1 {
		t.Fatal(err, ps[0].log, ps[1].log)
	}
	ps[0].credit = true
	if err := r.Flush(); err != nil || len(ps[0].vals) != 1 {
		t.Fatal(err, ps[0].log)
	}
	if err := r.Receive(&flow.Batch[int]{Values: []int{2}}); err != nil {
		t.Fatal(err)
	}
	ps[0].credit = false
	if err := r.Control(flow.Watermark(1)); err != nil || len(ps[0].vals) != 2 || len(ps[0].log) != 3 {
		t.Fatal(err, ps[0].log)
	}
}

func TestRouterErrors(t *testing.T) {
	ps, ss := partitions(3)
	ps[1].err = shuffle.ErrClosed
	for name, r := range map[string]*shuffle.Router[int]{
		"hash":      shuffle.NewHash(t.Context(), ss, groups, hash, shuffle.RouterOptions[int]{BatchSize: 2}),
		"broadcast": shuffle.NewBroadcast(t.Context(), ss, shuffle.RouterOptions[int]{BatchSize: 2}),
		"rebalance": shuffle.NewRebalance(t.Context(), ss, 0, shuffle.RouterOptions[int]{BatchSize: 2}),
	} {
		b := flow.Batch[int]{Values: []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}}
		if err := r.Receive(&b); !errors.Is(err, shuffle.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	called := 0
	shuffle.NewBroadcast(t.Context(), ss, shuffle.RouterOptions[int]{}).Notify(func() { called++ })
	for _, p := range ps {
		p.notify()
	}
	if called != 3 {
		t.Error(called)
	}
}
