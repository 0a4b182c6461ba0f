package batch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/internal/invariants"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/shuffle/spill"
)

// total has a start that is not zero, and a list, so that a group which is made twice,
// merged twice or left out shows.
type total struct {
	Begun bool
	Count int
	Sum   int64
	Seen  []int32
}

func newTotal() total { return total{Begun: true} }

func mergeTotals(into, from *total) {
	into.Count += from.Count
	into.Sum += from.Sum
	into.Seen = append(into.Seen, from.Seen...)
}

type kv = operator.KeyValue[string, total]

// want is what a map makes of it.
func want(keys []string) map[string]*total {
	m := map[string]*total{}
	for i, k := range keys {
		a, ok := m[k]
		if !ok {
			t := newTotal()
			a = &t
			m[k] = a
		}
		fold(a, i)
	}
	return m
}

func fold(a *total, i int) {
	a.Count++
	a.Sum += int64(i)
	a.Seen = append(a.Seen, int32(i))
}

// same compares and takes out of m.
func same(m map[string]*total, b *flow.Batch[kv], hash func(string) flow.Hash) error {
	for i, g := range b.Values {
		w, ok := m[g.Key]
		if !ok {
			return fmt.Errorf("group %q is not wanted, or comes twice", g.Key)
		}
		delete(m, g.Key)
		slices.Sort(g.Value.Seen)
		if !g.Value.Begun || g.Value.Count != w.Count || g.Value.Sum != w.Sum || !slices.Equal(g.Value.Seen, w.Seen) || b.Hashes[i] != hash(g.Key) {
			return fmt.Errorf("group %q is %+v and not %+v", g.Key, g.Value, *w)
		}
	}
	return nil
}

func textHash(s string) flow.Hash {
	var h flow.Hash
	for i := range len(s) {
		h = mix(uint64(h) + uint64(s[i]) + 1)
	}
	return h
}

// TestGroup: the same as a map, whatever the memory is and however hashes collide.
func TestGroup(t *testing.T) {
	spilled := 0
	rapid.Check(t, func(r *rapid.T) {
		fs, dir := scratchFS()
		n := rapid.SampledFrom([]int{7000, 7000, 500, 1, 0}).Draw(r, "records")
		distinct := rapid.SampledFrom([]int{20_000, 20_000, 30, 1}).Draw(r, "keys")
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(r, "seed"), 0))
		keys := make([]string, n)
		for i := range keys {
			keys[i] = fmt.Sprintf("%d/%s", rng.IntN(distinct), strings.Repeat("k", rng.IntN(2)*50))
		}
		hash := textHash
		if few := rapid.SampledFrom([]int{0, 0, 3}).Draw(r, "hashes"); few > 0 {
			hash = func(s string) flow.Hash { return textHash(s) % flow.Hash(few) << 40 }
		}
		g, err := NewGrouper[string](GrouperOptions[total]{New: newTotal, Merge: mergeTotals, FS: fs, Dir: dir,
			Memory:      rapid.SampledFrom([]int{1, 1, 1 << 20, 0}).Draw(r, "memory"),
			Compression: rapid.SampledFrom([]spill.Compression{spill.None, spill.LZ4}).Draw(r, "compression")})
		if err != nil {
			r.Fatal(err)
		}
		m := want(keys)
		partial := rapid.Bool().Draw(r, "partial")
		if partial {
			p, err := NewPartial(PartialOptions[string, total]{New: newTotal, Memory: rapid.SampledFrom([]int{1, 100 << 10, 0}).Draw(r, "partial memory"),
				Emit: func(b *flow.Batch[kv]) error {
					for i := range b.Values {
						if err := g.Merge(r.Context(), b.Hashes[i], &b.Values[i]); err != nil {
							return err
						}
					}
					return nil
				}})
			if err != nil {
				r.Fatal(err)
			}
			for i, k := range keys {
				a, err := p.Upsert(hash(k), k)
				if err != nil {
					r.Fatal(err)
				}
				fold(a, i)
			}
			if err := p.Flush(); err != nil {
				r.Fatal(err)
			}
			if st := p.Stats(); st.Records != int64(n) || st.Groups > st.Records || st.Groups < int64(len(m)) {
				r.Fatalf("%+v", st)
			}
		} else {
			for i, k := range keys {
				a, err := g.Upsert(r.Context(), hash(k), k)
				if err != nil {
					r.Fatal(err)
				}
				fold(a, i)
			}
		}
		groups := len(m)
		if err := g.Emit(r.Context(), func(b *flow.Batch[kv]) error { return same(m, b, hash) }); err != nil {
			r.Fatal(err)
		}
		st := g.Stats()
		if len(m) > 0 || st.Groups != int64(groups) {
			r.Fatalf("%d groups are missing; %+v", len(m), st)
		}
		if most := g.opt.Memory + g.opt.Memory/4; st.Memory > most {
			r.Fatalf("%+v with %d", st, g.opt.Memory)
		}
		if st.Spilled > 0 {
			spilled++
		}
		if err := g.Emit(r.Context(), nil); err == nil {
			r.Fatal("it is emitted twice")
		}
		if err := g.Close(); err != nil {
			r.Fatal(err)
		}
		left(r, fs, dir)
	})
	if spilled == 0 {
		t.Error("no run has spilled: the test does not test much")
	}
	t.Logf("%d runs have spilled", spilled)
}

