package codec_test

import (
	"errors"
	"math"
	"math/big"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/weirflow/weir/flow/codec"
)

type Base struct {
	Kind  string
	Level uint8
}

type celsius float32

type node struct {
	Value    int
	Children []node
	Left     *node
	ByName   map[string]*node
}

// everything has a field of each sort that is carried.
type everything struct {
	Base
	B    bool
	I    int
	I8   int8
	I16  int16
	I32  int32
	I64  int64
	U    uint
	U8   uint8
	U16  uint16
	U32  uint32
	U64  uint64
	F32  float32
	F64  float64
	S    string
	Raw  []byte
	ID   [16]byte
	Temp celsius
	D    time.Duration
	T    time.Time
	Arr  [3]int16
	Strs []string
	Nums []int64
	Bs   []Base
	M    map[string]int
	MM   map[int32][]string
	Keys map[[2]int8]Base
	P    *int
	PS   *Base
	Tree *node
	Addr netip.Addr
	Big  *big.Int
	None struct{}
	Long string `msgpack:"renamed"`
	Not  int    `msgpack:"-"`
}

func full() everything {
	n := 42
	return everything{
		Base: Base{"k", 3}, B: true, I: -1, I8: math.MinInt8, I16: -129, I32: math.MinInt32, I64: math.MinInt64,
		U: 1 << 30, U8: 255, U16: 65535, U32: math.MaxUint32, U64: math.MaxUint64, F32: -0.5, F64: math.Inf(-1),
		S: strings.Repeat("x", 31), Raw: []byte{}, ID: [16]byte{1, 15: 2}, Temp: 36.6, D: time.Minute,
		T:   time.Date(2026, 11, 21, 1, 2, 3, 456, time.UTC),
		Arr: [3]int16{1, -2, 300}, Strs: []string{"a", "", strings.Repeat("y", 70000)}, Nums: make([]int64, 1000),
		Bs: []Base{{"a", 1}, {"b", 2}}, M: map[string]int{"one": 1, "two": 2}, MM: map[int32][]string{-5: {"x"}, 5: nil},
		Keys: map[[2]int8]Base{{1, 2}: {"c", 3}}, P: &n, PS: &Base{"p", 9},
		Tree: &node{Value: 1, Children: []node{{Value: 2}, {Value: 3, Left: &node{Value: 4}}}, ByName: map[string]*node{"n": nil, "m": {}}},
		Addr: netip.MustParseAddr("192.0.2.1"), Big: big.NewInt(1 << 60), Long: strings.Repeat("z", 300),
	}
}

func TestRoundTrip(t *testing.T) {
	c := must[everything](t)
	for name, v := range map[string]everything{"full": full(), "zero": {}} {
		for form, src := range map[string][]byte{
			"array": c.Append(nil, &v), "named": c.AppendNamed(nil, &v), "stable": c.AppendStable(nil, &v),
		} {
			got := full()
			got.Not = 99
			got.M["stale"] = 1
			rest, err := c.Decode(append(src, 0xc1), &got)
			if err != nil || len(rest) != 1 {
				t.Fatalf("%s %s: %v, %d bytes left", name, form, err, len(rest))
			}
			if !reflect.DeepEqual(got, v) {
				t.Errorf("%s %s:\n got %+v\nwant %+v", name, form, got, v)
			}
			// Whatever is cut off is refused, at a place inside.
			if name == "zero" || form == "array" {
				for n := 0; n < len(src) && n < 3000; n++ {
					var e *codec.DecodeError
					if _, err := c.Decode(src[:n:n], &got); !errors.As(err, &e) {
						t.Fatalf("%s %s cut at %d of %d: %v", name, form, n, len(src), err)
					} else if e.Offset > n {
						t.Errorf("cut at %d: offset %d", n, e.Offset)
					}
				}
			}
		}
	}
}

func TestRoundTripOfRoots(t *testing.T) {
	n := 7
	roundTrip(t, 5)
	roundTrip(t, "")
	roundTrip(t, -0.25)
	roundTrip(t, true)
	roundTrip(t, []byte(nil))
	roundTrip(t, []byte{})
	roundTrip(t, []byte{1})
	roundTrip(t, []struct{}{{}, {}})
	roundTrip(t, []string{})
	roundTrip(t, []string(nil))
	roundTrip(t, [0]int{})
	roundTrip(t, [][]int{nil, {}, {1}})
	roundTrip(t, map[int]int(nil))
	roundTrip(t, map[int]int{})
	roundTrip(t, map[string]map[string]bool{"a": nil, "b": {"c": true}})
	roundTrip(t, &n)
	roundTrip(t, (*int)(nil))
	roundTrip(t, struct{}{})
	roundTrip(t, time.Time{})
	roundTrip(t, time.Unix(0, 0).UTC())
	roundTrip(t, time.Unix(1<<32, 0).UTC())
	roundTrip(t, time.Unix(1<<34, 999999999).UTC())
	roundTrip(t, time.Unix(-1, 5).UTC())
	roundTrip(t, []celsius{1, 2.5})
	roundTrip(t, make([]order, 70000))
	roundTrip(t, [][300]int64{{1}, {299: 2}})
	for bit := range 64 {
		for _, d := range []int64{-1, 0, 1} {
			v := int64(1)<<bit + d
			roundTrip(t, v)
			roundTrip(t, -v)
			roundTrip(t, uint64(v))
		}
	}
}

