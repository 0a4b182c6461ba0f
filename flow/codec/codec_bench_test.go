package codec_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/weirflow/weir/flow/codec"
)

// order is the flat struct of six fields that the speed of the codec is stated for.
type order struct {
	ID       int64   `msgpack:"id"`
	Customer string  `msgpack:"customer"`
	Amount   float64 `msgpack:"amount"`
	Quantity int32   `msgpack:"quantity"`
	Paid     bool    `msgpack:"paid"`
	At       int64   `msgpack:"at"`
}

var anOrder = order{ID: 712345, Customer: "customer-4711", Amount: 129.95, Quantity: 3, Paid: true, At: 1767225600000000}

// reading is the same without a string.
type reading struct {
	Sensor, At       int64
	Value, Deviation float64
	Count            int32
	OK               bool
}

func must[T any](tb testing.TB) *codec.Codec[T] {
	tb.Helper()
	c, err := codec.For[T]()
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func BenchmarkEncode(b *testing.B) {
	benchEncode(b, "strings", anOrder)
	benchEncode(b, "numbers", reading{17, 1767225600000000, 21.5, 0.25, 4, true})
}

func benchEncode[T any](b *testing.B, name string, v T) {
	c := must[T](b)
	b.Run(name+"/ours", func(b *testing.B) {
		b.ReportAllocs()
		var buf []byte
		for b.Loop() {
			buf = c.Append(buf[:0], &v)
		}
		b.SetBytes(int64(len(buf)))
	})
	b.Run(name+"/ours-named", func(b *testing.B) {
		b.ReportAllocs()
		var buf []byte
		for b.Loop() {
			buf = c.AppendNamed(buf[:0], &v)
		}
	})
	b.Run(name+"/ours-batch", func(b *testing.B) {
		vals := make([]T, 1024)
		for i := range vals {
			vals[i] = v
		}
		b.ReportAllocs()
		var buf []byte
		for i := 0; i < b.N; i += len(vals) {
			buf = c.AppendValues(buf[:0], vals)
		}
	})
	for _, arrays := range []bool{true, false} {
		b.Run(name+map[bool]string{true: "/library-array", false: "/library-map"}[arrays], func(b *testing.B) {
			b.ReportAllocs()
			var buf bytes.Buffer
			enc := msgpack.NewEncoder(&buf)
			enc.UseArrayEncodedStructs(arrays)
			for b.Loop() {
				buf.Reset()
				if err := enc.Encode(&v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	benchDecode(b, "strings", anOrder)
	benchDecode(b, "numbers", reading{17, 1767225600000000, 21.5, 0.25, 4, true})
}

func benchDecode[T any](b *testing.B, name string, v T) {
	c := must[T](b)
	array, named := c.Append(nil, &v), c.AppendNamed(nil, &v)
	for _, form := range []struct {
		name string
		src  []byte
	}{{"array", array}, {"map", named}} {
		b.Run(name+"/ours-"+form.name, func(b *testing.B) {
			b.ReportAllocs()
			var w T
			for b.Loop() {
				if _, err := c.Decode(form.src, &w); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/library-"+form.name, func(b *testing.B) {
			b.ReportAllocs()
			r := bytes.NewReader(form.src)
			dec := msgpack.NewDecoder(r)
			var w T
			for b.Loop() {
				r.Reset(form.src)
				dec.Reset(r)
				if err := dec.Decode(&w); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run(name+"/ours-batch", func(b *testing.B) {
		vals := make([]T, 1024)
		for i := range vals {
			vals[i] = v
		}
		src := c.AppendValues(nil, vals)
		b.ReportAllocs()
		for i := 0; i < b.N; i += len(vals) {
			var err error
			if vals, _, err = c.DecodeValues(src, vals[:0]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkAgainstLibrary states the speed as a ratio. The two sides take turns in
// short slices and the fastest slice of each counts, so that the figures hold on a
// machine that does other things too.
func BenchmarkAgainstLibrary(b *testing.B) {
	againstLibraryIn(b, "strings", anOrder)
	againstLibraryIn(b, "numbers", reading{17, 1767225600000000, 21.5, 0.25, 4, true})
}

func againstLibraryIn[T any](b *testing.B, name string, v T) {
	c := must[T](b)
	var buf []byte
	vals := make([]T, 256)
	for i := range vals {
		vals[i] = v
	}
	batch := c.AppendValues(nil, vals)
	encodeOurs := func(n int) {
		for range n {
			buf = c.Append(buf[:0], &v)
		}
	}
	encodeBatch := func(n int) {
		for ; n > 0; n -= len(vals) {
			buf = c.AppendValues(buf[:0], vals)
		}
	}
	decodeBatch := func(n int) {
		for ; n > 0; n -= len(vals) {
			vals, _, _ = c.DecodeValues(batch, vals[:0])
		}
	}
	for _, form := range []string{"array", "map"} {
		src := c.Append(nil, &v)
		if form == "map" {
			src = c.AppendNamed(nil, &v)
			encodeOurs = func(n int) {
				for range n {
					buf = c.AppendNamed(buf[:0], &v)
				}
			}
		}
		var out bytes.Buffer
		enc := msgpack.NewEncoder(&out)
		enc.UseArrayEncodedStructs(form == "array")
		encodeLibrary := func(n int) {
			for range n {
				out.Reset()
				if err := enc.Encode(&v); err != nil {
					b.Fatal(err)
				}
			}
		}
		var w T
		in := bytes.NewReader(src)
		dec := msgpack.NewDecoder(in)
		decodeOurs := func(n int) {
			for range n {
				if _, err := c.Decode(src, &w); err != nil {
					b.Fatal(err)
				}
			}
		}
		decodeLibrary := func(n int) {
			for range n {
				in.Reset(src)
				dec.Reset(in)
				if err := dec.Decode(&w); err != nil {
					b.Fatal(err)
				}
			}
		}
		ratio(b, name+"/encode-"+form, encodeOurs, encodeLibrary)
		ratio(b, name+"/decode-"+form, decodeOurs, decodeLibrary)
		if form == "array" {
			ratio(b, name+"/encode-batch", encodeBatch, encodeLibrary)
			ratio(b, name+"/decode-batch", decodeBatch, decodeLibrary)
		}
	}
}

func ratio(b *testing.B, name string, ours, library func(n int)) {
	const slice = 1024
	b.Run(name, func(b *testing.B) {
		fastest := [2]time.Duration{time.Hour, time.Hour}
		for b.Loop() {
			for i, f := range []func(int){ours, library} {
				start := time.Now()
				f(slice)
				fastest[i] = min(fastest[i], time.Since(start))
			}
		}
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(fastest[0])/slice, "ns/ours")
		b.ReportMetric(float64(fastest[1])/slice, "ns/library")
		b.ReportMetric(float64(fastest[1])/float64(fastest[0]), "times")
	})
}
