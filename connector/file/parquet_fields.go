package file

import (
	"errors"
	"fmt"
	"reflect"
	"time"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/parquet/schema"
)

// errMismatch marks what is wrong between a file and the program: it is no fault
// of the file.
var errMismatch = errors.New("types do not fit")

// filler copies n values of a column, from row from on, to the records at p, which
// are stride bytes apart.
type filler func(col arrow.Array, from, n int, p unsafe.Pointer, stride uintptr)

type parquetColumn struct {
	name string
	leaf int
	fill filler
}

// fill copies the next rows of the batch to records.
func (c *parquetCursor[T]) fill(records []T) error {
	p, stride := unsafe.Pointer(unsafe.SliceData(records)), unsafe.Sizeof(*new(T))
	for i, fill := range c.fillers {
		if fill != nil {
			fill(c.batch.Column(i), c.at, len(records), p, stride)
		}
	}
	return nil
}

// matchParquet finds the column of each field.
func matchParquet(s *arrow.Schema, leaves *schema.Schema, fields []field, path string) ([]parquetColumn, error) {
	names := make([]string, s.NumFields())
	for i := range names {
		names[i] = s.Field(i).Name
	}
	var columns []parquetColumn
	for _, f := range fields {
		i := column(names, f.name)
		if i < 0 {
			if f.pointer {
				continue
			}
			return nil, fmt.Errorf("file: %w: %s has no column %q for the field %s, it has %q; name the column in a tag `parquet:\"...\"`, or make the field a pointer if not all files have it",
				errMismatch, path, f.name, f.goName, names)
		}
		fill := fillerOf(f, s.Field(i).Type)
		leaf := leaves.ColumnIndexByName(names[i])
		if fill == nil || leaf < 0 {
			return nil, fmt.Errorf("file: %w: the column %q of %s is %s, and the field %s a %s; use a type that holds all its values",
				errMismatch, names[i], path, s.Field(i).Type, f.goName, f.typ)
		}
		columns = append(columns, parquetColumn{name: names[i], leaf: leaf, fill: fill})
	}
	if len(columns) == 0 {
		return nil, fmt.Errorf("file: %w: none of the columns %q of %s has a field", errMismatch, names, path)
	}
	return columns, nil
}

// fillerOf chooses by the types of the field and the column. It is nil where the
// field cannot hold all values of the column.
func fillerOf(f field, t arrow.DataType) filler {
	switch f.typ {
	case timeType:
		return timeFiller(f, t)
	case bytesType:
		switch t.ID() {
		case arrow.BINARY, arrow.STRING, arrow.LARGE_BINARY, arrow.LARGE_STRING, arrow.FIXED_SIZE_BINARY:
			return each(f, func(v []byte) []byte { return append([]byte{}, v...) }, rawAt)
		}
		return nil
	}
	switch kindOf(f.typ) {
	case reflect.String:
		switch t.ID() {
		case arrow.STRING:
			if !f.pointer {
				return fillStrings(f.offset)
			}
			return each(f, func(v []byte) string { return string(v) }, rawAt)
		case arrow.LARGE_STRING, arrow.BINARY, arrow.LARGE_BINARY:
			return each(f, func(v []byte) string { return string(v) }, rawAt)
		}
	case reflect.Bool:
		if t.ID() == arrow.BOOL {
			return each(f, same[bool], func(a arrow.Array) func(int) bool { return a.(*array.Boolean).Value })
		}
	case reflect.Int64:
		return integers[int64](f, t, 64, true)
	case reflect.Int32:
		return integers[int32](f, t, 32, true)
	case reflect.Int16:
		return integers[int16](f, t, 16, true)
	case reflect.Int8:
		return integers[int8](f, t, 8, true)
	case reflect.Uint64:
		return integers[uint64](f, t, 64, false)
	case reflect.Uint32:
		return integers[uint32](f, t, 32, false)
	case reflect.Uint16:
		return integers[uint16](f, t, 16, false)
	case reflect.Uint8:
		return integers[uint8](f, t, 8, false)
	case reflect.Float64:
		switch t.ID() {
		case arrow.FLOAT64:
			return numbers[float64, float64](f)
		case arrow.FLOAT32:
			return numbers[float32, float64](f)
		}
	case reflect.Float32:
		if t.ID() == arrow.FLOAT32 {
			return numbers[float32, float32](f)
		}
	}
	return nil
}

