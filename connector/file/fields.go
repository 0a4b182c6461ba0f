package file

import (
	"fmt"
	"reflect"
	"strings"
	"time"
)

// field is a field of a record type that holds one column.
type field struct {
	name    string // the column's
	goName  string
	options string // what follows the name in the tag
	offset  uintptr
	typ     reflect.Type // without the pointer, if it is one
	pointer bool         // nil where the column has no value
}

var (
	timeType  = reflect.TypeFor[time.Time]()
	bytesType = reflect.TypeFor[[]byte]()
)

// fieldsOf lists the columns of the struct type T: the exported fields, named by
// the struct tag key or else by their Go name. Embedded structs are part of it.
func fieldsOf[T any](format, key string) ([]field, error) {
	t := reflect.TypeFor[T]()
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("file: %s records are structs with a field for each column; %s is not one", format, t)
	}
	var fields []field
	if err := addFields(&fields, t, 0, format, key, t.String()); err != nil {
		return nil, err
	}
	if len(fields) == 0 {
		return nil, fmt.Errorf("file: %s has no exported field for a %s column", t, format)
	}
	names := map[string]string{}
	for _, f := range fields {
		if other, ok := names[f.name]; ok {
			return nil, fmt.Errorf("file: the fields %s and %s of %s are both named %q in %s", other, f.goName, t, f.name, format)
		}
		names[f.name] = f.goName
	}
	return fields, nil
}

func addFields(fields *[]field, t reflect.Type, base uintptr, format, key, owner string) error {
	for i := range t.NumField() {
		sf := t.Field(i)
		tag := sf.Tag.Get(key)
		if tag == "-" {
			continue
		}
		if sf.Anonymous && tag == "" && sf.Type.Kind() == reflect.Struct && sf.Type != timeType {
			if err := addFields(fields, sf.Type, base+sf.Offset, format, key, owner); err != nil {
				return err
			}
			continue
		}
		if !sf.IsExported() {
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		if name == "" {
			name = sf.Name
		}
		f := field{name: name, goName: sf.Name, options: options, offset: base + sf.Offset, typ: sf.Type}
		if f.typ.Kind() == reflect.Pointer {
			f.pointer, f.typ = true, f.typ.Elem()
		}
		if !flat(f.typ) {
			return fmt.Errorf("file: field %s of %s is a %s, which a %s column cannot hold; use a number, bool, string, []byte or time.Time, or leave the field out with the tag `%s:\"-\"`",
				sf.Name, owner, sf.Type, format, key)
		}
		*fields = append(*fields, f)
	}
	return nil
}

// flat reports whether a column can hold a type.
func flat(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Bool, reflect.String, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return true
	}
	return t == timeType || t == bytesType
}

// column finds a column by name: as it is written, or else in any case. -1 is none.
func column(names []string, name string) int {
	for i, n := range names {
		if n == name {
			return i
		}
	}
	for i, n := range names {
		if strings.EqualFold(n, name) {
			return i
		}
	}
	return -1
}

// kindOf is a type's kind, with int and uint by the size they have here: fields are
// written through pointers to the sized types.
func kindOf(t reflect.Type) reflect.Kind {
	switch k := t.Kind(); {
	case k == reflect.Int && t.Size() == 8:
		return reflect.Int64
	case k == reflect.Int:
		return reflect.Int32
	case k == reflect.Uint && t.Size() == 8:
		return reflect.Uint64
	case k == reflect.Uint:
		return reflect.Uint32
	default:
		return k
	}
}