func roundTrip[T any](t *testing.T, v T) {
	t.Helper()
	c := must[T](t)
	src := c.Append(nil, &v)
	var got T
	if rest, err := c.Decode(src, &got); err != nil || len(rest) > 0 {
		t.Fatalf("%T: %v, %d left", v, err, len(rest))
	}
	if !reflect.DeepEqual(got, v) {
		t.Errorf("%T: got %v, want %v", v, got, v)
	}
	var lib T
	if err := msgpack.Unmarshal(src, &lib); err != nil {
		t.Errorf("%T: the library does not read % x: %v", v, src, err)
	}
	batch := c.AppendValues(nil, []T{v, v})
	vals, rest, err := c.DecodeValues(batch, make([]T, 1))
	if err != nil || len(rest) > 0 || len(vals) != 3 || !reflect.DeepEqual(vals[2], v) {
		t.Errorf("%T batch: %v, %v, %d left", v, vals, err, len(rest))
	}
}

func TestBigElementsGrowInSteps(t *testing.T) {
	type big struct {
		Pad  [200]int64
		Name string
	}
	v := make([]big, 3000) // 4.8 MB, more than is taken on the word of a head
	for i := range v {
		v[i].Pad[i%200], v[i].Name = int64(i), strings.Repeat("n", i%5)
	}
	roundTrip(t, v)
	type plain struct{ Pad [200]int64 }
	w := make([]plain, 3000)
	for i := range w {
		w[i].Pad[i%200] = int64(i)
	}
	roundTrip(t, w)
}

func TestCustomForms(t *testing.T) {
	roundTrip(t, own{3})
	roundTrip(t, []own{{3}, {}})
	roundTrip(t, map[string]*own{"a": {3}, "b": nil})
	roundTrip(t, libOwn{4})
	roundTrip(t, textual{5, 6})
	roundTrip(t, netip.MustParseAddr("2001:db8::1"))
	roundTrip(t, map[netip.Addr]int{netip.MustParseAddr("::1"): 1})
	roundTrip(t, struct{ B big.Int }{*big.NewInt(77)})
}

// time.Time brings MarshalBinary to a struct in which it is embedded; the other
// fields must not be lost by that, as they are by the library.
func TestPromotedMethodsAreNotUsed(t *testing.T) {
	type stamped struct {
		time.Time
		N int
	}
	c := must[stamped](t)
	v, got := stamped{time.Unix(5, 0).UTC(), 3}, stamped{}
	if _, err := c.Decode(c.Append(nil, &v), &got); err != nil || got != v {
		t.Errorf("got %v, error %v", got, err)
	}
}

// own implements codec.Marshaler.
type own struct{ n int }

func (o own) AppendMsgpack(dst []byte) ([]byte, error) {
	switch o.n {
	case 13:
		return dst, errors.New("13 is unlucky")
	case 14:
		return dst, nil
	case 15:
		return append(dst, 1, 2), nil
	}
	return append(dst, byte(o.n)), nil
}

func (o *own) ReadMsgpack(src []byte) error {
	if len(src) != 1 || src[0] > 0x7f || src[0] >= 13 && src[0] <= 15 {
		return errors.New("not a small number")
	}
	o.n = int(src[0])
	return nil
}

func (o own) EncodeMsgpack(enc *msgpack.Encoder) error { return enc.EncodeInt(int64(o.n)) }
func (o *own) DecodeMsgpack(dec *msgpack.Decoder) (err error) {
	o.n, err = dec.DecodeInt()
	return err
}

type libOwn struct{ n int }

func (o *libOwn) EncodeMsgpack(enc *msgpack.Encoder) error {
	return enc.EncodeMulti(int64(o.n))
}

func (o *libOwn) DecodeMsgpack(dec *msgpack.Decoder) (err error) {
	o.n, err = dec.DecodeInt()
	return err
}

type textual struct{ a, b byte }

func (x textual) MarshalText() ([]byte, error) { return []byte{'0' + x.a, '/', '0' + x.b}, nil }
func (x *textual) UnmarshalText(b []byte) error {
	if len(b) != 3 {
		return errors.New("want a/b")
	}
	x.a, x.b = b[0]-'0', b[2]-'0'
	return nil
}