type number interface {
	int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64 | float32 | float64
}

// integers reads integers of up to bits bits.
func integers[N number](f field, t arrow.DataType, bits int, signed bool) filler {
	fixed, ok := t.(arrow.FixedWidthDataType)
	if !ok {
		return nil
	}
	width := fixed.BitWidth()
	switch id := t.ID(); {
	case arrow.IsSignedInteger(id):
		if !signed || width > bits {
			return nil
		}
	case arrow.IsUnsignedInteger(id):
		if signed && width >= bits || width > bits {
			return nil
		}
	default:
		return nil
	}
	switch t.ID() {
	case arrow.INT8:
		return numbers[int8, N](f)
	case arrow.INT16:
		return numbers[int16, N](f)
	case arrow.INT32:
		return numbers[int32, N](f)
	case arrow.INT64:
		return numbers[int64, N](f)
	case arrow.UINT8:
		return numbers[uint8, N](f)
	case arrow.UINT16:
		return numbers[uint16, N](f)
	case arrow.UINT32:
		return numbers[uint32, N](f)
	case arrow.UINT64:
		return numbers[uint64, N](f)
	}
	return nil
}

func numbers[From, To number](f field) filler {
	return each(f, func(v From) To { return To(v) }, func(a arrow.Array) func(int) From {
		return a.(interface{ Value(int) From }).Value
	})
}

// fillStrings copies the bytes of n strings at once, and makes the strings parts of
// the copy.
func fillStrings(off uintptr) filler {
	return func(col arrow.Array, from, n int, p unsafe.Pointer, stride uintptr) {
		a := col.(*array.String)
		raw, base := a.ValueBytes(), a.ValueOffset(0)
		begin := func(i int) int {
			if i == a.Len() {
				return len(raw)
			}
			return a.ValueOffset(i) - base
		}
		first := begin(from)
		all := string(raw[first:begin(from+n)])
		for i, at := 0, 0; i < n; i++ {
			end := begin(from+i+1) - first
			if a.IsValid(from + i) {
				*(*string)(unsafe.Add(p, uintptr(i)*stride+off)) = all[at:end]
			}
			at = end
		}
	}
}

func same[V any](v V) V { return v }

func rawAt(a arrow.Array) func(int) []byte {
	switch a := a.(type) {
	case *array.Binary:
		return a.Value
	case *array.LargeBinary:
		return a.Value
	case *array.FixedSizeBinary:
		return a.Value
	case interface{ Value(int) string }:
		return func(i int) []byte { s := a.Value(i); return unsafe.Slice(unsafe.StringData(s), len(s)) }
	}
	panic(fmt.Sprintf("file: a Parquet column of %T was taken for bytes", a))
}

// each makes a filler of a conversion. Nulls leave the field as it is: zero.
func each[From, To any](f field, convert func(From) To, values func(arrow.Array) func(int) From) filler {
	off, pointer := f.offset, f.pointer
	return func(col arrow.Array, from, n int, p unsafe.Pointer, stride uintptr) {
		at := values(col)
		nulls := col.NullN() > 0
		for i := range n {
			if nulls && col.IsNull(from+i) {
				continue
			}
			field := unsafe.Add(p, uintptr(i)*stride+off)
			if !pointer {
				*(*To)(field) = convert(at(from + i))
				continue
			}
			v := convert(at(from + i))
			*(**To)(field) = &v
		}
	}
}

func timeFiller(f field, t arrow.DataType) filler {
	switch t := t.(type) {
	case *arrow.TimestampType:
		unit := t.Unit
		return each(f, func(v arrow.Timestamp) time.Time { return v.ToTime(unit) },
			func(a arrow.Array) func(int) arrow.Timestamp { return a.(*array.Timestamp).Value })
	case *arrow.Date32Type:
		return each(f, func(v arrow.Date32) time.Time { return v.ToTime() },
			func(a arrow.Array) func(int) arrow.Date32 { return a.(*array.Date32).Value })
	case *arrow.Date64Type:
		return each(f, func(v arrow.Date64) time.Time { return v.ToTime() },
			func(a arrow.Array) func(int) arrow.Date64 { return a.(*array.Date64).Value })
	}
	return nil
}
