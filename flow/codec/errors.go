package codec

import (
	"fmt"
	"reflect"
	"strings"
)

// TypeError says why a type cannot be encoded: which part of it, and what to do.
type TypeError struct {
	Type   reflect.Type // the type that was to be compiled
	Path   string       // the way from there to the part; empty for the type itself
	Part   reflect.Type // the part's type
	Reason string       // what is wrong with it and what to do
}

// Error names the type, the path and the reason.
func (e *TypeError) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("flow/codec: type %s: %s", e.Type, e.Reason)
	}
	return fmt.Sprintf("flow/codec: type %s: field %s: %s %s", e.Type, e.Path, e.Part, e.Reason)
}

// DecodeError says where bytes are not what the type asks for.
type DecodeError struct {
	Offset int    // of the first byte of the value that does not fit
	Path   string // the field, element or key, from the decoded type down; may be empty
	Want   string // the expected type
	Found  string // what is there
}

// Error names offset, path, and what was expected and found.
func (e *DecodeError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "flow/codec: byte %d", e.Offset)
	if e.Path != "" {
		b.WriteString(", ")
		b.WriteString(strings.TrimPrefix(e.Path, "."))
	}
	fmt.Fprintf(&b, ": want %s, found %s", e.Want, e.Found)
	return b.String()
}

// EncodeError is the value with which Append panics when user data cannot be
// encoded: a custom marshaler returned an error or wrote something that is not
// one msgpack value, pointers form a cycle, or something is longer than msgpack
// can say. It is a panic because it is as rare and as final for the record as a
// panic in a user's function, and is reported in the same way; an error result
// would cost every call. [Codec.TryAppend] returns it as an error.
type EncodeError struct {
	Type   string // the type that could not be encoded; empty where it is not known
	Reason string
	Err    error // the marshaler's error, or nil
}

// Error names the type and the reason.
func (e *EncodeError) Error() string {
	s := "flow/codec: a value cannot be encoded: "
	if e.Type != "" {
		s = "flow/codec: a value of type " + e.Type + " cannot be encoded: "
	}
	s += e.Reason
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap is the marshaler's error.
func (e *EncodeError) Unwrap() error { return e.Err }