// TestGroupSorted has three hashes only: dividing by hash does not help.
func TestGroupSorted(t *testing.T) {
	fs, dir := scratchFS()
	hash := func(s string) flow.Hash { return textHash(s) % 3 << 40 }
	g, err := NewGrouper[string](GrouperOptions[total]{New: newTotal, Merge: mergeTotals, FS: fs, Dir: dir, Memory: 1})
	if err != nil {
		t.Fatal(err)
	}
	keys := make([]string, 8000)
	for i := range keys {
		keys[i] = fmt.Sprint(i%6000, strings.Repeat("k", 200))
	}
	for i, k := range keys {
		a, err := g.Upsert(t.Context(), hash(k), k)
		if err != nil {
			t.Fatal(err)
		}
		fold(a, i)
	}
	m := want(keys)
	if err := g.Emit(t.Context(), func(b *flow.Batch[kv]) error { return same(m, b, hash) }); err != nil || len(m) > 0 {
		t.Fatal(err, len(m))
	}
	if st := g.Stats(); st.Sorted == 0 {
		t.Errorf("%+v", st)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	left(t, fs, dir)
}

// TestGroupMemory measures the heap of a grouper with eight times as many groups as fit.
func TestGroupMemory(t *testing.T) {
	if invariants.Race || testing.Short() {
		t.Skip("it measures memory")
	}
	const budget, n = 8 << 20, 600_000
	g, err := NewGrouper[uint64](GrouperOptions[[4]int64]{Memory: budget, Dir: t.TempDir(), Merge: func(into, from *[4]int64) { into[0] += from[0] }})
	if err != nil {
		t.Fatal(err)
	}
	heap := func() int {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	before, most := heap(), 0
	for i := range uint64(2 * n) {
		a, err := g.Upsert(t.Context(), mix(i%n), i%n)
		if err != nil {
			t.Fatal(err)
		}
		a[0]++
		if i%100_000 == 0 {
			most = max(most, heap()-before)
		}
	}
	seen := 0
	err = g.Emit(t.Context(), func(b *flow.Batch[operator.KeyValue[uint64, [4]int64]]) error {
		for _, kv := range b.Values {
			if kv.Value[0] != 2 {
				return fmt.Errorf("%d came %d times", kv.Key, kv.Value[0])
			}
		}
		if seen += len(b.Values); seen/100_000 != (seen-len(b.Values))/100_000 {
			most = max(most, heap()-before)
		}
		return nil
	})
	if err != nil || seen != n {
		t.Fatal(err, seen)
	}
	// What the codecs and the file's buffers hold is a part of the budget or small.
	if most > budget+budget/8 {
		t.Errorf("%d bytes of %d", most, budget)
	}
	t.Logf("%d bytes of %d, %+v", most, budget, g.Stats())
	if err := g.Close(); err != nil {
		t.Error(err)
	}
}

func TestGroupFailingDisk(t *testing.T) {
	injected := errors.New("injected")
	failed := 0
	for n := 0; ; n += 1 + n/10 {
		mem, dir := scratchFS()
		count, hit, armed := 0, false, true
		fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(errorfs.Op) error {
			if count++; armed && count == n+1 {
				hit = true
				return injected
			}
			return nil
		}))
		g, err := NewGrouper[uint64](GrouperOptions[[8]int64]{Memory: 1, FS: fs, Dir: dir, Merge: func(into, from *[8]int64) { into[0] += from[0] }})
		if err != nil {
			t.Fatal(err)
		}
		groups := 0
		run := func() error {
			for i := range uint64(15_000) {
				a, err := g.Upsert(t.Context(), mix(i), i)
				if err != nil {
					return err
				}
				a[0]++
			}
			return g.Emit(t.Context(), func(b *flow.Batch[operator.KeyValue[uint64, [8]int64]]) error {
				groups += len(b.Values)
				return nil
			})
		}
		switch err := run(); {
		case err == nil && groups != 15_000:
			t.Fatalf("operation %d: %d groups", n, groups)
		case err != nil && !errors.Is(err, injected):
			t.Fatalf("operation %d: %v", n, err)
		case err != nil:
			failed++
		}
		armed = false
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
		left(t, mem, dir)
		if !hit {
			break
		}
	}
	if failed < 10 {
		t.Errorf("%d operations have failed", failed)
	}
}

