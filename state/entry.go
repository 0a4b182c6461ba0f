package state

import (
	"errors"
	"fmt"
	"reflect"
	"unsafe"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
	"github.com/weirflow/weir/flow/keyhash"
)

// format turns the entries of one state into bytes and back.
type format[K, N comparable, V any] struct {
	desc  Descriptor
	hash  func(K) flow.Hash
	mix   func(N) flow.Hash // nil where namespaces are without size
	key   *codec.Codec[K]
	ns    *codec.Codec[N]
	value *codec.Codec[V]

	// open finds how to read values that were written with some schema, where there
	// is more to it than fields by name; see [Options].
	open func(written codec.Schema) (decodeFunc[V], error)
	// decode is what open found, in the format of a loader.
	decode decodeFunc[V]
}

// decodeFunc reads one value from the start of src and returns what is behind it.
// It returns errExpired for a value that is no longer there.
type decodeFunc[V any] func(src []byte, v *V) (rest []byte, err error)

// newFormat refuses types that cannot be hashed or encoded, naming the state.
func newFormat[K, N comparable, V any](d Descriptor) (f format[K, N, V], err error) {
	f.desc = d
	if f.key, err = codec.For[K](); err != nil {
		return f, fmt.Errorf("%s: key: %w", d, err)
	}
	if f.ns, err = codec.For[N](); err != nil {
		return f, fmt.Errorf("%s: namespace: %w", d, err)
	}
	if f.value, err = codec.For[V](); err != nil {
		return f, fmt.Errorf("%s: value: %w", d, err)
	}
	if f.hash, err = keyhash.For[K](); err != nil {
		return f, fmt.Errorf("%s: key: %w", d, err)
	}
	if !f.bare() && !plainWords[N]() {
		if f.mix, err = keyhash.For[N](); err != nil {
			return f, fmt.Errorf("%s: namespace: %w", d, err)
		}
	}
	return f, nil
}

// bare reports that there is nothing to say of a namespace.
func (f *format[K, N, V]) bare() bool {
	var n N
	return unsafe.Sizeof(n) == 0
}

func (f *format[K, N, V]) schema() Schema {
	return Schema{Kind: f.desc.Kind, Key: f.key.Schema(), Namespace: f.ns.Schema(), Value: f.value.Schema()}
}

// reading is the format of entries that were written with another schema.
func (f format[K, N, V]) reading(written Schema) (format[K, N, V], error) {
	if written.Kind != f.desc.Kind {
		return f, fmt.Errorf("%w: %s was a %s; give the new one another name", ErrIncompatible, f.desc, written.Kind)
	}
	own := f.schema()
	errs := []error{
		adapt(&f.key, own.Key, written.Key, "key", codec.ForKey),
		adapt(&f.ns, own.Namespace, written.Namespace, f.desc.Kind.part(), codec.ForPart),
	}
	if f.open == nil {
		errs = append(errs, adapt(&f.value, own.Value, written.Value, "value", codec.ForValue))
	} else {
		var err error
		if f.decode, err = f.open(written.Value); err != nil {
			errs = append(errs, labelled("value", err))
		}
	}
	if err := merged(errs); err != nil {
		return f, fmt.Errorf("%w: %s: %w; %s", ErrIncompatible, f.desc, err, advice)
	}
	return f, nil
}

func adapt[T any](c **codec.Codec[T], own, written codec.Schema, part string, use codec.Use) error {
	if reflect.DeepEqual(own, written) {
		return nil
	}
	r, err := (*c).ReadingFor(written, use)
	if err != nil {
		return labelled(part, err)
	}
	*c = r
	return nil
}

func (f *format[K, N, V]) appendKey(dst []byte, k *K, n *N) []byte {
	dst = f.key.Append(dst, k)
	if !f.bare() {
		dst = f.ns.Append(dst, n)
	}
	return dst
}

// decodeKey reads what appendKey wrote, and checks that it is of the key group
// that it was found in.
func (f *format[K, N, V]) decodeKey(src []byte, g flow.KeyGroup, maxParallelism int) (h flow.Hash, k K, n N, err error) {
	rest, err := f.key.Decode(src, &k)
	if err == nil && !f.bare() {
		rest, err = f.ns.Decode(rest, &n)
	}
	if err != nil {
		return 0, k, n, f.corrupt("key", err)
	}
	if len(rest) > 0 {
		return 0, k, n, f.corrupt("key", fmt.Errorf("%d bytes too many", len(rest)))
	}
	h = f.hash(k)
	if own := flow.KeyGroupOf(h, maxParallelism); own != g {
		return 0, k, n, f.corrupt("key", fmt.Errorf("a key of key group %d in key group %d", own, g))
	}
	return h, k, n, nil
}

func (f *format[K, N, V]) decodeValue(src []byte, v *V) error {
	var rest []byte
	var err error
	if f.decode != nil {
		rest, err = f.decode(src, v)
	} else {
		rest, err = f.value.Decode(src, v)
	}
	if errors.Is(err, errExpired) {
		return err
	}
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes too many", len(rest))
	}
	if err != nil {
		return f.corrupt("value", err)
	}
	return nil
}

func (f *format[K, N, V]) corrupt(part string, err error) error {
	return fmt.Errorf("%w: %s: %s: %w", ErrCorrupt, f.desc, part, err)
}

// caught turns the panic of a value that cannot be encoded into an error.
func caught(d Descriptor, err *error) {
	switch r := recover().(type) {
	case nil:
	case *codec.EncodeError:
		*err = fmt.Errorf("%s: %w", d, r)
	default:
		panic(r)
	}
}

// groups is things in the order of their key groups.
type groups[E any] struct {
	first flow.KeyGroup
	ends  []int // by key group, from first: where its part of all ends
	all   []E
}

func (g *groups[E]) of(at flow.KeyGroup) []E {
	i := int(at) - int(g.first)
	if i < 0 || i >= len(g.ends) {
		return nil
	}
	if i == 0 {
		return g.all[:g.ends[0]]
	}
	return g.all[g.ends[i-1]:g.ends[i]]
}

// byGroup sorts what each yields by key group, in linear time and keeping the
// order within a group.
func byGroup[E any](d Descriptor, n, maxParallelism int, r flow.KeyGroupRange,
	each func(func(flow.Hash, E) bool)) (*groups[E], error) {
	ends := make([]int, max(r.Len(), 0)+1)
	var err error
	each(func(h flow.Hash, _ E) bool {
		g := flow.KeyGroupOf(h, maxParallelism)
		if !r.Contains(g) {
			err = fmt.Errorf("%s holds a key of key group %d, but its task owns %s: its records were not sent by key, "+
				"or the hash is not that of flow/keyhash", d, g, r)
			return false
		}
		ends[g-r.First+1]++ // one too far: the start of the group for now
		return true
	})
	if err != nil {
		return nil, err
	}
	for i := 1; i < len(ends); i++ {
		ends[i] += ends[i-1]
	}
	all := make([]E, n)
	each(func(h flow.Hash, e E) bool {
		i := flow.KeyGroupOf(h, maxParallelism) - r.First
		all[ends[i]] = e
		ends[i]++
		return true
	})
	return &groups[E]{first: r.First, ends: ends[:len(ends)-1], all: all}, nil
}
