package codec

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
)

// JSONForm says how values become JSON.
type JSONForm uint8

const (
	// JSONPlain is for people and programs: maps are objects where their keys are
	// text, numbers, bools or times, otherwise lists of pairs [key, value]; floats that
	// JSON has no number for are "NaN", "+Inf" and "-Inf".
	JSONPlain JSONForm = iota
	// JSONTable is for tables, where all values of a type have one shape: maps are lists of
	// {"key": k, "value": v}; floats that JSON has no number for are null, and so are times
	// that have not four digits for the year; times have microseconds; see [JSON.Text] for what is a string of JSON.
	JSONTable
)

// JSON turns encoded values into JSON with nothing but their schema: for tools that
// read state without the program that wrote it. Bytes are in base64, times in
// RFC 3339, values of types with an encoding of their own as what they wrote. It may
// be used by any number of goroutines.
type JSON struct {
	form JSONForm
	root *jsonNode
}

// jsonNode is a schema whose references are resolved.
type jsonNode struct {
	kind   Kind
	len    int
	want   string
	key    *jsonNode
	elem   *jsonNode
	fields []jsonField
	byName map[string]*jsonField
	text   bool
}

type jsonField struct {
	quoted string // with the colon
	name   string
	node   *jsonNode
}

// NewJSON makes a JSON for values of a schema. The error says what is wrong with the
// schema.
func NewJSON(s Schema, form JSONForm) (*JSON, error) {
	root, err := newJSONNode(&s, form, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("flow/codec: schema: %w", err)
	}
	return &JSON{form, root}, nil
}

// Text reports whether a part of a value is a string of JSON in JSONTable, since tables
// have no shape for it: types with an encoding of their own, structs without fields, and
// the inner part of a recursive type.
func (s *Schema) Text() bool {
	return s.Kind == KindCustom || s.Kind == KindRef || s.Kind == KindStruct && len(s.Fields) == 0
}

func newJSONNode(s *Schema, form JSONForm, around []*jsonNode, path []byte) (*jsonNode, error) {
	if s == nil {
		return nil, fmt.Errorf("%.200s lacks the schema of a part", path)
	}
	if len(around) > maxDepth {
		return nil, errors.New("it is nested without end")
	}
	if s.Kind == KindRef {
		if s.Up < 1 || s.Up > len(around) {
			return nil, fmt.Errorf("%.200s refers to a schema %d levels up, there are %d", path, s.Up, len(around))
		}
		return &jsonNode{kind: KindRef, elem: around[len(around)-s.Up], text: form == JSONTable}, nil
	}
	n := &jsonNode{kind: s.Kind, len: s.Len, want: s.shortName(), text: form == JSONTable && s.Text()}
	around = append(around, n)
	var err error
	switch s.Kind {
	case KindMap:
		if n.key, err = newJSONNode(s.Key, form, around, append(path, "[key]"...)); err != nil {
			return nil, err
		}
		fallthrough
	case KindArray, KindSlice, KindPointer:
		if n.elem, err = newJSONNode(s.Elem, form, around, append(path, "[]"...)); err != nil {
			return nil, err
		}
	case KindStruct:
		n.fields, n.byName = make([]jsonField, len(s.Fields)), map[string]*jsonField{}
		for i := range s.Fields {
			f := &s.Fields[i]
			c, err := newJSONNode(&f.Type, form, around, append(append(path, '.'), f.Name...))
			if err != nil {
				return nil, err
			}
			n.fields[i] = jsonField{string(append(appendJSONString(nil, f.Name), ':')), f.Name, c}
			n.byName[f.Name] = &n.fields[i]
		}
	default:
		if s.Kind != KindCustom && !scalarKinds[s.Kind] {
			return nil, fmt.Errorf("%.200s is of kind %.40q, which this version does not know", path, s.Kind)
		}
	}
	return n, nil
}

var scalarKinds = map[Kind]bool{
	KindBool: true, KindInt8: true, KindInt16: true, KindInt32: true, KindInt64: true, KindUint8: true, KindUint16: true,
	KindUint32: true, KindUint64: true, KindFloat32: true, KindFloat64: true, KindString: true, KindBytes: true,
	KindByteArray: true, KindTime: true,
}

