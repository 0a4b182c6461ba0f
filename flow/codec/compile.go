package codec

import (
	"reflect"
	"strconv"
	"time"
)

var timeType = reflect.TypeFor[time.Time]()

// compiler holds the nodes made so far, so that recursive types find themselves.
type compiler struct {
	root  reflect.Type
	nodes map[reflect.Type]*node
}

func (c *compiler) refuse(path string, t reflect.Type, reason string) error {
	return &TypeError{Type: c.root, Path: path, Part: t, Reason: reason}
}

// scalarOps gives each kind that is a scalar its op.
var scalarOps = map[reflect.Kind]op{
	reflect.Bool: opBool,
	reflect.Int8: opInt8, reflect.Int16: opInt16, reflect.Int32: opInt32, reflect.Int64: opInt64,
	reflect.Uint8: opUint8, reflect.Uint16: opUint16, reflect.Uint32: opUint32, reflect.Uint64: opUint64,
	reflect.Int: wordOp(opInt32, opInt64), reflect.Uint: wordOp(opUint32, opUint64),
	reflect.Uintptr: wordOp(opUint32, opUint64),
	reflect.Float32: opFloat32, reflect.Float64: opFloat64, reflect.String: opString,
}

func wordOp(o32, o64 op) op {
	if strconv.IntSize == 32 {
		return o32
	}
	return o64
}

// compile makes the node of t. path is where t is in the root type.
func (c *compiler) compile(t reflect.Type, path string) (*node, error) {
	if n := c.nodes[t]; n != nil {
		return n, nil
	}
	n := &node{typ: t, size: t.Size(), want: t.String(), pointerless: !hasPointers(t)}
	c.nodes[t] = n
	if t == timeType {
		n.op = opTime
		return n, nil
	}
	cust, reason := customOf(t)
	if reason != "" {
		return nil, c.refuse(path, t, reason)
	}
	if cust != nil {
		n.op, n.custom = opCustom, cust
		if !n.pointerless {
			n.extra = customExtra
		}
		return n, nil
	}
	if o, ok := scalarOps[t.Kind()]; ok {
		n.op = o
		return n, nil
	}
	// The op is set before the parts are compiled: they may refer to n.
	switch t.Kind() {
	case reflect.Struct:
		n.op = opStruct
		return n, c.compileStruct(n, path)
	case reflect.Slice:
		n.op = opSlice
		return n, c.compileSlice(n, path)
	case reflect.Array:
		n.op = opArray
		return n, c.compileArray(n, path)
	case reflect.Map:
		n.op = opMap
		return n, c.compileMap(n, path)
	case reflect.Pointer:
		n.op = opPtr
		return n, c.compilePointer(n, path)
	case reflect.Interface:
		return nil, c.refuse(path, t, "cannot be encoded: the type of its value is known only at run time; "+
			"use a concrete type, or a struct with one pointer field for each possible type")
	case reflect.Complex64, reflect.Complex128:
		return nil, c.refuse(path, t, "cannot be encoded: msgpack has no complex numbers; use two float fields")
	}
	return nil, c.refuse(path, t, "cannot be encoded; use an exported field of a plain type, "+
		"tag the field `msgpack:\"-\"` to leave it out, or implement codec.Marshaler and codec.Unmarshaler")
}

func (c *compiler) compileSlice(n *node, path string) (err error) {
	if n.elem, err = c.compile(n.typ.Elem(), path+"[]"); err != nil {
		return err
	}
	n.elemPlain = n.elem.pointerless
	if n.elem.op == opUint8 {
		n.op = opBytes
	}
	return nil
}

func (c *compiler) compileArray(n *node, path string) (err error) {
	if n.elem, err = c.compile(n.typ.Elem(), path+"[]"); err != nil {
		return err
	}
	n.len = n.typ.Len()
	if n.elem.op == opUint8 {
		n.op = opByteArray
	}
	return nil
}

func (c *compiler) compileMap(n *node, path string) (err error) {
	if part := unstableKey(n.typ.Key()); part != nil {
		return c.refuse(path+"[key]", n.typ.Key(), "cannot be the key of an encoded map: "+part.String()+
			" is compared by more than its encoded value, so keys could fall together; use a string or a number")
	}
	if n.key, err = c.compile(n.typ.Key(), path+"[key]"); err != nil {
		return err
	}
	if n.elem, err = c.compile(n.typ.Elem(), path+"[value]"); err != nil {
		return err
	}
	n.scratch = newMapScratch(n.typ)
	return nil
}

func (c *compiler) compilePointer(n *node, path string) (err error) {
	switch t := n.typ.Elem(); t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return c.refuse(path, n.typ, "cannot be encoded: a nil pointer and a pointer to nil would be the same; use "+
			t.String()+", or a pointer to a struct that holds it")
	}
	if n.elem, err = c.compile(n.typ.Elem(), path); err != nil {
		return err
	}
	return nil
}

// unstableKey finds a part of key type t that == compares by more than what the
// encoding keeps: pointers by identity, times by location.
func unstableKey(t reflect.Type) reflect.Type {
	if t == timeType {
		return t
	}
	if cust, _ := customOf(t); cust != nil {
		return nil // Such types, as netip.Addr, know what they do.
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Chan, reflect.UnsafePointer:
		return t
	case reflect.Array:
		return unstableKey(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if part := unstableKey(t.Field(i).Type); part != nil {
				return part
			}
		}
	}
	return nil
}

// hasPointers reports whether the garbage collector has to look into a value of t.
func hasPointers(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return t.Len() > 0 && hasPointers(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if hasPointers(t.Field(i).Type) {
				return true
			}
		}
		return false
	}
	_, scalar := scalarOps[t.Kind()]
	return t.Kind() == reflect.String || !scalar && t.Kind() != reflect.Complex64 && t.Kind() != reflect.Complex128
}
