package codec

import (
	"reflect"
	"sync"
)

// op says what a node, or a field of a struct node, is. The scalars come first:
// they are handled without a call through the node.
type op uint8

const (
	opBool op = iota + 1
	opInt8
	opInt16
	opInt32
	opInt64
	opUint8
	opUint16
	opUint32
	opUint64
	opFloat32
	opFloat64
	opString
	// opLastScalar is the last op that appendScalar and decodeScalar know.
	opLastScalar = opString
)

const (
	opBytes     op = opLastScalar + 1 + iota // []byte and slices of named bytes
	opByteArray                              // [n]byte
	opArray                                  // [n]T
	opSlice                                  // []T
	opMap                                    // map[K]T
	opPtr                                    // *T
	opStruct                                 // struct
	opTime                                   // time.Time
	opCustom                                 // a type with methods of its own
)

// node is what a type compiles to. Nodes of recursive types form cycles. A node
// does not change once [For] has returned.
type node struct {
	op     op
	typ    reflect.Type
	size   uintptr // of a value in memory
	len    int     // of arrays
	elem   *node   // of arrays, slices, maps and pointers
	key    *node   // of maps
	custom *custom
	want   string // what a DecodeError says was expected

	// Of structs:
	fields  []field
	names   []fieldName    // beside fields: what only the named form needs
	byName  map[string]int // names and aliases to positions in fields
	head    []byte         // the head of the array form
	reserve int            // room for the head, names and all scalars, but for the strings' bytes
	partial bool           // some memory belongs to no field: "-" and blank fields
	order   []int          // of a codec made by Reading: fields in the order of the array form, -1 is skipped
	presets []int          // of a codec made by Reading: fields that are new and have a default
	omits   bool           // some field has omitempty

	// Of maps:
	scratch *sync.Pool // of *mapScratch

	pointerless bool    // the garbage collector finds no pointer in a value
	elemPlain   bool    // of slices: the elements are pointerless
	inMem       []field // the fields, or the element at offset 0, whose in-memory size varies
	extra       int     // what a custom value is taken to own beside its own memory
}

// field is what the loop over a struct's fields reads: kept small.
type field struct {
	off  uintptr
	node *node
	op   op
}

type fieldName struct {
	short     [shortName]byte // head, if it is no longer, for copies of fixed size
	head      []byte          // name as msgpack
	name      string
	alias     string
	omitEmpty bool
	preset    []byte // the default of a field that was not written, encoded; nil for zero
}

// shortName is up to how many bytes a name with its head is copied and compared
// by two words.
const shortName = 16
