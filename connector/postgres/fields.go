package postgres

import (
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode"
)

// field is a column of the rows.
type field struct {
	column string
	index  []int // of reflect
}

// fieldsOf lists the columns of a struct. Embedded structs are part of it.
func fieldsOf[T any]() ([]field, error) {
	t := reflect.TypeFor[T]()
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("rows are structs with a field for each column; %s is not one", t)
	}
	fields := addFields(nil, t, nil)
	if len(fields) == 0 {
		return nil, fmt.Errorf("%s has no exported field for a column", t)
	}
	seen := map[string]string{}
	for _, f := range fields {
		name := t.FieldByIndex(f.index).Name
		if other, ok := seen[f.column]; ok {
			return nil, fmt.Errorf("the fields %s and %s of %s are both the column %q", other, name, t, f.column)
		}
		seen[f.column] = name
	}
	return fields, nil
}

func addFields(fields []field, t reflect.Type, at []int) []field {
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("pg")
		index := append(at[:len(at):len(at)], i)
		switch {
		case tag == "-":
		case f.Anonymous && tag == "" && f.Type.Kind() == reflect.Struct && f.Type != reflect.TypeFor[time.Time]():
			fields = addFields(fields, f.Type, index)
		case !f.IsExported():
		case tag != "":
			fields = append(fields, field{tag, index})
		default:
			fields = append(fields, field{snake(f.Name), index})
		}
	}
	return fields
}

// snake is UserID as user_id.
func snake(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		if unicode.IsUpper(r) && i > 0 {
			after := i+1 < len(runes) && unicode.IsLower(runes[i+1])
			if !unicode.IsUpper(runes[i-1]) || after {
				b.WriteByte('_')
			}
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
