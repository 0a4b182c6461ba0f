package file

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"

	fastjson "github.com/goccy/go-json"

	"github.com/weirflow/weir/operator"
)

// JSONLines reads files of one JSON value a line (also called ndjson) into T, by
// the rules of encoding/json. Lines of white space are passed over; a line that is
// not one JSON value that fits T is a bad record.
func JSONLines[T any](path string, opts ...JSONOption) operator.Source[T] {
	var set settings
	for _, o := range opts {
		o.json(&set)
	}
	s := newSource[T]("json", path, set)
	s.plan = planBytes
	if err := jsonable(reflect.TypeFor[T](), reflect.TypeFor[T]().String(), map[reflect.Type]bool{}); s.err == nil {
		s.err = err
	}
	s.open = openJSON[T]
	return s
}

var (
	unmarshaler     = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[interface{ UnmarshalText([]byte) error }]()
)

// jsonable refuses types that no JSON value fits. path is the way to t.
func jsonable(t reflect.Type, path string, seen map[reflect.Type]bool) error {
	if seen[t] {
		return nil
	}
	seen[t] = true
	if p := reflect.PointerTo(t); p.Implements(unmarshaler) || p.Implements(textUnmarshaler) {
		return nil
	}
	switch t.Kind() {
	case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
		return fmt.Errorf("file: %s is a %s, which JSON cannot hold; leave it out with the tag `json:\"-\"`", path, t)
	case reflect.Interface:
		if t.NumMethod() > 0 {
			return fmt.Errorf("file: %s is the interface %s, and JSON does not tell its type; use a concrete type", path, t)
		}
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return jsonable(t.Elem(), path, seen)
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			if !f.IsExported() && !f.Anonymous || f.Tag.Get("json") == "-" {
				continue
			}
			if err := jsonable(f.Type, path+"."+f.Name, seen); err != nil {
				return err
			}
		}
	}
	return nil
}

type jsonCursor[T any] struct {
	*lines
	strict   bool
	nullable bool // null is a value of T
}

func openJSON[T any](in *input, d splitData, env *environment) (cursor[T], error) {
	l, err := openLines(in, d, env)
	if err != nil {
		return nil, err
	}
	c := &jsonCursor[T]{lines: l, strict: env.set.strict}
	switch reflect.TypeFor[T]().Kind() {
	case reflect.Pointer, reflect.Interface, reflect.Map, reflect.Slice:
		c.nullable = true
	}
	return c, nil
}

func (c *jsonCursor[T]) read(into *operator.Records[T], max int) (bool, error) {
	for range max {
		line, more, done, err := c.next()
		if err != nil || !more {
			return done, err
		}
		line = bytes.Trim(line, " \t\r")
		if len(line) == 0 {
			continue
		}
		n := len(into.Values)
		var zero T
		into.Values = append(into.Values, zero)
		if err := c.decode(line, &into.Values[n]); err != nil {
			into.Values[n] = zero
			into.Values = into.Values[:n]
			if err := c.env.bad(c.where(), line, err.Error()); err != nil {
				return false, err
			}
		}
	}
	return false, nil
}

var errNull = errors.New("it is null")

// decode reads one value. The fast decoder (see docs/design/0003-json-decoder.md)
// decides about good records alone; when it refuses one, encoding/json has the
// last word, and says it better.
func (c *jsonCursor[T]) decode(line []byte, v *T) error {
	if !c.nullable && string(line) == "null" {
		return errNull
	}
	if c.strict {
		return strictJSON(line, v)
	}
	if fastJSON(line, v) == nil {
		return nil
	}
	var again T
	if err := json.Unmarshal(line, &again); err != nil {
		return err
	}
	*v = again
	return nil
}

// fastJSON makes an error of a panic: the decoder is not ours, and a record must
// not end a process.
func fastJSON(line []byte, v any) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("decoder panicked: %v", r)
		}
	}()
	return fastjson.Unmarshal(line, v)
}

// strictJSON refuses fields that v lacks.
func strictJSON(line []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return errors.New("unexpected end of JSON input")
		}
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the value")
	}
	return nil
}
