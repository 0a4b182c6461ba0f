package file

import (
	"fmt"
	"io"
	"reflect"
	"time"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
)

// ParquetSink writes structs to Parquet files in the folder dir. Fields are as for
// [Parquet]; pointers are columns with nulls, times are timestamps in microseconds,
// UTC. Row groups have about 16 MB, which is what each open file holds in memory:
// with [Sink.PartitionBy], mind [MaxOpen].
func ParquetSink[T any](dir string, opts ...SinkOption) *Sink[T] {
	set := sinkOptions(opts)
	s := newSink[T]("parquet", dir, ".parquet", set)
	fields, err := fieldsOf[T]("Parquet", "parquet")
	if err != nil {
		if s.err == nil {
			s.err = err
		}
		return s
	}
	columns := make([]arrow.Field, len(fields))
	builders := make([]columnBuilder, len(fields))
	for i, f := range fields {
		var t arrow.DataType
		t, builders[i] = builderOf(f)
		columns[i] = arrow.Field{Name: f.name, Type: t, Nullable: f.pointer}
	}
	schema := arrow.NewSchema(columns, nil)
	s.encoder = func(w io.Writer) (encoder[T], error) { return newParquetEncoder[T](w, &s.set, schema, builders) }
	return s
}

// columnBuilder appends the field of a record at p to its column.
type columnBuilder func(b array.Builder, p unsafe.Pointer)

type parquetEncoder[T any] struct {
	w        *pqarrow.FileWriter
	rb       *array.RecordBuilder
	columns  []array.Builder
	builders []columnBuilder
	rows     int
	group    int64 // bytes of a row group
	pending  int64 // bytes of the current one
}

func newParquetEncoder[T any](w io.Writer, set *sinkSettings, schema *arrow.Schema, builders []columnBuilder) (encoder[T], error) {
	mem, ok := set.testing.allocator.(memory.Allocator)
	if !ok {
		mem = memory.DefaultAllocator
	}
	codec := compress.Codecs.Snappy
	switch set.codec {
	case Gzip:
		codec = compress.Codecs.Gzip
	case Zstd:
		codec = compress.Codecs.Zstd
	}
	fw, err := pqarrow.NewFileWriter(schema, w,
		parquet.NewWriterProperties(parquet.WithCompression(codec), parquet.WithAllocator(mem), parquet.WithCreatedBy("weir")),
		pqarrow.NewArrowWriterProperties(pqarrow.WithAllocator(mem)))
	if err != nil {
		return nil, fmt.Errorf("beginning a Parquet file: %w", err)
	}
	rb := array.NewRecordBuilder(mem, schema)
	return &parquetEncoder[T]{w: fw, rb: rb, columns: rb.Fields(), builders: builders, group: set.testing.rowGroup}, nil
}

func (e *parquetEncoder[T]) encode(v *T) error {
	p := unsafe.Pointer(v)
	for i, build := range e.builders {
		build(e.columns[i], p)
	}
	if e.rows++; e.rows == rowsPerWrite {
		return e.flush()
	}
	return nil
}

// rowsPerWrite is the number of rows that are handed to the library at once.
const rowsPerWrite = 1024

// flush adds the rows to the row group, and ends it if it is large enough.
func (e *parquetEncoder[T]) flush() error {
	e.rows = 0
	rec := e.rb.NewRecordBatch()
	defer rec.Release()
	if err := e.w.WriteBuffered(rec); err != nil {
		return fmt.Errorf("writing Parquet columns: %w", err)
	}
	if e.pending = e.w.RowGroupTotalBytesWritten(); e.pending >= e.group {
		e.pending = 0
		if err := e.w.NewBufferedRowGroupChecked(); err != nil {
			return fmt.Errorf("ending a Parquet row group: %w", err)
		}
	}
	return nil
}

func (e *parquetEncoder[T]) buffered() int64 { return e.pending }

func (e *parquetEncoder[T]) finish() error {
	defer e.rb.Release()
	if e.rows > 0 {
		if err := e.flush(); err != nil {
			return err
		}
	}
	if err := e.w.Close(); err != nil {
		return fmt.Errorf("ending a Parquet file: %w", err)
	}
	return nil
}

// builderOf is the column type of a field, and what appends to it.
func builderOf(f field) (arrow.DataType, columnBuilder) {
	switch f.typ {
	case timeType:
		return arrow.FixedWidthTypes.Timestamp_us, build(f, func(b *array.TimestampBuilder, v *time.Time) {
			b.Append(arrow.Timestamp(v.UnixMicro()))
		})
	case bytesType:
		return arrow.BinaryTypes.Binary, build(f, func(b *array.BinaryBuilder, v *[]byte) { b.Append(*v) })
	}
	switch kindOf(f.typ) {
	case reflect.String:
		return arrow.BinaryTypes.String, build(f, func(b *array.StringBuilder, v *string) { b.Append(*v) })
	case reflect.Bool:
		return arrow.FixedWidthTypes.Boolean, build(f, func(b *array.BooleanBuilder, v *bool) { b.Append(*v) })
	case reflect.Int64:
		return arrow.PrimitiveTypes.Int64, build(f, func(b *array.Int64Builder, v *int64) { b.Append(*v) })
	case reflect.Int32:
		return arrow.PrimitiveTypes.Int32, build(f, func(b *array.Int32Builder, v *int32) { b.Append(*v) })
	case reflect.Int16:
		return arrow.PrimitiveTypes.Int16, build(f, func(b *array.Int16Builder, v *int16) { b.Append(*v) })
	case reflect.Int8:
		return arrow.PrimitiveTypes.Int8, build(f, func(b *array.Int8Builder, v *int8) { b.Append(*v) })
	case reflect.Uint64:
		return arrow.PrimitiveTypes.Uint64, build(f, func(b *array.Uint64Builder, v *uint64) { b.Append(*v) })
	case reflect.Uint32:
		return arrow.PrimitiveTypes.Uint32, build(f, func(b *array.Uint32Builder, v *uint32) { b.Append(*v) })
	case reflect.Uint16:
		return arrow.PrimitiveTypes.Uint16, build(f, func(b *array.Uint16Builder, v *uint16) { b.Append(*v) })
	case reflect.Uint8:
		return arrow.PrimitiveTypes.Uint8, build(f, func(b *array.Uint8Builder, v *uint8) { b.Append(*v) })
	case reflect.Float64:
		return arrow.PrimitiveTypes.Float64, build(f, func(b *array.Float64Builder, v *float64) { b.Append(*v) })
	case reflect.Float32:
		return arrow.PrimitiveTypes.Float32, build(f, func(b *array.Float32Builder, v *float32) { b.Append(*v) })
	}
	panic("file: no column type for " + f.typ.String() + ", which flat lets pass")
}

func build[B array.Builder, V any](f field, add func(B, *V)) columnBuilder {
	off := f.offset
	if !f.pointer {
		return func(b array.Builder, p unsafe.Pointer) { add(b.(B), (*V)(unsafe.Add(p, off))) }
	}
	return func(b array.Builder, p unsafe.Pointer) {
		if v := *(**V)(unsafe.Add(p, off)); v != nil {
			add(b.(B), v)
		} else {
			b.AppendNull()
		}
	}
}
