package codec

import (
	"fmt"
	"slices"
	"strings"
)

// Use says what values of a type are for, and with it how much of the type may
// change.
type Use uint8

const (
	// ForValue lets fields be added, removed and reordered, and numbers get wider.
	ForValue Use = iota
	// ForPart is for what tells entries apart, as the keys of a map do: every field
	// must be read, or entries would fall together.
	ForPart
	// ForKey is for what a key group is found by: its hash must stay what it is.
	// Numbers may get wider, and nothing else may change.
	ForKey
)

// Difference is a part of a type that cannot be taken over.
type Difference struct {
	// Path is the way to the part; empty for the type itself.
	Path         string
	Written, Now string
	Reason       string
}

// String is `field Items[].Count: int64 → string: the kinds differ`.
func (d Difference) String() string {
	s := d.Written + " → " + d.Now + ": " + d.Reason
	if d.Path == "" {
		return s
	}
	return "field " + d.Path + ": " + s
}

// SchemaError is all that keeps a type from reading what another has written.
type SchemaError struct{ Differences []Difference }

// Error has a line for each difference where there are several.
func (e *SchemaError) Error() string {
	if len(e.Differences) == 1 {
		return e.Differences[0].String()
	}
	var b strings.Builder
	for _, d := range e.Differences {
		b.WriteString("\n  " + d.String())
	}
	return b.String()
}

// Compatible compares the schema of what is stored with that of today's type, as
// [Codec.Reading] does, without either type at hand. The error is a [*SchemaError]
// with all differences.
func Compatible(written, now Schema, use Use) error {
	d := differ{seen: map[compared]bool{}}
	d.compare(level{s: &written}, level{s: &now}, "", use)
	if len(d.found) > 0 {
		return &SchemaError{d.found}
	}
	return nil
}

// Same reports whether two schemas describe the same bytes and the same names:
// all but the names of types, which mean something for KindCustom only, and but
// for aliases and defaults.
func (s Schema) Same(o Schema) bool {
	if s.Kind != o.Kind || s.Len != o.Len || s.Up != o.Up || s.Kind == KindCustom && s.Name != o.Name ||
		(s.Key == nil) != (o.Key == nil) || (s.Elem == nil) != (o.Elem == nil) || len(s.Fields) != len(o.Fields) {
		return false
	}
	for i := range s.Fields {
		if s.Fields[i].Name != o.Fields[i].Name || !s.Fields[i].Type.Same(o.Fields[i].Type) {
			return false
		}
	}
	return (s.Key == nil || s.Key.Same(*o.Key)) && (s.Elem == nil || s.Elem.Same(*o.Elem))
}

// level is a schema with those around it, the outermost first.
type level struct {
	s      *Schema
	around []*Schema
}

// part is the level of a part of l.
func (l level) part(s *Schema) level {
	return level{s: s, around: append(slices.Clip(l.around), l.s)}
}

// resolve follows a reference to a schema further out.
func (l level) resolve() (level, bool) {
	if l.s == nil {
		return l, false
	}
	if l.s.Kind != KindRef {
		return l, true
	}
	at := len(l.around) - l.s.Up
	if l.s.Up < 1 || at < 0 {
		return l, false
	}
	return level{s: l.around[at], around: l.around[:at]}, true
}

// compared is a pair that need not be compared again.
type compared struct {
	written, now *Schema
	use          Use
}

type differ struct {
	seen  map[compared]bool
	found []Difference
}

func (d *differ) differs(path string, w, n *Schema, format string, args ...any) {
	name := func(s *Schema) string {
		if s == nil {
			return "nothing"
		}
		return s.String()
	}
	d.found = append(d.found, Difference{path, name(w), name(n), fmt.Sprintf(format, args...)})
}

func (d *differ) compare(w, n level, path string, use Use) {
	w, wOK := w.resolve()
	n, nOK := n.resolve()
	if !wOK || !nOK || len(w.around) > maxDepth || len(n.around) > maxDepth {
		d.differs(path, w.s, n.s, "the schema is damaged: a part is missing, or it nests without end")
		return
	}
	pair := compared{w.s, n.s, use}
	if d.seen[pair] {
		return
	}
	d.seen[pair] = true
	if n.s.Kind == KindPointer && w.s.Kind != KindPointer && use != ForKey {
		// A value has become one that may be missing.
		d.compare(w, n.part(n.s.Elem), path, use)
		return
	}
	if why := unreadable(n.s, w.s, use); why != "" {
		d.differs(path, w.s, n.s, "%s", why)
		return
	}
	switch n.s.Kind {
	case KindPointer:
		d.compare(w.part(w.s.Elem), n.part(n.s.Elem), path, use)
	case KindSlice, KindArray:
		d.compare(w.part(w.s.Elem), n.part(n.s.Elem), path+"[]", use)
	case KindMap:
		d.compare(w.part(w.s.Key), n.part(n.s.Key), path+"[key]", max(use, ForPart))
		d.compare(w.part(w.s.Elem), n.part(n.s.Elem), path+"[value]", use)
	case KindStruct:
		d.fields(w, n, path, use)
	}
}

func (d *differ) fields(w, n level, path string, use Use) {
	below := func(name string) string {
		if path == "" {
			return name
		}
		return path + "." + name
	}
	taken := make([]bool, len(n.s.Fields))
	for i := range w.s.Fields {
		f := &w.s.Fields[i]
		k := n.s.field(f.Name)
		switch {
		case k < 0 && use == ForValue:
			continue
		case k < 0:
			d.differs(below(f.Name), &f.Type, nil, "keys that differ in it would fall together")
			continue
		case taken[k]:
			d.differs(below(f.Name), &f.Type, &n.s.Fields[k].Type, "two fields would be read into %s; remove its alias", n.s.Fields[k].Name)
			continue
		case use == ForKey && k != i:
			d.differs(below(f.Name), &f.Type, &n.s.Fields[k].Type, "it has another place in the key, which changes the key's hash")
		}
		taken[k] = true
		d.compare(w.part(&f.Type), n.part(&n.s.Fields[k].Type), below(f.Name), use)
	}
	for k := range n.s.Fields {
		if f := &n.s.Fields[k]; !taken[k] && use == ForKey {
			d.differs(below(f.Name), nil, &f.Type, "a field that is new in a key changes its hash")
		}
	}
}

// field is the position of the field that is read under a name, or -1.
func (s *Schema) field(name string) int {
	return slices.IndexFunc(s.Fields, func(f SchemaField) bool {
		return f.Name == name || f.Alias != "" && f.Alias == name
	})
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

// unreadable says why a type n cannot hold every value that s describes, or "".
// Parts are compared apart.
func unreadable(n, s *Schema, use Use) string {
	now := n.Kind
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
	case s.Kind == KindFloat32 && now == KindFloat64:
		return ""
	case use == ForKey && now != s.Kind:
		return "the kinds differ, and with them the hashes of keys"
	case oldInt && (now == KindFloat64 && old.bits <= 32 || now == KindFloat32 && old.bits <= 16):
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
	case s.Len != n.Len:
		return "the lengths differ"
	case now == KindCustom && s.Name != n.Name:
		return "each has an encoding of its own"
	}
	return ""
}
