package codec

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"reflect"

	"github.com/vmihailenco/msgpack/v5"
)

// Marshaler is implemented by types, or pointers to types, that write themselves.
// AppendMsgpack appends exactly one msgpack value to dst. It must not write the
// nil value but for the type's zero value: nil is decoded without a call.
type Marshaler interface {
	AppendMsgpack(dst []byte) ([]byte, error)
}

// Unmarshaler is the other half of [Marshaler], implemented by pointers to types.
// src is exactly one msgpack value and must not be kept.
type Unmarshaler interface {
	ReadMsgpack(src []byte) error
}

// customExtra is what a value with an encoding of its own is taken to own beside
// its own memory, if it has pointers: a guess, as its memory is unknown.
const customExtra = 48

// custom holds both halves of a type's own encoding. v is always a pointer to a
// value of the type, in memory that the methods may keep.
type custom struct {
	via    string // for the schema and messages
	append func(dst []byte, v any) ([]byte, error)
	read   func(src []byte, v any) error
}

// customForms are the ways in which a type may encode itself, the first found is
// taken: those made for msgpack before those made for anything.
var customForms = []struct {
	enc, dec   reflect.Type
	method     string
	mustBeFull bool // one half alone is a mistake and not another purpose
	custom     custom
}{
	{reflect.TypeFor[Marshaler](), reflect.TypeFor[Unmarshaler](), "AppendMsgpack", true,
		custom{"codec.Marshaler", appendMarshaler, readUnmarshaler}},
	{reflect.TypeFor[msgpack.CustomEncoder](), reflect.TypeFor[msgpack.CustomDecoder](), "EncodeMsgpack", true,
		custom{"msgpack.CustomEncoder", appendCustomEncoder, readCustomDecoder}},
	{reflect.TypeFor[msgpack.Marshaler](), reflect.TypeFor[msgpack.Unmarshaler](), "MarshalMsgpack", true,
		custom{"msgpack.Marshaler", appendMsgpackMarshaler, readMsgpackUnmarshaler}},
	{reflect.TypeFor[encoding.BinaryMarshaler](), reflect.TypeFor[encoding.BinaryUnmarshaler](), "MarshalBinary", false,
		custom{"encoding.BinaryMarshaler", appendBinaryMarshaler, readBinaryUnmarshaler}},
	{reflect.TypeFor[encoding.TextMarshaler](), reflect.TypeFor[encoding.TextUnmarshaler](), "MarshalText", false,
		custom{"encoding.TextMarshaler", appendTextMarshaler, readTextUnmarshaler}},
}

// customOf finds the encoding that t brings, if any; reason says why t is refused.
//
// Pointer types have none: the pointer is handled here, and what it points to by
// its methods. A method that an embedded field has too is taken for the embedded
// field's: it would encode that field alone and lose the others.
func customOf(t reflect.Type) (cust *custom, reason string) {
	if t.Kind() == reflect.Pointer || t.Kind() == reflect.Interface {
		return nil, ""
	}
	pt := reflect.PointerTo(t)
	for i := range customForms {
		f := &customForms[i]
		enc, dec := pt.Implements(f.enc), pt.Implements(f.dec)
		if enc && promoted(t, f.method) {
			continue
		}
		switch {
		case enc && dec:
			return &f.custom, ""
		case enc != dec && f.mustBeFull:
			have, miss := f.enc, f.dec
			if dec {
				have, miss = miss, have
			}
			return nil, fmt.Sprintf("implements %s but not %s; implement both", have, miss)
		}
	}
	return nil, ""
}

func promoted(t reflect.Type, method string) bool {
	if t.Kind() != reflect.Struct || t.NumField() == 1 {
		return false
	}
	for i := range t.NumField() {
		if f := t.Field(i); f.Anonymous {
			ft := f.Type
			if ft.Kind() != reflect.Pointer && ft.Kind() != reflect.Interface {
				ft = reflect.PointerTo(ft)
			}
			if _, ok := ft.MethodByName(method); ok {
				return true
			}
		}
	}
	return false
}

var errNotOneValue = errors.New("it did not write exactly one msgpack value")

func appendMarshaler(dst []byte, v any) ([]byte, error) { return v.(Marshaler).AppendMsgpack(dst) }
func readUnmarshaler(src []byte, v any) error           { return v.(Unmarshaler).ReadMsgpack(src) }

func appendCustomEncoder(dst []byte, v any) ([]byte, error) {
	enc := msgpack.GetEncoder()
	defer msgpack.PutEncoder(enc)
	w := bytes.NewBuffer(dst)
	enc.Reset(w)
	err := v.(msgpack.CustomEncoder).EncodeMsgpack(enc)
	return w.Bytes(), err
}

func readCustomDecoder(src []byte, v any) error {
	dec := msgpack.GetDecoder()
	defer msgpack.PutDecoder(dec)
	dec.Reset(bytes.NewReader(src))
	return v.(msgpack.CustomDecoder).DecodeMsgpack(dec)
}

func appendMsgpackMarshaler(dst []byte, v any) ([]byte, error) {
	b, err := v.(msgpack.Marshaler).MarshalMsgpack()
	return append(dst, b...), err
}

func readMsgpackUnmarshaler(src []byte, v any) error {
	return v.(msgpack.Unmarshaler).UnmarshalMsgpack(bytes.Clone(src))
}

func appendBinaryMarshaler(dst []byte, v any) ([]byte, error) {
	b, err := v.(encoding.BinaryMarshaler).MarshalBinary()
	return appendBytes(dst, b), err
}

func readBinaryUnmarshaler(src []byte, v any) error {
	lo, hi := strBounds(src, 0)
	if hi < 0 {
		return fmt.Errorf("want bin, found %s", describe(src, 0))
	}
	return v.(encoding.BinaryUnmarshaler).UnmarshalBinary(bytes.Clone(src[lo:hi]))
}

func appendTextMarshaler(dst []byte, v any) ([]byte, error) {
	b, err := v.(encoding.TextMarshaler).MarshalText()
	return appendString(dst, string(b)), err
}

func readTextUnmarshaler(src []byte, v any) error {
	lo, hi := strBounds(src, 0)
	if hi < 0 {
		return fmt.Errorf("want str, found %s", describe(src, 0))
	}
	return v.(encoding.TextUnmarshaler).UnmarshalText(bytes.Clone(src[lo:hi]))
}
