package codec

import (
	"reflect"
	"runtime"
	"slices"
	"sync"
	"unsafe"
)

// Codec encodes and decodes values of type T.
type Codec[T any] struct {
	root *node
}

// codecs holds *Codec[T] by the reflect.Type of T.
var codecs sync.Map

// For is the codec of type T. It is compiled at the first call and kept. The
// error is a [*TypeError] that names the part of T that cannot be encoded.
func For[T any]() (*Codec[T], error) {
	t := reflect.TypeFor[T]()
	if c, ok := codecs.Load(t); ok {
		return c.(*Codec[T]), nil
	}
	root, err := compile(t)
	if err != nil {
		return nil, err
	}
	c, _ := codecs.LoadOrStore(t, &Codec[T]{root: root})
	return c.(*Codec[T]), nil
}

func compile(t reflect.Type) (*node, error) {
	c := compiler{root: t, nodes: map[reflect.Type]*node{}}
	root, err := c.compile(t, "")
	if err != nil {
		return nil, err
	}
	c.measure()
	return root, nil
}

// Append appends *v, structs in array form. It may write into the capacity of dst
// behind what it returns. It panics with an [*EncodeError] where a custom
// marshaler of the user's gives an error or a value nests without end.
func (c *Codec[T]) Append(dst []byte, v *T) []byte {
	if c.root.op == opStruct {
		dst = c.root.appendStruct(dst, noescape(unsafe.Pointer(v)), walk{})
	} else {
		dst = c.root.append(dst, noescape(unsafe.Pointer(v)), walk{})
	}
	runtime.KeepAlive(v)
	return dst
}

// AppendNamed is [Codec.Append] with structs in named form: maps from field name
// to value, which any msgpack reader can read by name. Fields with omitempty are
// left out when they are empty.
func (c *Codec[T]) AppendNamed(dst []byte, v *T) []byte {
	dst = c.root.append(dst, noescape(unsafe.Pointer(v)), walk{named: true})
	runtime.KeepAlive(v)
	return dst
}

// AppendStable is [Codec.Append] with the entries of maps in the order of their
// encoded bytes: values that are equal have equal bytes. It costs a sort for each
// map and nothing where there are none.
func (c *Codec[T]) AppendStable(dst []byte, v *T) []byte {
	dst = c.root.append(dst, noescape(unsafe.Pointer(v)), walk{sorted: true})
	runtime.KeepAlive(v)
	return dst
}

// TryAppend is [Codec.Append] with the [*EncodeError] as a result. dst is
// returned as it was if there is one.
func (c *Codec[T]) TryAppend(dst []byte, v *T) (out []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			e, ok := r.(*EncodeError)
			if !ok {
				// Not one of ours: a user's marshaler has panicked.
				panic(r)
			}
			out, err = dst, e
		}
	}()
	return c.Append(dst, v), nil
}

// Decode reads one value from the start of src into *v and returns what is behind
// it. All of *v is overwritten; with an error, a [*DecodeError], *v holds a part
// of the value at most. *v and src share no memory afterwards.
func (c *Codec[T]) Decode(src []byte, v *T) (rest []byte, err error) {
	r := reader{src: src}
	i := c.root.decode(&r, 0, noescape(unsafe.Pointer(v)))
	runtime.KeepAlive(v)
	if i < 0 {
		return src, r.err
	}
	return src[i:], nil
}

// AppendValues appends vals as one msgpack array, structs in array form.
func (c *Codec[T]) AppendValues(dst []byte, vals []T) []byte {
	dst = appendArrayHead(dst, len(vals))
	dst = c.root.appendAll(dst, noescape(unsafe.Pointer(unsafe.SliceData(vals))), len(vals), walk{})
	runtime.KeepAlive(vals)
	return dst
}

// DecodeValues reads an array of values, as AppendValues writes it, appends them
// to vals and returns what is behind the array. With an error vals is returned
// with the length it had.
func (c *Codec[T]) DecodeValues(src []byte, vals []T) (_ []T, rest []byte, err error) {
	r := reader{src: src}
	count, i := readArrayHead(src, 0)
	if i < 0 {
		r.fail(0, "an array of "+c.root.want)
		return vals, src, r.err
	}
	old := len(vals)
	for left := count; left > 0; {
		// Grown in steps, so that a false count cannot ask for more than a few times
		// the memory of what has been decoded.
		n := min(left, max(cap(vals)-len(vals), len(vals), 1+atOnce/max(1, int(c.root.size))))
		at := len(vals)
		vals = slices.Grow(vals, n)[:at+n] // What is there is overwritten.
		if i = c.root.decodeAll(&r, i, unsafe.Pointer(unsafe.SliceData(vals[at:])), n); i < 0 {
			clear(vals[old:])
			return vals[:old], src, r.err
		}
		left -= n
	}
	return vals, src[i:], nil
}

// Pointerless reports whether a value of T holds no pointers for the garbage
// collector to follow: then clearing a batch of them is not needed.
func (c *Codec[T]) Pointerless() bool { return c.root.pointerless }

// Schema is the shape of T.
func (c *Codec[T]) Schema() Schema { return schemaOf(c.root) }

// MemSize estimates the bytes of memory that vals occupy, with what they point
// to: for budgets. It takes constant time for types of fixed size, and otherwise
// looks at the lengths of strings, slices and maps. A value to which two pointers
// lead counts twice.
func (c *Codec[T]) MemSize(vals []T) int {
	size := len(vals) * int(c.root.size)
	if len(c.root.inMem) == 0 {
		return size
	}
	m := measurer{size: size}
	p := noescape(unsafe.Pointer(unsafe.SliceData(vals)))
	for k := range vals {
		m.fields(c.root.inMem, at(p, k, c.root.size), 0)
	}
	runtime.KeepAlive(vals)
	return m.size
}