func TestEncodeErrors(t *testing.T) {
	c := must[own](t)
	for n, want := range map[int]string{
		13: "flow/codec: a value of type codec_test.own cannot be encoded: its codec.Marshaler gave an error: 13 is unlucky",
		14: "flow/codec: a value of type codec_test.own cannot be encoded: its codec.Marshaler gave an error: it did not write exactly one msgpack value",
		15: "flow/codec: a value of type codec_test.own cannot be encoded: its codec.Marshaler gave an error: it did not write exactly one msgpack value",
	} {
		dst, err := c.TryAppend([]byte("before"), &own{n})
		var e *codec.EncodeError
		if !errors.As(err, &e) || err.Error() != want || string(dst) != "before" {
			t.Errorf("%d: %q %v", n, dst, err)
		}
	}
	cycle := &node{}
	cycle.Left = cycle
	if _, err := must[*node](t).TryAppend(nil, &cycle); err == nil || !strings.Contains(err.Error(), "form a cycle") {
		t.Errorf("a cycle: %v", err)
	}
	if got := must[*node](t).MemSize([]*node{cycle}); got <= 0 {
		t.Errorf("the size of a cycle: %d", got)
	}
}

func TestAppendStableIsDeterministic(t *testing.T) {
	c := must[everything](t)
	v := full()
	v.M = map[string]int{}
	for i := range 100 {
		v.M[strings.Repeat("k", i)] = i
	}
	want := string(c.AppendStable(nil, &v))
	for range 20 {
		if got := string(c.AppendStable([]byte("x"), &v)); got != "x"+want {
			t.Fatal("two encodings of one value differ")
		}
	}
}

func TestOmitEmpty(t *testing.T) {
	type inner struct{ N int }
	type doc struct {
		A string         `msgpack:"a,omitempty"`
		B []int          `msgpack:"b,omitempty"`
		C map[string]int `msgpack:"c,omitempty"`
		D *int           `msgpack:"d,omitempty"`
		E time.Time      `msgpack:"e,omitempty"`
		F float64        `msgpack:"f,omitempty"`
		G inner          `msgpack:"g,omitempty"`
		H int            `msgpack:"h"`
	}
	c := must[doc](t)
	if got := c.AppendNamed(nil, &doc{}); string(got) != "\x81\xa1h\x00" {
		t.Errorf("empty: % x", got)
	}
	v := doc{F: math.Copysign(0, -1), G: inner{1}}
	var m map[string]any
	if err := msgpack.Unmarshal(c.AppendNamed(nil, &v), &m); err != nil || len(m) != 3 {
		t.Errorf("%v %v", m, err)
	}
}

func TestMemSize(t *testing.T) {
	if got := must[int64](t).MemSize(make([]int64, 10)); got != 80 {
		t.Errorf("int64: %d", got)
	}
	if got := must[string](t).MemSize([]string{"abc", ""}); got != 35 {
		t.Errorf("strings: %d", got)
	}
	type rec struct {
		Tags []string
		At   time.Time
		P    *[4]int64
		In   struct{ Name string }
		Arr  [20]string
		M    map[string]int64
	}
	v := rec{Tags: []string{"a", "bc"}, P: new([4]int64), M: map[string]int64{"key": 1}}
	v.In.Name, v.Arr[19] = "xyz", "12345"
	want := int(reflect.TypeFor[rec]().Size()) + 2*16 + 3 + 32 + 3 + 5 + (16 + 8 + 2 + 3)
	if got := must[rec](t).MemSize([]rec{v}); got != want {
		t.Errorf("rec: %d, want %d", got, want)
	}
	if !must[reading](t).Pointerless() || must[order](t).Pointerless() || must[time.Time](t).Pointerless() {
		t.Error("Pointerless is wrong")
	}
}

func TestNoAllocations(t *testing.T) {
	buf := make([]byte, 0, 1<<16)
	check := func(name string, want float64, f func()) {
		t.Helper()
		f()
		if got := testing.AllocsPerRun(100, f); got > want {
			t.Errorf("%s: %v allocations, want %v", name, got, want)
		}
	}
	orders, readings := must[order](t), must[reading](t)
	src, vals := readings.AppendValues(nil, make([]reading, 100)), make([]reading, 0, 100)
	check("append", 0, func() {
		v := anOrder // on the stack
		buf = orders.Append(buf[:0], &v)
	})
	check("append named", 0, func() {
		v := anOrder
		buf = orders.AppendNamed(buf[:0], &v)
	})
	check("decode", 1, func() {
		var v order
		if _, err := orders.Decode(buf, &v); err != nil {
			t.Fatal(err)
		}
	})
	check("decode values", 0, func() {
		var err error
		if vals, _, err = readings.DecodeValues(src, vals[:0]); err != nil {
			t.Fatal(err)
		}
	})
	check("size", 0, func() { orders.MemSize([]order{anOrder, anOrder}) })
	maps, m := must[map[string]int](t), map[string]int{"a": 1, "b": 2}
	check("map", 0, func() { buf = maps.Append(buf[:0], &m) })
}
