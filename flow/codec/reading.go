package codec

import (
	"fmt"
	"reflect"
	"slices"
)

// Reading makes a codec that decodes what a codec with the schema written has
// encoded in array form: fields are found by name (or alias), fields that are
// new have their default, which is zero where no tag says otherwise, fields that
// are gone are skipped, numbers may have become wider. It encodes as c does. The
// error is a [*SchemaError] that names each pair of types of which the newer cannot
// hold every value of the older.
func (c *Codec[T]) Reading(written Schema) (*Codec[T], error) {
	return c.ReadingFor(written, ForValue)
}

// ReadingFor is [Codec.Reading] for another use.
func (c *Codec[T]) ReadingFor(written Schema, use Use) (*Codec[T], error) {
	if err := Compatible(written, c.Schema(), use); err != nil {
		return nil, fmt.Errorf("flow/codec: type %s cannot read what was written: %w; "+
			"give the field its old type, or a new name to start it afresh", c.root.typ, err)
	}
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
			return fmt.Errorf("flow/codec: type %s: %s and %s are both read into field %s", a.root, other, at, m.names[k].name)
		}
		taken[k] = at
		elem, err := a.adapt(m.fields[k].node, &f.Type, around, at)
		if err != nil {
			return err
		}
		m.fields[k].node = elem
		order, same = append(order, k), same && k == i
	}
	if same {
		return nil
	}
	m.order = order
	for k := range m.names {
		if _, ok := taken[k]; !ok && m.names[k].preset != nil {
			m.presets = append(m.presets, k)
		}
	}
	return nil
}
