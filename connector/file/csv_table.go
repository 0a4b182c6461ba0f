package file

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/weirflow/weir/operator"
)

// csvTable says which column goes to which field.
type csvTable struct {
	names []string
	set1  []setter // by column; nil where the column is passed over
}

// setter sets a field of the record at p.
type setter func(p unsafe.Pointer, value string) error

// newCSVTable matches columns and fields. from says who named the columns.
func newCSVTable(fields []field, names []string, from string) (*csvTable, error) {
	t := &csvTable{names: make([]string, len(names)), set1: make([]setter, len(names))}
	for i, n := range names {
		// The header's memory is not kept for the whole split.
		t.names[i] = strings.Clone(strings.TrimSpace(n))
	}
	for _, f := range fields {
		i := column(t.names, f.name)
		if i < 0 {
			if f.pointer {
				continue
			}
			return nil, fmt.Errorf("file: no column %q for the field %s: %s names %q; name the column in a tag `csv:\"...\"`, make the field a pointer if not all files have it, or set Columns if the file has no header",
				f.name, f.goName, from, t.names)
		}
		if t.set1[i] != nil {
			return nil, fmt.Errorf("file: the column %q belongs to two fields, one of them %s", t.names[i], f.goName)
		}
		t.set1[i] = setterOf(f)
	}
	for i, n := range t.names {
		for _, m := range t.names[:i] {
			if n == m && n != "" && t.set1[column(t.names, n)] != nil {
				return nil, fmt.Errorf("file: %s names the column %q twice", from, n)
			}
		}
	}
	return t, nil
}

// set sets the fields of the record at p to the values of a record.
func (t *csvTable) set(values []string, p unsafe.Pointer) string {
	if len(values) != len(t.set1) {
		return fmt.Sprintf("it has %d fields, but there are %d columns", len(values), len(t.set1))
	}
	for i, v := range values {
		if set := t.set1[i]; set != nil {
			if err := set(p, v); err != nil {
				return t.complain(i, err)
			}
		}
	}
	return ""
}

func (t *csvTable) complain(i int, err error) string {
	return fmt.Sprintf("column %q: %v", t.names[i], err)
}

// setterOf makes the setter of a field's type.
func setterOf(f field) setter {
	if f.pointer {
		inner := f
		inner.pointer, inner.offset = false, 0
		set, typ, off := setterOf(inner), f.typ, f.offset
		return func(p unsafe.Pointer, v string) error {
			if v == "" {
				return nil
			}
			x := reflect.New(typ).UnsafePointer()
			*(*unsafe.Pointer)(unsafe.Add(p, off)) = x
			return set(x, v)
		}
	}
	off := f.offset
	switch f.typ {
	case timeType:
		layout, _ := strings.CutPrefix(f.options, "layout=")
		return func(p unsafe.Pointer, v string) error {
			t, err := parseTime(layout, v)
			*(*time.Time)(unsafe.Add(p, off)) = t
			return err
		}
	case bytesType:
		return func(p unsafe.Pointer, v string) error {
			*(*[]byte)(unsafe.Add(p, off)) = []byte(v)
			return nil
		}
	}
	switch kindOf(f.typ) {
	case reflect.String:
		return func(p unsafe.Pointer, v string) error {
			*(*string)(unsafe.Add(p, off)) = v
			return nil
		}
	case reflect.Bool:
		return func(p unsafe.Pointer, v string) error {
			b, err := strconv.ParseBool(v)
			if err != nil {
				return unlike(v, "true or false", err)
			}
			*(*bool)(unsafe.Add(p, off)) = b
			return nil
		}
	case reflect.Int64:
		return signed[int64](off, 64)
	case reflect.Int32:
		return signed[int32](off, 32)
	case reflect.Int16:
		return signed[int16](off, 16)
	case reflect.Int8:
		return signed[int8](off, 8)
	case reflect.Uint64:
		return unsigned[uint64](off, 64)
	case reflect.Uint32:
		return unsigned[uint32](off, 32)
	case reflect.Uint16:
		return unsigned[uint16](off, 16)
	case reflect.Uint8:
		return unsigned[uint8](off, 8)
	case reflect.Float64:
		return float[float64](off, 64)
	case reflect.Float32:
		return float[float32](off, 32)
	}
	panic("file: no setter for " + f.typ.String() + ", which flat lets pass")
}

func signed[N int8 | int16 | int32 | int64](off uintptr, bits int) setter {
	return func(p unsafe.Pointer, v string) error {
		n, err := strconv.ParseInt(v, 10, bits)
		if err != nil {
			return unlike(v, fmt.Sprintf("an integer of %d bits", bits), err)
		}
		*(*N)(unsafe.Add(p, off)) = N(n)
		return nil
	}
}

func unsigned[N uint8 | uint16 | uint32 | uint64](off uintptr, bits int) setter {
	return func(p unsafe.Pointer, v string) error {
		n, err := strconv.ParseUint(v, 10, bits)
		if err != nil {
			return unlike(v, fmt.Sprintf("an unsigned integer of %d bits", bits), err)
		}
		*(*N)(unsafe.Add(p, off)) = N(n)
		return nil
	}
}

func float[N float32 | float64](off uintptr, bits int) setter {
	return func(p unsafe.Pointer, v string) error {
		n, err := strconv.ParseFloat(v, bits)
		if err != nil {
			return unlike(v, "a number", err)
		}
		*(*N)(unsafe.Add(p, off)) = N(n)
		return nil
	}
}

// unlike is the error of a value that is not what its field wants.
func unlike(v, want string, err error) error {
	if errors.Is(err, strconv.ErrRange) {
		return fmt.Errorf("%q is out of range for %s", operator.Excerpt(v, 40), want)
	}
	return fmt.Errorf("%q is not %s", operator.Excerpt(v, 40), want)
}

var timeLayouts = []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999", time.DateOnly}

func parseTime(layout, v string) (time.Time, error) {
	if layout != "" {
		t, err := time.Parse(layout, v)
		if err != nil {
			return time.Time{}, fmt.Errorf("%q is not a time of the form %q", operator.Excerpt(v, 40), layout)
		}
		return t, nil
	}
	for _, l := range timeLayouts {
		if t, err := time.Parse(l, v); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a time in RFC 3339", operator.Excerpt(v, 40))
}