// shortName is for errors: the kind, and of what has parts no more than that.
func (s *Schema) shortName() string {
	if s.Name != "" {
		return s.Name
	}
	return string(s.Kind)
}

// Append appends the JSON of the value at the start of src, and returns what is behind
// the value. With an error, a [*DecodeError], dst is returned as it was.
func (j *JSON) Append(dst, src []byte) (out, rest []byte, err error) {
	w := jsonWriter{reader: reader{src: src}, out: dst, form: j.form}
	i := w.value(j.root, 0)
	if i < 0 {
		return dst, src, w.err
	}
	return w.out, src[i:], nil
}

type jsonWriter struct {
	reader
	out  []byte
	form JSONForm
}

// deeper counts one level of pointers, slices, maps and recursive types.
func (w *jsonWriter) deeper(i int, want string) bool {
	const most = 2 * maxDepth // a level of a recursive type counts twice
	if w.depth++; w.depth > most {
		w.failFound(i, want, "values nested more than "+strconv.Itoa(most)+" deep")
		return false
	}
	return true
}

func (w *jsonWriter) value(n *jsonNode, i int) int {
	if n.text && w.form == JSONTable {
		at := len(w.out)
		w.form = JSONPlain
		i = w.value(n, i)
		w.form = JSONTable
		if i >= 0 {
			text := string(w.out[at:])
			w.out = appendJSONString(w.out[:at], text)
		}
		return i
	}
	switch n.kind {
	case KindRef:
		if !w.deeper(i, n.elem.want) {
			return -1
		}
		i = w.value(n.elem, i)
		w.depth--
		return i
	case KindStruct:
		return w.structure(n, i)
	case KindCustom:
		return w.any(i)
	}
	if i < len(w.src) && w.src[i] == tagNil {
		switch n.kind {
		case KindPointer, KindSlice, KindMap, KindBytes:
			w.out = append(w.out, "null"...)
			return i + 1
		}
	}
	switch n.kind {
	case KindPointer, KindSlice, KindArray, KindMap:
		if !w.deeper(i, n.want) {
			return -1
		}
		switch n.kind {
		case KindPointer:
			i = w.value(n.elem, i)
		case KindMap:
			i = w.mapping(n, i)
		default:
			i = w.list(n, i)
		}
		w.depth--
		return i
	}
	next := w.scalar(n, i)
	if next < 0 {
		return w.fail(i, n.want)
	}
	return next
}

func (w *jsonWriter) scalar(n *jsonNode, i int) int {
	next := -1
	switch n.kind {
	case KindBool:
		if i < len(w.src) && w.src[i]&^1 == tagFalse {
			w.out = strconv.AppendBool(w.out, w.src[i] == tagTrue)
			next = i + 1
		}
	case KindInt8, KindInt16, KindInt32, KindInt64:
		var v int64
		v, next = readInt(w.src, i)
		w.out = strconv.AppendInt(w.out, v, 10)
	case KindUint8, KindUint16, KindUint32, KindUint64:
		var v uint64
		v, next = readUint(w.src, i)
		w.out = strconv.AppendUint(w.out, v, 10)
	case KindFloat32:
		var v uint32
		v, next = readFloat32(w.src, i)
		w.float(float64(math.Float32frombits(v)), 32)
	case KindFloat64:
		var v float64
		v, next = readFloat(w.src, i)
		w.float(v, 64)
	case KindString, KindBytes, KindByteArray:
		var lo int
		lo, next = strBounds(w.src, i)
		if next < 0 || n.kind == KindByteArray && next-lo != n.len {
			return -1
		}
		if n.kind == KindString {
			w.out = appendJSONString(w.out, string(w.src[lo:next]))
		} else {
			w.base64(w.src[lo:next])
		}
	case KindTime:
		var t time.Time
		if t, next = readTime(w.src, i); next >= 0 {
			w.time(t)
		}
	}
	return next
}

func (w *jsonWriter) float(v float64, bits int) {
	switch {
	case !math.IsNaN(v) && !math.IsInf(v, 0):
		format := byte('f')
		if a := math.Abs(v); a != 0 && (a < 1e-6 || a >= 1e21) {
			format = 'e'
		}
		w.out = strconv.AppendFloat(w.out, v, format, -1, bits)
	case w.form == JSONTable:
		w.out = append(w.out, "null"...)
	default:
		w.out = append(w.out, '"')
		w.out = append(strconv.AppendFloat(w.out, v, 'g', -1, bits), '"')
	}
}

