package codec_test

import (
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestDecodeErrors(t *testing.T) {
	refuses[int8](t, "\xcc\x80", "byte 0: want int8, found int 128")
	refuses[uint8](t, "\xff", "byte 0: want uint8, found int -1")
	refuses[int64](t, "\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "byte 0: want int64, found uint 18446744073709551615")
	refuses[int](t, "\xc0", "byte 0: want int, found nil")
	refuses[int](t, "", "byte 0: want int, found the end of the input")
	refuses[int](t, "\xcd\x01", "byte 0: want int, found a value (first byte 0xcd) that the end of the input cuts off, or that is broken inside")
	refuses[string](t, "\x01", "byte 0: want string, found int 1")
	refuses[string](t, "\xc1", "byte 0: want string, found byte 0xc1, which msgpack never uses")
	refuses[string](t, "\xdb\xff\xff\xff\xff", "byte 0: want string, found a value (first byte 0xdb) that the end of the input cuts off, or that is broken inside")
	refuses[bool](t, "\xa1x", "byte 0: want bool, found str of 1 bytes")
	refuses[float32](t, "\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00", "byte 0: want float32, found float64 1")
	refuses[float64](t, "\xcf\x7f\xff\xff\xff\xff\xff\xff\xff", "byte 0: want float64, found int 9223372036854775807")
	refuses[[]int](t, "\xdd\xff\xff\xff\xff\x01", "byte 0: want []int, found a value (first byte 0xdd) that the end of the input cuts off, or that is broken inside")
	refuses[map[string]int](t, "\xdf\xff\xff\xff\xff\x01\x01", "byte 0: want map[string]int, found a value (first byte 0xdf) that the end of the input cuts off, or that is broken inside")
	refuses[map[string]int](t, "\x81\xa1a\xc3", "byte 3, [value]: want int, found true")
	refuses[map[string]int](t, "\x81\xc3\x01", "byte 1, [key]: want string, found true")
	refuses[[2]int](t, "\x93\x01\x02\x03", "byte 0: want [2]int, found array of 3")
	refuses[[4]byte](t, "\xc4\x01x", "byte 0: want [4]uint8, found bin of 1 bytes")
	refuses[time.Time](t, "\xd6\x05\x00\x00\x00\x00", "byte 0: want time.Time, found extension 5 of 4 bytes")
	refuses[time.Time](t, "\xd7\xff\xff\xff\xff\xff\x00\x00\x00\x00", "byte 0: want time.Time, found extension -1 of 8 bytes")
	refuses[own](t, "\xa1x", "byte 0: want codec_test.own, found str of 1 bytes, which its codec.Marshaler's other half refuses: not a small number")
	refuses[order](t, "\x96\x01\xa1x\x80\x01\xc3\x01", "byte 4, amount: want float64, found map of 0")
	refuses[order](t, "\x95\x01\x01\x01\x01\x01", "byte 0: want codec_test.order as an array of 6 or a map, found array of 5")
	refuses[order](t, "\x82\xa2id\x01\xa4paid\x01", "byte 10, paid: want bool, found int 1")
	refuses[order](t, "\x81\x01\x01", "byte 1, (name): want a field's name, found int 1")
	refuses[order](t, "\x81\xa1x\xc1", "byte 3, x: want a value, found byte 0xc1, which msgpack never uses")
	refuses[node](t, "\x94\x01\x91\x94\x02\x90\x94\x03\x90\xc0\xa0\xc0\xc0\xc0", "byte 10, Children[0].Left.ByName: want map[string]*codec_test.node, found str of 0 bytes")
}

func refuses[T any](t *testing.T, src, want string) {
	t.Helper()
	got := new(T)
	rest, err := must[T](t).Decode([]byte(src), got)
	if err == nil {
		t.Errorf("% x is not refused", src)
	} else if err.Error() != "flow/codec: "+want || len(rest) != len(src) {
		t.Errorf("%d of %d left\n got %s\nwant flow/codec: %s", len(rest), len(src), err, want)
	}
}

// What another writer may choose is read as well.
func TestDecodeOtherForms(t *testing.T) {
	reads(t, "\xd3\x00\x00\x00\x00\x00\x00\x00\x05", int8(5))
	reads(t, "\xd0\x05", uint64(5))
	reads(t, "\xd2\xff\xff\xff\xff", int16(-1))
	reads(t, "\x05", 5.0)
	reads(t, "\xca\x3f\x80\x00\x00", 1.0)
	reads(t, "\xff", float32(-1))
	reads(t, "\xc4\x01x", "x")
	reads(t, "\xd9\x01x", "x")
	reads(t, "\xdc\x00\x06\x01\xa1c\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00\x02\xc3\x03", order{1, "c", 1, 2, true, 3})
	reads(t, "\x83\xa2at\x03\xa3new\x92\x01\xc7\x02\x07zz\xa2id\x01", order{ID: 1, At: 3})
	reads(t, "\xde\x00\x01\xa2id\x01", order{ID: 1})
	// As many names as fields, but not those: what was there before must not stay.
	reads(t, "\x86\xa2id\x01\xa1x\x02\xa1y\x02\xa1z\x02\xa2id\x07\xa1z\x02", order{ID: 7})
	reads(t, "\x86\xa2at\x01\xa2at\x02\xa2at\x02\xa2at\x02\xa4paid\xc3\xa2at\x04", order{At: 4, Paid: true})
	reads(t, "\xc7\x0c\xff\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x01", time.Unix(1, 5).UTC())
	reads(t, "\xd7\xff\x00\x00\x00\x00\x00\x00\x00\x01", time.Unix(1, 0).UTC())
}

func reads[T comparable](t *testing.T, src string, want T) {
	t.Helper()
	got := want
	if used, ok := any(&got).(*order); ok {
		*used = anOrder
	}
	if rest, err := must[T](t).Decode([]byte(src), &got); err != nil || len(rest) > 0 || got != want {
		t.Errorf("% x: %v, want %v, error %v, %d left", src, got, want, err, len(rest))
	}
}

func TestHostileInput(t *testing.T) {
	// A value nested deeper than any stack should follow.
	deep := strings.Repeat("\x94\x00\xc0", 200000) + "\xc0"
	if _, err := must[*node](t).Decode([]byte(deep), new(*node)); err == nil || !strings.Contains(err.Error(), "more than 10000 deep") {
		t.Errorf("deep: %.200v", err)
	}
	// An unknown field nested as deeply is passed over without recursion.
	unknown := "\x81\xa1u" + strings.Repeat("\x91", 200000) + "\x01"
	if _, err := must[order](t).Decode([]byte(unknown), new(order)); err != nil {
		t.Errorf("unknown: %v", err)
	}
	// A length that the bytes behind it do not bear out allocates in proportion
	// to the bytes.
	type big struct{ Pad [1000]int64 }
	c := must[[]big](t)
	src := append([]byte("\xdd\x00\x00\x27\x10"), make([]byte, 10000)...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := c.Decode(src, new([]big)); err == nil {
		t.Error("8 kB for each byte of input")
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 2<<20 {
		t.Errorf("10 kB made us allocate %d bytes", got)
	}
}

func TestDecodeValuesKeepsWhatWasThere(t *testing.T) {
	c := must[string](t)
	vals := []string{"old"}
	got, rest, err := c.DecodeValues([]byte("\x93\xa1a\xa1b\x01"), vals)
	if err == nil || len(got) != 1 || len(rest) != 6 {
		t.Errorf("%v %d %v", got, len(rest), err)
	}
	if want := "flow/codec: byte 5, [2]: want string, found int 1"; err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, _, err := c.DecodeValues([]byte("\xc0"), vals); err == nil {
		t.Error("nil is read as an array of values")
	}
}
