package keyhash_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/keyhash"
)

type (
	userID int64
	name   string
	region struct {
		Country string
		Zone    int16
	}
	composite struct {
		User userID
		At   region
		_    int32
		Tags [2]string
		Long [20]int32
		ID   [16]byte
		F    float32
		OK   bool
	}
)

func must[K comparable](tb testing.TB) func(K) flow.Hash {
	tb.Helper()
	h, err := keyhash.For[K]()
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

func golden[K comparable](t *testing.T, k K, want flow.Hash) {
	t.Helper()
	if got := must[K](t)(k); got != want {
		t.Errorf("%T %v: %#x, want %#x", k, k, uint64(got), uint64(want))
	}
	cols, err := keyhash.Columns(func(v struct{ Key K }) K { return v.Key })
	if err != nil {
		t.Fatal(err)
	}
	got := cols([]struct{ Key K }{{k}, {k}}, []flow.Hash{1})
	if len(got) != 3 || got[0] != 1 || got[1] != want || got[2] != want {
		t.Errorf("%T %v in a column: %#x, want 1 and twice %#x", k, k, got, uint64(want))
	}
}

// TestGolden holds the format of stored state. If it fails, the hash has changed
// and state that users have stored would be looked for in the wrong places: undo
// the change.
func TestGolden(t *testing.T) {
	golden(t, int64(0), 0xe220a8397b1dcdaf)
	golden(t, int64(1), 0x910a2dec89025cc1)
	golden(t, int64(-1), 0xe4d971771b652c20)
	golden(t, int8(-1), 0xe4d971771b652c20)
	golden(t, uint64(math.MaxUint64), 0xe4d971771b652c20)
	golden(t, userID(4711), 0x85c7b09031f6eddb)
	golden(t, int32(4711), 0x85c7b09031f6eddb)
	golden(t, true, 0x910a2dec89025cc1)
	golden(t, false, 0xe220a8397b1dcdaf)
	golden(t, "", 0x2d06800538d394c2)
	golden(t, "a", 0xe6c632b61e964e1f)
	golden(t, "abc", 0x78af5f94892f3950)
	golden(t, name("a key of forty characters, more or less"), 0xc421c077ca2bb4c7)
	golden(t, strings.Repeat("0123456789", 100), 0xdbdf770360da5ac5)
	golden(t, 0.0, 0xe220a8397b1dcdaf)
	golden(t, 1.5, 0xd6dab18e1392608a)
	golden(t, float32(1.5), 0xd6dab18e1392608a)
	golden(t, math.NaN(), 0x698f600b8063ccbd)
	golden(t, [16]byte{1, 2, 3}, 0x444e39149a3f114f)
	golden(t, region{"NZ", -7}, 0x8436c4b775b951c4)
	golden(t, [2]int64{1, 2}, 0x8210b4696f6fc895)
	golden(t, struct{}{}, 0x2d358dccaa6c78a5)
	golden(t, composite{User: 1, At: region{"DE", 2}, Tags: [2]string{"x", "y"}, Long: [20]int32{19: 4}, F: 0.5, OK: true}, 0x6a47960af5a1691b)
}

func TestEqualKeysHaveEqualHashes(t *testing.T) {
	if h := must[float64](t); h(0) != h(math.Copysign(0, -1)) || h(math.NaN()) != h(-math.NaN()) || h(1) == h(2) {
		t.Error("float64")
	}
	if must[float32](t)(1.5) != must[float64](t)(1.5) || must[int8](t)(-3) != must[int64](t)(-3) || must[userID](t)(7) != must[uint16](t)(7) {
		t.Error("types of one value")
	}
	type padded struct {
		A int8
		_ [3]byte
		B int32
	}
	h := must[padded](t)
	a, b := padded{A: 1, B: 2}, padded{A: 1, B: 2}
	*(*byte)(unsafe.Add(unsafe.Pointer(&b), 2)) = 9
	if h(a) != h(b) {
		t.Error("padding is hashed")
	}
	if h(padded{A: 1, B: 2}) == h(padded{A: 2, B: 1}) {
		t.Error("the order of fields does not count")
	}
	s := must[[2]string](t)
	if s([2]string{"ab", "c"}) == s([2]string{"a", "bc"}) || s([2]string{"", "a"}) == s([2]string{"a", ""}) {
		t.Error("the border between strings does not count")
	}
	hash := must[composite](t)
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Make[composite]().Draw(t, "key")
		w := v
		if hash(v) != hash(w) {
			t.Fatal("two hashes of one key")
		}
		w.Long[rapid.IntRange(0, 19).Draw(t, "place")]++
		if hash(v) == hash(w) {
			t.Fatal("one hash of two keys")
		}
	})
}