func (w *jsonWriter) base64(b []byte) {
	w.out = append(w.out, '"')
	w.out = append(base64.StdEncoding.AppendEncode(w.out, b), '"')
}

func (w *jsonWriter) time(t time.Time) {
	layout := `"2006-01-02T15:04:05.999999999Z"`
	if w.form == JSONTable {
		layout = `"2006-01-02T15:04:05.999999Z"`
		if y := t.Year(); y < 0 || y > 9999 {
			w.out = append(w.out, "null"...)
			return
		}
	}
	w.out = t.AppendFormat(w.out, layout)
}

func (w *jsonWriter) list(n *jsonNode, i int) int {
	count, next := readArrayHead(w.src, i)
	if next < 0 || n.kind == KindArray && count != n.len {
		return w.fail(i, n.want)
	}
	w.out = append(w.out, '[')
	for k := range count {
		if k > 0 {
			w.out = append(w.out, ',')
		}
		if next = w.value(n.elem, next); next < 0 {
			return w.in("[" + strconv.Itoa(k) + "]")
		}
	}
	w.out = append(w.out, ']')
	return next
}

func (w *jsonWriter) mapping(n *jsonNode, i int) int {
	count, next := readMapHead(w.src, i)
	if next < 0 {
		return w.fail(i, n.want)
	}
	k := n.key.kind
	object := w.form == JSONPlain && scalarKinds[k] && k != KindFloat32 && k != KindFloat64
	w.out = append(w.out, "[{"[b2i(object)])
	for e := range count {
		if e > 0 {
			w.out = append(w.out, ',')
		}
		switch {
		case object:
		case w.form == JSONPlain:
			w.out = append(w.out, '[')
		default:
			w.out = append(w.out, `{"key":`...)
		}
		at := len(w.out)
		if next = w.value(n.key, next); next < 0 {
			return w.in("[key]")
		}
		switch {
		case object:
			if w.out[at] != '"' {
				text := string(w.out[at:])
				w.out = append(append(append(w.out[:at], '"'), text...), '"')
			}
			w.out = append(w.out, ':')
		case w.form == JSONPlain:
			w.out = append(w.out, ',')
		default:
			w.out = append(w.out, `,"value":`...)
		}
		if next = w.value(n.elem, next); next < 0 {
			return w.in("[value]")
		}
		if !object {
			w.out = append(w.out, "}]"[b2i(w.form == JSONPlain)])
		}
	}
	w.out = append(w.out, "]}"[b2i(object)])
	return next
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// structure writes either form of a struct as an object.
func (w *jsonWriter) structure(n *jsonNode, i int) int {
	if count, next := readArrayHead(w.src, i); next >= 0 {
		if count != len(n.fields) {
			return w.fail(i, n.want+" of "+strconv.Itoa(len(n.fields))+" fields")
		}
		w.out = append(w.out, '{')
		for k := range n.fields {
			if k > 0 {
				w.out = append(w.out, ',')
			}
			w.out = append(w.out, n.fields[k].quoted...)
			if next = w.value(n.fields[k].node, next); next < 0 {
				return w.in("." + n.fields[k].name)
			}
		}
		w.out = append(w.out, '}')
		return next
	}
	count, next := readMapHead(w.src, i)
	if next < 0 {
		return w.fail(i, n.want)
	}
	w.out = append(w.out, '{')
	for k := range count {
		lo, hi := strBounds(w.src, next)
		if hi < 0 {
			w.fail(next, "the name of a field")
			return w.in("." + strconv.Itoa(k))
		}
		name := string(w.src[lo:hi])
		if k > 0 {
			w.out = append(w.out, ',')
		}
		w.out = append(appendJSONString(w.out, name), ':')
		if f := n.byName[name]; f != nil {
			next = w.value(f.node, hi)
		} else {
			next = w.any(hi)
		}
		if next < 0 {
			return w.in("." + name)
		}
	}
	w.out = append(w.out, '}')
	return next
}
