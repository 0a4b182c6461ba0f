package codec

import (
	"fmt"
	"reflect"
	"slices"
)

// Reading makes a codec that decodes what a codec with the schema written has
// encoded in array form: fields are found by name (or alias), fields that are
// new are zero, fields that are gone are skipped, numbers may have become wider.
// It encodes as c does. The error names each pair of types of which the newer
// cannot hold every value of the older.
func (c *Codec[T]) Reading(written Schema) (*Codec[T], error) {
	a := adapter{root: c.root.typ, made: map[adapted]*node{}}
	root, err := a.adapt(c.root, &written, nil, "")
	if err != nil {
		return nil, err
	}
	return &Codec[T]{root: root}, nil
}

// adapted names a node together with the written schema that it reads.
type adapted struct {
	n *node
	s *Schema
}

type adapter struct {
	root reflect.Type
	made map[adapted]*node
}

func (a *adapter) refuse(path string, n *node, s *Schema, why string) error {
	if path == "" {
		path = "the value"
	}
	return fmt.Errorf("flow/codec: type %s cannot read what was written: %s was %s and is %s now: %s; "+
		"give the field its old type, or a new name to start it afresh", a.root, path, s, n.typ, why)
}

// adapt copies n for reading s. around holds the schemas that s is part of.
func (a *adapter) adapt(n *node, s *Schema, around []*Schema, path string) (*node, error) {
	if s == nil {
		return nil, fmt.Errorf("flow/codec: the written schema lacks a part at %q: it is damaged", path)
	}
	if s.Kind == KindRef {
		if s.Up < 1 || s.Up > len(around) {
			return nil, fmt.Errorf("flow/codec: the written schema refers %d levels up at %q, where there are %d: it is damaged",
				s.Up, path, len(around))
		}
		at := len(around) - s.Up
		s, around = around[at], around[:at]
	}
	key := adapted{n, s}
	if m := a.made[key]; m != nil {
		return m, nil
	}
	if len(around) > maxDepth {
		return nil, fmt.Errorf("flow/codec: the written schema nests more than %d deep: it is damaged", maxDepth)
	}
	m := new(node)
	*m = *n
	a.made[key] = m
	around = append(slices.Clone(around), s)

	if n.op == opPtr && s.Kind != KindPointer {
		// A value has become one that may be missing.
		elem, err := a.adapt(n.elem, s, around[:len(around)-1], path)
		m.elem = elem
		return m, err
	}
	if why := unreadable(n, s); why != "" {
		return nil, a.refuse(path, n, s, why)
	}
	var err error
	switch n.op {
	case opPtr:
		m.elem, err = a.adapt(n.elem, s.Elem, around, path)
	case opSlice, opArray:
		m.elem, err = a.adapt(n.elem, s.Elem, around, path+"[]")
	case opMap:
		if m.key, err = a.adapt(n.key, s.Key, around, path+"[key]"); err == nil {
			m.elem, err = a.adapt(n.elem, s.Elem, around, path+"[value]")
		}
	case opStruct:
		err = a.adaptStruct(m, s, around, path)
	}
	return m, err
}

func (a *adapter) adaptStruct(m *node, s *Schema, around []*Schema, path string) error {
	m.fields = slices.Clone(m.fields)
	order := make([]int, 0, len(s.Fields))
	taken := map[int]string{}
	same := len(s.Fields) == len(m.fields)
	for i := range s.Fields {
		f := &s.Fields[i]
		k, ok := m.byName[f.Name]
		if !ok {
			order, same = append(order, -1), false
			continue
		}
		at := f.Name
		if path != "" {
			at = path + "." + f.Name
		}
		if other, dup := taken[k]; dup {
			return fmt.Errorf("flow/codec: type %s cannot read what was written: %s and %s are both read into field %s; "+
				"remove the alias of one", a.root, other, at, m.names[k].name)
		}
		taken[k] = at
		elem, err := a.adapt(m.fields[k].node, &f.Type, around, at)
		if err != nil {
			return err
		}
		m.fields[k].node = elem
		order, same = append(order, k), same && k == i
	}
	if !same {
		m.order = order
	}
	return nil
}

// integer gives the integer kinds their bits; those of unsigned ones count as one
// more when they are read as signed.
var integer = map[Kind]struct {
	bits   int
	signed bool
}{
	KindInt8: {8, true}, KindInt16: {16, true}, KindInt32: {32, true}, KindInt64: {64, true},
	KindUint8: {8, false}, KindUint16: {16, false}, KindUint32: {32, false}, KindUint64: {64, false},
}

// unreadable says why n cannot hold every value that s describes, or "". Parts are
// compared apart.
func unreadable(n *node, s *Schema) string {
	now := opKinds[n.op]
	old, oldInt := integer[s.Kind]
	isInt, nowInt := integer[now]
	switch {
	case oldInt && nowInt:
		switch {
		case old.signed && !isInt.signed:
			return "negative numbers would not fit"
		case old.signed == isInt.signed && old.bits > isInt.bits, old.signed != isInt.signed && old.bits >= isInt.bits:
			return "large numbers would not fit"
		}
		return ""
	case oldInt && (now == KindFloat64 && old.bits <= 32 || now == KindFloat32 && old.bits <= 16):
		return ""
	case s.Kind == KindFloat32 && now == KindFloat64:
		return ""
	case now == KindSlice && (s.Kind == KindArray || s.Kind == KindSlice):
		return ""
	case (now == KindString || now == KindBytes) && (s.Kind == KindString || s.Kind == KindByteArray):
		return ""
	case s.Kind == KindPointer:
		if now != KindPointer {
			return "nil would not fit"
		}
		return ""
	case now != s.Kind:
		return "the kinds differ"
	case s.Len != n.len:
		return "the lengths differ"
	case now == KindCustom && s.Name != n.typ.String():
		return "each has an encoding of its own"
	}
	return ""
}
