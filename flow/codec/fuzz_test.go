package codec_test

import (
	"bytes"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"
	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow/codec"
)

// The types on which the codec is compared with the library, each with a drawing
// of its values. Times are in UTC, as the codec decodes them.
type (
	scalars struct {
		B   bool
		I   int
		I8  int8
		I16 int16
		I32 int32
		I64 int64
		U   uint
		U8  uint8
		U16 uint16
		U32 uint32
		U64 uint64
		F32 float32
		F64 float64
		S   string
		D   time.Duration
	}
	nested struct {
		Base
		Name  string `msgpack:"n"`
		Skip  int    `msgpack:"-"`
		Raw   []byte
		ID    [5]byte
		Arr   [3]int16
		Strs  []string
		Deep  [][]scalars
		M     map[string]int64
		MM    map[int16]map[string]Base
		P     *scalars
		PI    *int
		Where struct{ Lat, Lon float64 }
		Opt   string `msgpack:"opt,omitempty"`
	}
	timed struct {
		At   time.Time
		List []time.Time
		P    *time.Time
	}
)

var times = rapid.Custom(func(t *rapid.T) time.Time {
	return time.Unix(rapid.OneOf(rapid.Int64Range(-1<<36, 1<<36), rapid.Int64Range(0, 1<<33)).Draw(t, "sec"),
		rapid.Int64Range(0, 999999999).Draw(t, "nsec")).UTC()
})

func drawTimed(t *rapid.T) timed {
	v := timed{At: times.Draw(t, "at"), List: rapid.SliceOfN(times, 0, 3).Draw(t, "list")}
	if rapid.Bool().Draw(t, "p") {
		at := times.Draw(t, "at p")
		v.P = &at
	}
	return v
}

func drawTree(t *rapid.T) node {
	var draw func(depth int) node
	draw = func(depth int) node {
		n := node{Value: rapid.Int().Draw(t, "value")}
		if depth == 0 {
			return n
		}
		for range rapid.IntRange(0, 2).Draw(t, "children") {
			n.Children = append(n.Children, draw(depth-1))
		}
		if rapid.Bool().Draw(t, "left") {
			left := draw(depth - 1)
			n.Left = &left
		}
		if rapid.Bool().Draw(t, "by name") {
			left := draw(depth - 1)
			n.ByName = map[string]*node{"nil": nil, "one": &left}
		}
		return n
	}
	return draw(rapid.IntRange(0, 3).Draw(t, "depth"))
}

func TestAgainstTheLibrary(t *testing.T) {
	t.Run("scalars", func(t *testing.T) { againstLibrary(t, rapid.Make[scalars]().Draw) })
	t.Run("nested", func(t *testing.T) {
		againstLibrary(t, func(t *rapid.T, l string) nested {
			v := rapid.Make[nested]().Draw(t, l)
			v.Skip = 0
			return v
		})
	})
	t.Run("timed", func(t *testing.T) { againstLibrary(t, func(t *rapid.T, _ string) timed { return drawTimed(t) }) })
	t.Run("tree", func(t *testing.T) { againstLibrary(t, func(t *rapid.T, _ string) node { return drawTree(t) }) })
	t.Run("map", func(t *testing.T) { againstLibrary(t, rapid.Make[map[int8][]string]().Draw) })
	t.Run("strings", func(t *testing.T) { againstLibrary(t, rapid.SliceOf(rapid.String()).Draw) })
}

