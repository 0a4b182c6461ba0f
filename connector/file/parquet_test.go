package file

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"pgregory.net/rapid"
)

// parquetFile writes clicks with the library alone, and a column that they lack.
func parquetFile(t testing.TB, records []click, perGroup int64, codec compress.Compression) []byte {
	t.Helper()
	s := arrow.NewSchema([]arrow.Field{
		{Name: "other", Type: arrow.PrimitiveTypes.Float64},
		{Name: "n", Type: arrow.PrimitiveTypes.Int64},
		{Name: "user", Type: arrow.BinaryTypes.String, Nullable: true},
	}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, s)
	for _, r := range records {
		b.Field(0).(*array.Float64Builder).Append(1)
		b.Field(1).(*array.Int64Builder).Append(r.N)
		if r.User == "" {
			b.Field(2).AppendNull()
		} else {
			b.Field(2).(*array.StringBuilder).Append(r.User)
		}
	}
	var out bytes.Buffer
	w, err := pqarrow.NewFileWriter(s, &out, parquet.NewWriterProperties(parquet.WithMaxRowGroupLength(perGroup), parquet.WithCompression(codec), parquet.WithDataPageSize(64)), pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	rec := b.NewRecordBatch()
	if err := w.Write(rec); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// checked makes a source use an allocator that counts.
func checked(m memory.Allocator) SourceOption { return func(s *settings) { s.testing.allocator = m } }

func TestParquetSplitsAndRestarts(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		want := clicks(rapid.IntRange(0, 40).Draw(rt, "records"))
		for i := range want {
			if i%5 == 0 {
				want[i].User = ""
			}
		}
		codec := rapid.SampledFrom([]compress.Compression{compress.Codecs.Uncompressed, compress.Codecs.Snappy, compress.Codecs.Zstd, compress.Codecs.Gzip}).Draw(rt, "codec")
		data := parquetFile(t, want, rapid.Int64Range(1, 20).Draw(rt, "group"), codec)
		n++
		path := filepath.Join(dir, fmt.Sprint(n))
		if err := os.WriteFile(path, data, 0o666); err != nil {
			rt.Fatal(err)
		}
		mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
		r := run[click]{t: t, src: Parquet[click](path, SplitSize(rapid.Int64Range(10, 400).Draw(rt, "split")), checked(mem)),
			max:     rapid.IntRange(1, 9).Draw(rt, "max"),
			restart: func() bool { return rapid.IntRange(0, 3).Draw(rt, "restart") == 0 },
		}
		if err := r.all(); err != nil {
			rt.Fatal(err)
		}
		if !slices.Equal(r.values, want) || len(r.bad) > 0 {
			rt.Fatalf("got %v, want %v, bad %v", r.values, want, r.bad)
		}
		mem.AssertSize(rt, 0)
	})
}

func TestParquetBad(t *testing.T) {
	good := parquetFile(t, clicks(100), 10, compress.Codecs.Snappy)
	page := bytes.Clone(good)
	for i := 20; i < 400; i++ {
		page[i] ^= 0x55
	}
	for name, data := range map[string][]byte{
		"not parquet": []byte("hello, this is no parquet file"),
		"short":       []byte("PAR1"),
		"cut off":     good[:len(good)/2],
		"page":        page,
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, "in.parquet", data)
			mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
			r := run[click]{t: t, src: Parquet[click](path, checked(mem))}
			if err := r.all(); err != nil {
				t.Fatal(err)
			}
			if len(r.bad) != 1 || !strings.HasPrefix(r.bad[0].Where, path) || !strings.Contains(r.bad[0].Reason, "Parquet") {
				t.Errorf("bad records: %+v", r.bad)
			}
		})
	}
}

func TestParquetTypes(t *testing.T) {
	type row struct {
		I    int
		U8   uint16 `parquet:"u8"`
		F    float64
		B    bool
		S    *string
		Raw  []byte
		When time.Time
		Day  *time.Time
		Gone *int64   `parquet:"not there"`
		Skip chan int `parquet:"-"`
	}
	s := arrow.NewSchema([]arrow.Field{
		{Name: "i", Type: arrow.PrimitiveTypes.Int32}, {Name: "u8", Type: arrow.PrimitiveTypes.Uint8},
		{Name: "f", Type: arrow.PrimitiveTypes.Float32, Nullable: true}, {Name: "b", Type: arrow.FixedWidthTypes.Boolean},
		{Name: "s", Type: arrow.BinaryTypes.String, Nullable: true}, {Name: "raw", Type: arrow.BinaryTypes.Binary},
		{Name: "when", Type: arrow.FixedWidthTypes.Timestamp_ms}, {Name: "day", Type: arrow.FixedWidthTypes.Date32},
	}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, s)
	if err := b.UnmarshalJSON([]byte(`{"i":-5,"u8":200,"f":1.5,"b":true,"s":"x","raw":"YWI=","when":"2026-01-02T03:04:05.006Z","day":"2026-01-02"}`)); err != nil {
		t.Fatal(err)
	}
	if err := b.UnmarshalJSON([]byte(`{"i":6,"u8":1,"f":null,"b":false,"s":null,"raw":"","when":"1969-01-02T03:04:05Z","day":"1960-01-02"}`)); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := pqarrow.NewFileWriter(s, &out, nil, pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(b.NewRecordBatch()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := write(t, "in.parquet", out.Bytes())
	r := run[row]{t: t, src: Parquet[row](path)}
	if err := r.all(); err != nil {
		t.Fatal(err)
	}
	x := "x"
	d1, d2 := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC), time.Date(1960, 1, 2, 0, 0, 0, 0, time.UTC)
	want := []row{
		{I: -5, U8: 200, F: 1.5, B: true, S: &x, Raw: []byte("ab"), When: time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC), Day: &d1},
		{I: 6, U8: 1, Raw: []byte{}, When: time.Date(1969, 1, 2, 3, 4, 5, 0, time.UTC), Day: &d2},
	}
	if !reflect.DeepEqual(r.values, want) {
		t.Errorf("got %+v, want %+v; bad %v", r.values, want, r.bad)
	}

	type narrow struct{ I int16 }
	nr := run[narrow]{t: t, src: Parquet[narrow](path)}
	if err := nr.all(); err == nil || !strings.Contains(err.Error(), `the column "i"`) || !strings.Contains(err.Error(), "int16") {
		t.Errorf("a narrower field: %v", err)
	}
	type missing struct{ Zip string }
	mr := run[missing]{t: t, src: Parquet[missing](path)}
	if err := mr.all(); err == nil || !strings.Contains(err.Error(), `no column "Zip"`) {
		t.Errorf("a missing column: %v", err)
	}
}

func FuzzParquet(f *testing.F) {
	f.Add(parquetFile(f, clicks(10), 5, compress.Codecs.Snappy))
	f.Add(parquetFile(f, clicks(10), 5, compress.Codecs.Uncompressed))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, in []byte) {
		path := filepath.Join(dir, "in")
		if err := os.WriteFile(path, in, 0o666); err != nil {
			t.Fatal(err)
		}
		r := run[click]{t: t, src: Parquet[click](path, SplitSize(100)), max: 3}
		_ = r.all() // types that do not fit are an error
	})
}
