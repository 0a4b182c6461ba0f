package codec

import (
	"strconv"
	"strings"
)

// Kind names what a value is in a [Schema].
type Kind string

// The kinds. int, uint and uintptr have the kind of their size; named types have
// that of their underlying type, time.Duration is KindInt64.
const (
	KindBool    Kind = "bool"
	KindInt8    Kind = "int8"
	KindInt16   Kind = "int16"
	KindInt32   Kind = "int32"
	KindInt64   Kind = "int64"
	KindUint8   Kind = "uint8"
	KindUint16  Kind = "uint16"
	KindUint32  Kind = "uint32"
	KindUint64  Kind = "uint64"
	KindFloat32 Kind = "float32"
	KindFloat64 Kind = "float64"
	KindString  Kind = "string"
	KindBytes   Kind = "bytes"
	// KindByteArray is an array of Len bytes.
	KindByteArray Kind = "bytearray"
	// KindArray is an array of Len times Elem.
	KindArray Kind = "array"
	KindSlice Kind = "slice"
	// KindMap has Key and Elem.
	KindMap Kind = "map"
	// KindPointer is nil or Elem.
	KindPointer Kind = "pointer"
	KindStruct  Kind = "struct"
	KindTime    Kind = "time"
	// KindCustom is a type with an encoding of its own; Name says which type.
	KindCustom Kind = "custom"
	// KindRef stands for a schema around it, Up levels further out: a recursive type.
	KindRef Kind = "ref"
)

// Schema is the shape of a type, as data: what a reader must know to read the
// array form. It is plain and can be stored as msgpack or JSON.
type Schema struct {
	Kind Kind `msgpack:"kind" json:"kind"`
	// Name is the Go type's name, for people: a type may be renamed. Only for
	// KindCustom it decides.
	Name   string        `msgpack:"name,omitempty" json:"name,omitempty"`
	Len    int           `msgpack:"len,omitempty" json:"len,omitempty"`
	Up     int           `msgpack:"up,omitempty" json:"up,omitempty"`
	Key    *Schema       `msgpack:"key,omitempty" json:"key,omitempty"`
	Elem   *Schema       `msgpack:"elem,omitempty" json:"elem,omitempty"`
	Fields []SchemaField `msgpack:"fields,omitempty" json:"fields,omitempty"`
}

// SchemaField is one field of a struct, in the order of the array form.
type SchemaField struct {
	Name string `msgpack:"name" json:"name"`
	Type Schema `msgpack:"type" json:"type"`
	// Alias is another name under which the field is read.
	Alias string `msgpack:"alias,omitempty" json:"alias,omitempty"`
}

var opKinds = map[op]Kind{
	opBool: KindBool, opInt8: KindInt8, opInt16: KindInt16, opInt32: KindInt32, opInt64: KindInt64,
	opUint8: KindUint8, opUint16: KindUint16, opUint32: KindUint32, opUint64: KindUint64,
	opFloat32: KindFloat32, opFloat64: KindFloat64, opString: KindString, opBytes: KindBytes,
	opByteArray: KindByteArray, opArray: KindArray, opSlice: KindSlice, opMap: KindMap, opPtr: KindPointer,
	opStruct: KindStruct, opTime: KindTime, opCustom: KindCustom,
}

func schemaOf(n *node) Schema { return n.schema(nil) }

// schema describes n; around holds the nodes that n is part of, the outermost first.
func (n *node) schema(around []*node) Schema {
	for i, m := range around {
		if m == n {
			return Schema{Kind: KindRef, Name: n.typ.String(), Up: len(around) - i}
		}
	}
	s := Schema{Kind: opKinds[n.op], Len: n.len}
	if n.op == opStruct || n.op == opCustom {
		s.Name = n.typ.String()
	}
	around = append(around, n)
	if n.op == opBytes || n.op == opByteArray {
		return s
	}
	if n.key != nil {
		k := n.key.schema(around)
		s.Key = &k
	}
	if n.elem != nil {
		e := n.elem.schema(around)
		s.Elem = &e
	}
	for i := range n.fields {
		s.Fields = append(s.Fields, SchemaField{n.names[i].name, n.fields[i].node.schema(around), n.names[i].alias})
	}
	return s
}

// String is short and close to Go: "{id int64, tags []string, at time}".
func (s Schema) String() string {
	var b strings.Builder
	s.print(&b)
	return b.String()
}

func (s *Schema) print(b *strings.Builder) {
	switch s.Kind {
	case KindByteArray:
		b.WriteString("[" + strconv.Itoa(s.Len) + "]byte")
	case KindArray:
		b.WriteString("[" + strconv.Itoa(s.Len) + "]")
		s.Elem.printPart(b)
	case KindSlice:
		b.WriteString("[]")
		s.Elem.printPart(b)
	case KindPointer:
		b.WriteString("*")
		s.Elem.printPart(b)
	case KindMap:
		b.WriteString("map[")
		s.Key.printPart(b)
		b.WriteString("]")
		s.Elem.printPart(b)
	case KindStruct:
		b.WriteString("{")
		for i := range s.Fields {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(s.Fields[i].Name + " ")
			s.Fields[i].Type.print(b)
		}
		b.WriteString("}")
	case KindCustom:
		b.WriteString("custom " + s.Name)
	case KindRef:
		b.WriteString("^" + strconv.Itoa(s.Up))
	default:
		b.WriteString(string(s.Kind))
	}
}

// printPart is print for a schema that came from outside and may lack the part.
func (s *Schema) printPart(b *strings.Builder) {
	if s == nil {
		b.WriteString("?")
		return
	}
	s.print(b)
}