func againstLibrary[T any](t *testing.T, draw func(*rapid.T, string) T) {
	c := must[T](t)
	rapid.Check(t, func(t *rapid.T) {
		v := draw(t, "value")
		for form, src := range map[string][]byte{"array": c.Append(nil, &v), "named": c.AppendNamed(nil, &v), "stable": c.AppendStable(nil, &v)} {
			// Into a fresh value the library decodes what the codec wrote.
			var lib T
			if err := msgpack.Unmarshal(src, &lib); err != nil {
				t.Fatalf("library, %s form: %v\n% x", form, err, src)
			}
			inUTC(&lib)
			if !same(lib, v) {
				t.Fatalf("library, %s form:\n got %+v\nwant %+v", form, lib, v)
			}
			// Into a used value the codec does too.
			got := draw(t, "used")
			if rest, err := c.Decode(src, &got); err != nil || len(rest) > 0 {
				t.Fatalf("%s form: %v, %d left\n% x", form, err, len(rest), src)
			}
			if !same(got, v) {
				t.Fatalf("%s form:\n got %+v\nwant %+v", form, got, v)
			}
		}
		for _, arrays := range []bool{true, false} {
			for _, compact := range []bool{true, false} {
				var buf bytes.Buffer
				enc := msgpack.NewEncoder(&buf)
				enc.UseArrayEncodedStructs(arrays)
				enc.UseCompactInts(compact)
				if err := enc.Encode(&v); err != nil {
					t.Fatal(err)
				}
				var got T
				if rest, err := c.Decode(buf.Bytes(), &got); err != nil || len(rest) > 0 {
					t.Fatalf("written by the library: %v, %d left\n% x", err, len(rest), buf.Bytes())
				}
				if !same(got, v) {
					t.Fatalf("written by the library:\n got %+v\nwant %+v", got, v)
				}
			}
		}
		vals, rest, err := c.DecodeValues(c.AppendValues(nil, []T{v, v, v}), nil)
		if err != nil || len(rest) > 0 || len(vals) != 3 || !same(vals[1], v) {
			t.Fatalf("batch: %+v, %v, %d left", vals, err, len(rest))
		}
	})
}

// inUTC sets the location that the library does not.
func inUTC(v any) {
	if v, ok := v.(*timed); ok {
		v.At = v.At.UTC()
		for i := range v.List {
			v.List[i] = v.List[i].UTC()
		}
		if v.P != nil {
			at := v.P.UTC()
			v.P = &at
		}
	}
}

// same is equality in which NaN equals NaN, by way of the one encoding that equal
// values have; for the values that have none of those it is plain equality.
func same[T any](a, b T) bool {
	if reflect.DeepEqual(a, b) {
		return true
	}
	c, err := codec.For[T]()
	return err == nil && bytes.Equal(c.AppendStable(nil, &a), c.AppendStable(nil, &b))
}

// FuzzDecode feeds arbitrary bytes to codecs of several types. What is decoded
// must encode to something that decodes to the same value.
func FuzzDecode(f *testing.F) {
	v := full()
	v.Strs, v.Nums, v.Long = []string{"a"}, []int64{1, -1}, "" // Long seeds take minutes to minimise.
	f.Add(must[everything](f).Append(nil, &v))
	f.Add(must[everything](f).AppendNamed(nil, &v))
	f.Add(must[order](f).Append(nil, &anOrder))
	f.Add(must[order](f).AppendNamed(nil, &anOrder))
	f.Add([]byte("\x94\x01\x91\x94\x02\x90\xc0\xc0\xc0\x81\xa1a\xc0"))
	f.Add([]byte("\xdd\xff\xff\xff\xff"))
	f.Add([]byte("\xc7\x0c\xff\x3b\x9a\xc9\xff\x80\x00\x00\x00\x00\x00\x00\x00"))
	adapted, err := must[newDoc](f).Reading(must[oldDoc](f).Schema())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		src = slices.Clip(src)
		decodes[everything](t, src)
		decodes[scalars](t, src)
		decodes[nested](t, src)
		decodes[timed](t, src)
		decodes[*node](t, src)
		decodes[order](t, src)
		decodes[[]float64](t, src)
		decodes[map[string][]string](t, src)
		decodes[map[float64]*own](t, src)
		decodes[libOwn](t, src)
		decodes[textual](t, src)
		var doc newDoc
		_, _ = adapted.Decode(src, &doc)
		vals, rest, err := must[order](t).DecodeValues(src, nil)
		if err == nil {
			again, rest2, err := must[order](t).DecodeValues(must[order](t).AppendValues(nil, vals), nil)
			if err != nil || len(rest2) > 0 || len(rest) > len(src) || len(again) != len(vals) {
				t.Fatalf("batch of %d: %v, %d left, %d values", len(vals), err, len(rest2), len(again))
			}
		}
	})
}

func decodes[T any](t *testing.T, src []byte) {
	c := must[T](t)
	var v, w T
	if _, err := c.Decode(src, &v); err != nil {
		return
	}
	c.MemSize([]T{v})
	for _, encoded := range [][]byte{c.AppendStable(nil, &v), c.AppendNamed(nil, &v)} {
		if rest, err := c.Decode(encoded, &w); err != nil || len(rest) > 0 {
			t.Fatalf("%T: from % x to %+v to % x: %v, %d left", v, src, v, encoded, err, len(rest))
		}
		if !same(v, w) {
			t.Fatalf("%T: from % x to %+v to % x to %+v", v, src, v, encoded, w)
		}
	}
}