func TestRefused(t *testing.T) {
	refused[*int](t, "flow/keyhash: *int cannot be a key: an address means nothing in another process; use what identifies the thing it points to")
	refused[any](t, "flow/keyhash: interface {} cannot be a key: the type of its value is known only at run time; use a concrete type")
	refused[struct {
		A int
		B struct{ C [2]chan int }
	}](t, "flow/keyhash: struct { A int; B struct { C [2]chan int } } cannot be a key: field B.C[] is of type chan int: "+
		"an address means nothing in another process; use what identifies the thing it points to")
	refused[struct{ At time.Time }](t, "flow/keyhash: struct { At time.Time } cannot be a key: field At is of type time.Time: "+
		"== on times compares location and monotonic reading too, so one instant would be several keys; "+
		"use t.UnixMicro(), or t.Truncate(...).Unix() for a coarser key")
	refused[complex64](t, "flow/keyhash: complex64 cannot be a key: complex numbers are not hashed; use a struct of two floats")
	refused[struct{ E error }](t, "flow/keyhash: struct { E error } cannot be a key: field E is of type error: "+
		"the type of its value is known only at run time; use a concrete type")
}

func refused[K comparable](t *testing.T, want string) {
	t.Helper()
	_, err := keyhash.For[K]()
	var e *keyhash.TypeError
	if !errors.As(err, &e) || err.Error() != want {
		t.Errorf("\n got %v\nwant %s", err, want)
	}
	if _, err := keyhash.Columns(func(k K) K { return k }); !errors.As(err, &e) {
		t.Errorf("a column of %T: %v", *new(K), err)
	}
}

func TestNoAllocations(t *testing.T) {
	check := func(name string, f func()) {
		t.Helper()
		if got := testing.AllocsPerRun(100, f); got != 0 {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
	ints, strs, comps := must[userID](t), must[name](t), must[composite](t)
	var sum flow.Hash
	check("int", func() { sum += ints(5) })
	check("string", func() { sum += strs("five") })
	check("struct", func() { sum += comps(composite{User: 5}) })
	cols, err := keyhash.Columns(func(r region) region { return r })
	if err != nil {
		t.Fatal(err)
	}
	vals, dst := make([]region, 100), make([]flow.Hash, 0, 100)
	check("column", func() { dst = cols(vals, dst[:0]) })
}

// TestDistribution looks at what key groups and hash tables make of the hashes of
// keys as they are: counted up, in steps, in the high bits, as text.
func TestDistribution(t *testing.T) {
	const n = 1 << 17
	ints, strs := must[int64](t), must[string](t)
	pairs, floats := must[[2]int32](t), must[float64](t)
	for what, hash := range map[string]func(i int) flow.Hash{
		"counted":       func(i int) flow.Hash { return ints(int64(i)) },
		"negative":      func(i int) flow.Hash { return ints(-int64(i)) },
		"by thousands":  func(i int) flow.Hash { return ints(int64(i) * 1000) },
		"by 2^20":       func(i int) flow.Hash { return ints(int64(i) << 20) },
		"by 2^40":       func(i int) flow.Hash { return ints(int64(i) << 40) },
		"strings":       func(i int) flow.Hash { return strs(fmt.Sprintf("user-%d", i)) },
		"long strings":  func(i int) flow.Hash { return strs(fmt.Sprintf("/a/rather/long/path/of/some/page/%032d.html", i)) },
		"pairs":         func(i int) flow.Hash { return pairs([2]int32{int32(i & 255), int32(i >> 8)}) },
		"equal pairs":   func(i int) flow.Hash { return pairs([2]int32{int32(i), int32(i)}) },
		"whole floats":  func(i int) flow.Hash { return floats(float64(i)) },
		"small floats":  func(i int) flow.Hash { return floats(float64(i) / 1024) },
		"milliseconds":  func(i int) flow.Hash { return ints(1767225600000 + int64(i)*60000) },
		"sparse counts": func(i int) flow.Hash { return ints(int64(i) * 0x100000001) },
	} {
		hashes := make([]flow.Hash, n)
		for i := range hashes {
			hashes[i] = hash(i)
		}
		for split, of := range map[string]struct {
			buckets int
			bucket  func(h flow.Hash) int
		}{
			"key groups of 128":  {128, func(h flow.Hash) int { return int(flow.KeyGroupOf(h, 128)) }},
			"key groups of 1000": {1000, func(h flow.Hash) int { return int(flow.KeyGroupOf(h, 1000)) }},
			"low bits":           {1024, func(h flow.Hash) int { return int(h & 1023) }},
			"low bits of one group": {64, func(h flow.Hash) int {
				if flow.KeyGroupOf(h, 4) != 2 {
					return -1
				}
				return int(h & 63)
			}},
		} {
			counts, total := make([]int, of.buckets), 0
			for _, h := range hashes {
				if b := of.bucket(h); b >= 0 {
					counts[b]++
					total++
				}
			}
			// The statistic has a mean of buckets-1 and a deviation of
			// sqrt(2*(buckets-1)): six of them are beyond chance, and the keys
			// are fixed, so that the test passes always or never.
			mean, chi := float64(total)/float64(of.buckets), 0.0
			for _, c := range counts {
				chi += (float64(c) - mean) * (float64(c) - mean) / mean
			}
			free := float64(of.buckets - 1)
			if math.Abs(chi-free) > 6*math.Sqrt(2*free) {
				t.Errorf("%s, %s: chi square %.0f of %.0f expected", what, split, chi, free)
			}
		}
	}
}
