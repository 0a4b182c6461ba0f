package codec

import (
	"fmt"
	"reflect"
	"strings"
)

// compileStruct lists the fields of n's type, with those of embedded structs in
// their place, and compiles each.
func (c *compiler) compileStruct(n *node, path string) error {
	n.byName = map[string]int{}
	if err := c.structFields(n, n.typ, 0, path, false); err != nil {
		return err
	}
	n.head = appendArrayHead(nil, len(n.fields))
	n.reserve = maxScalar * (1 + len(n.fields))
	for i := range n.names {
		n.reserve += max(shortName, len(n.names[i].head))
	}
	return nil
}

// structFields adds the fields of t, which lies at offset base of n's type.
func (c *compiler) structFields(n *node, t reflect.Type, base uintptr, path string, omitAll bool) error {
	for i := range t.NumField() {
		sf := t.Field(i)
		at := sf.Name
		if path != "" {
			at = path + "." + sf.Name
		}
		tag, reason := parseTag(sf.Tag.Get("msgpack"))
		switch {
		case reason != "":
			return c.refuse(at, sf.Type, reason)
		case sf.Name == "_msgpack":
			// By this field the msgpack library is told about the struct as a whole.
			omitAll = omitAll || tag.omitEmpty
			n.partial = n.partial || sf.Type.Size() > 0
			continue
		case tag.name == "-" || sf.Name == "_":
			n.partial = true
			continue
		}
		if sf.Anonymous && tag.name == "" && !tag.noInline && c.inlines(sf.Type) {
			if err := c.structFields(n, sf.Type, base+sf.Offset, at, omitAll); err != nil {
				return err
			}
			continue
		}
		if !sf.IsExported() {
			return c.refuse(at, sf.Type, "is not exported, so it would be lost on the way to another process; "+
				"export the field, tag it `msgpack:\"-\"` to leave it out, or implement codec.Marshaler and codec.Unmarshaler")
		}
		fn, err := c.compile(sf.Type, at)
		if err != nil {
			return err
		}
		name := tag.name
		if name == "" {
			name = sf.Name
		}
		for _, s := range []string{name, tag.alias} {
			if _, dup := n.byName[s]; dup {
				return c.refuse(at, sf.Type, fmt.Sprintf("has the name %q, which another field of the struct has too; "+
					"give one of them another name by a tag `msgpack:\"name\"`", s))
			}
			if s != "" {
				n.byName[s] = len(n.fields)
			}
		}
		var preset []byte
		if tag.hasPreset {
			if preset, reason = presetOf(sf.Type, fn, tag.preset); reason != "" {
				return c.refuse(at, sf.Type, reason)
			}
		}
		omit := omitAll || tag.omitEmpty
		n.omits = n.omits || omit
		n.fields = append(n.fields, field{off: base + sf.Offset, node: fn, op: fn.op})
		n.names = append(n.names, fieldName{name: name, head: appendString(nil, name), alias: tag.alias, omitEmpty: omit, preset: preset})
		copy(n.names[len(n.names)-1].short[:], appendString(nil, name))
	}
	return nil
}

// inlines reports whether the fields of an embedded t become fields of the outer
// struct. Embedded pointers and types with an encoding of their own do not.
func (c *compiler) inlines(t reflect.Type) bool {
	if t.Kind() != reflect.Struct || t == timeType {
		return false
	}
	cust, reason := customOf(t)
	return cust == nil && reason == ""
}

type tag struct {
	name, alias         string
	preset              string
	hasPreset           bool
	omitEmpty, noInline bool
}

// parseTag reads what stands in `msgpack:"..."`; reason says why it is refused.
func parseTag(s string) (t tag, reason string) {
	name, rest, _ := strings.Cut(s, ",")
	t.name = name
	for rest != "" {
		var opt string
		opt, rest, _ = strings.Cut(rest, ",")
		key, val, _ := strings.Cut(strings.TrimSpace(opt), ":")
		switch key {
		case "omitempty":
			t.omitEmpty = true
		case "noinline":
			t.noInline = true
		case "alias":
			t.alias = val
		case "default":
			t.preset, t.hasPreset = val, true
		case "", "inline", "as_array", "asArray":
			// The first two say what is done anyway; both forms are read anyway.
		default:
			return t, fmt.Sprintf("has the option %q in its msgpack tag, which is not known; "+
				"use name, omitempty, noinline, alias:name and default:value", opt)
		}
	}
	return t, ""
}
