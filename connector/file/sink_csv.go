package file

import (
	"io"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unsafe"
)

// CSVSink writes structs as comma-separated values, with a header line, to files
// in the folder dir. Fields are as for [CSV], which reads the files again: a nil
// pointer is an empty column, and times are in RFC 3339 if their tag has no layout.
func CSVSink[T any](dir string, opts ...CSVSinkOption) *Sink[T] {
	var set sinkSettings
	for _, o := range opts {
		o.csvSink(&set)
	}
	s := newSink[T]("csv", dir, ".csv"+packedSuffix(set.codec), set)
	fields, err := fieldsOf[T]("CSV", "csv")
	if err != nil {
		if s.err == nil {
			s.err = err
		}
		return s
	}
	columns := make([]appender, len(fields))
	for i, f := range fields {
		columns[i] = appenderOf(f, s.set.comma)
	}
	s.encoder = func(w io.Writer) (encoder[T], error) {
		e := &csvEncoder[T]{lineBuffer: newLineBuffer(w), columns: columns, comma: s.set.comma}
		if set.noHeader {
			return e, nil
		}
		var line []byte
		for i, f := range fields {
			if i > 0 {
				line = append(line, e.comma)
			}
			line = appendQuoted(line, f.name, e.comma)
		}
		_, err := e.Write(append(line, '\n'))
		return e, err
	}
	return s
}

type csvEncoder[T any] struct {
	lineBuffer
	columns []appender
	comma   byte
	line    []byte
}

// appender appends a field of the record at p.
type appender func(dst []byte, p unsafe.Pointer) []byte

func (e *csvEncoder[T]) encode(v *T) error {
	line, p := e.line[:0], unsafe.Pointer(v)
	for i, add := range e.columns {
		if i > 0 {
			line = append(line, e.comma)
		}
		line = add(line, p)
	}
	if len(line) == 0 {
		line = append(line, `""`...) // a lone empty column is not an empty line
	}
	e.line = append(line, '\n')
	_, err := e.Write(e.line)
	return err
}

// appendQuoted quotes a value that needs it.
func appendQuoted(dst []byte, v string, comma byte) []byte {
	if strings.IndexByte(v, comma) < 0 && !strings.ContainsAny(v, "\"\r\n") && !strings.HasPrefix(v, string(mark)) {
		return append(dst, v...)
	}
	dst = append(dst, '"')
	for {
		i := strings.IndexByte(v, '"')
		if i < 0 {
			break
		}
		dst = append(append(dst, v[:i]...), `""`...)
		v = v[i+1:]
	}
	return append(append(dst, v...), '"')
}

func appenderOf(f field, comma byte) appender {
	off := f.offset
	if f.pointer {
		inner := f
		inner.pointer, inner.offset = false, 0
		add := appenderOf(inner, comma)
		return func(dst []byte, p unsafe.Pointer) []byte {
			if v := *(*unsafe.Pointer)(unsafe.Add(p, off)); v != nil {
				return add(dst, v)
			}
			return dst
		}
	}
	switch f.typ {
	case timeType:
		layout, _ := strings.CutPrefix(f.options, "layout=")
		if layout == "" {
			layout = time.RFC3339Nano
		}
		return func(dst []byte, p unsafe.Pointer) []byte {
			return appendQuoted(dst, (*time.Time)(unsafe.Add(p, off)).Format(layout), comma)
		}
	case bytesType:
		return func(dst []byte, p unsafe.Pointer) []byte {
			return appendQuoted(dst, stringOf(*(*[]byte)(unsafe.Add(p, off))), comma)
		}
	}
	switch kindOf(f.typ) {
	case reflect.String:
		return func(dst []byte, p unsafe.Pointer) []byte {
			return appendQuoted(dst, *(*string)(unsafe.Add(p, off)), comma)
		}
	case reflect.Bool:
		return func(dst []byte, p unsafe.Pointer) []byte {
			return strconv.AppendBool(dst, *(*bool)(unsafe.Add(p, off)))
		}
	case reflect.Int64:
		return appendSigned[int64](off)
	case reflect.Int32:
		return appendSigned[int32](off)
	case reflect.Int16:
		return appendSigned[int16](off)
	case reflect.Int8:
		return appendSigned[int8](off)
	case reflect.Uint64:
		return appendUnsigned[uint64](off)
	case reflect.Uint32:
		return appendUnsigned[uint32](off)
	case reflect.Uint16:
		return appendUnsigned[uint16](off)
	case reflect.Uint8:
		return appendUnsigned[uint8](off)
	case reflect.Float64:
		return func(dst []byte, p unsafe.Pointer) []byte {
			return strconv.AppendFloat(dst, *(*float64)(unsafe.Add(p, off)), 'g', -1, 64)
		}
	case reflect.Float32:
		return func(dst []byte, p unsafe.Pointer) []byte {
			return strconv.AppendFloat(dst, float64(*(*float32)(unsafe.Add(p, off))), 'g', -1, 32)
		}
	}
	panic("file: no appender for " + f.typ.String() + ", which flat lets pass")
}

func appendSigned[N int8 | int16 | int32 | int64](off uintptr) appender {
	return func(dst []byte, p unsafe.Pointer) []byte {
		return strconv.AppendInt(dst, int64(*(*N)(unsafe.Add(p, off))), 10)
	}
}

func appendUnsigned[N uint8 | uint16 | uint32 | uint64](off uintptr) appender {
	return func(dst []byte, p unsafe.Pointer) []byte {
		return strconv.AppendUint(dst, uint64(*(*N)(unsafe.Add(p, off))), 10)
	}
}