func TestGroupStops(t *testing.T) {
	fs, dir := scratchFS()
	g, err := NewGrouper[uint64](GrouperOptions[int64]{Memory: 1, FS: fs, Dir: dir, Merge: func(into, from *int64) { *into += *from }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for i := uint64(0); err == nil && i < 1e6; i++ {
		_, err = g.Upsert(ctx, mix(i), i)
	}
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := g.Emit(t.Context(), nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	left(t, fs, dir)
	if _, err := NewGrouper[uint64](GrouperOptions[int64]{}); err == nil {
		t.Error("nothing to merge with")
	}
	if _, err := NewGrouper[uint64](GrouperOptions[func()]{Merge: func(into, from *func()) {}}); err == nil {
		t.Error("functions are grouped")
	}
	wrong := errors.New("wrong")
	g, err = NewGrouper[uint64](GrouperOptions[int64]{FS: vfs.NewMem(), Merge: func(into, from *int64) { *into += *from }})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if _, err := g.Upsert(t.Context(), 1, 1); err != nil {
		t.Fatal(err)
	}
	if err := g.Emit(t.Context(), func(*flow.Batch[operator.KeyValue[uint64, int64]]) error { return wrong }); !errors.Is(err, wrong) {
		t.Error(err)
	}
}

// TestPartialAdapts: records whose keys do not repeat go by, those that do are
// aggregated, and a change between the two is noticed.
func TestPartialAdapts(t *testing.T) {
	var out, in int64
	p, err := NewPartial(PartialOptions[uint64, int64]{Memory: 64 << 10, Emit: func(b *flow.Batch[operator.KeyValue[uint64, int64]]) error {
		for i, kv := range b.Values {
			if b.Hashes[i] != mix(kv.Key) {
				return fmt.Errorf("hash of %d", kv.Key)
			}
			out += kv.Value
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	feed := func(n, keys uint64) PartialStats {
		before := p.Stats()
		for i := range n {
			k := i % keys
			a, err := p.Upsert(mix(k), k)
			if err != nil {
				t.Fatal(err)
			}
			*a += int64(i)
			in += int64(i)
		}
		st := p.Stats()
		return PartialStats{st.Records - before.Records, st.Groups - before.Groups, st.Passed - before.Passed}
	}
	if st := feed(500_000, 1<<60); st.Passed < 400_000 {
		t.Errorf("unique keys: %+v", st)
	}
	if st := feed(500_000, 100); st.Passed > 200_000 || st.Groups > 200_000 {
		t.Errorf("100 keys: %+v", st)
	}
	if st := feed(500_000, 100); st.Passed > 0 || st.Groups > 1000 {
		t.Errorf("100 keys, later: %+v", st)
	}
	if err := p.Flush(); err != nil || in != out {
		t.Error(err, in, out)
	}
	if _, err := NewPartial(PartialOptions[uint64, int64]{}); err == nil {
		t.Error("nowhere to emit to")
	}
}
