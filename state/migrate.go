package state

import (
	"errors"

	"github.com/weirflow/weir/flow/codec"
)

// Migration makes values of a state's type V from values of an older type. See
// [Migrate].
type Migration[V any] interface {
	// From is the schema of the older type.
	From() (codec.Schema, error)
	// one is how to read a value, and many a list of them, that was written with a
	// schema. Where exact is set the schema must be just that of the older type.
	one(written codec.Schema, exact bool) (decodeFunc[V], error)
	many(written codec.Schema, exact bool) (decodeFunc[[]V], error)
}

// Migrate registers what becomes of the values of a state whose type was Old when
// they were stored. It is called once for each of them: when the state is restored,
// before the first record. It must give equal results for equal values and use
// nothing but its argument.
//
// It is used for what was written with just the fields of Old, under whichever name
// the type had, and for what Old can read by name and New cannot. Several
// migrations may be registered for a state, one for each older type.
func Migrate[Old, New any](f func(Old) New) Migration[New] { return migration[Old, New]{f} }

type migration[Old, New any] struct{ f func(Old) New }

func (m migration[Old, New]) From() (codec.Schema, error) {
	c, err := codec.For[Old]()
	if err != nil {
		return codec.Schema{}, err
	}
	return c.Schema(), nil
}

func (m migration[Old, New]) one(written codec.Schema, exact bool) (decodeFunc[New], error) {
	c, err := readingOf[Old](written, exact)
	if err != nil {
		return nil, err
	}
	return func(src []byte, v *New) ([]byte, error) {
		var old Old
		rest, err := c.Decode(src, &old)
		if err == nil {
			*v = m.f(old)
		}
		return rest, err
	}, nil
}

func (m migration[Old, New]) many(written codec.Schema, exact bool) (decodeFunc[[]New], error) {
	c, err := readingOf[[]Old](written, exact)
	if err != nil {
		return nil, err
	}
	return func(src []byte, v *[]New) ([]byte, error) {
		var old []Old
		rest, err := c.Decode(src, &old)
		if err != nil {
			return rest, err
		}
		*v = make([]New, len(old))
		for i := range old {
			(*v)[i] = m.f(old[i])
		}
		return rest, nil
	}, nil
}

var errNotExact = errors.New("another type")

// readingOf is a codec of T for what was written with a schema.
func readingOf[T any](written codec.Schema, exact bool) (*codec.Codec[T], error) {
	c, err := codec.For[T]()
	switch {
	case err != nil || c.Schema().Same(written):
		return c, err
	case exact:
		return nil, errNotExact
	}
	return c.Reading(written)
}

// choose finds how to read what was written with a schema: as it is where it is the
// same, then by the migration from just that type, then by name, and then by a
// migration whose older type can read it by name. by calls a migration.
func choose[T, M any](written codec.Schema, migrations []M, by func(m M, exact bool) (decodeFunc[T], error)) (decodeFunc[T], error) {
	own, err := codec.For[T]()
	if err != nil {
		return nil, err
	}
	if own.Schema().Same(written) {
		return own.Decode, nil
	}
	for _, m := range migrations {
		if d, err := by(m, true); err == nil {
			return d, nil
		}
	}
	byName, err := own.Reading(written)
	if err == nil {
		return byName.Decode, nil
	}
	for _, m := range migrations {
		if d, err := by(m, false); err == nil {
			return d, nil
		}
	}
	return nil, err
}

// readOne is how to read one value.
func readOne[V any](written codec.Schema, migrations []Migration[V]) (decodeFunc[V], error) {
	return choose(written, migrations, func(m Migration[V], exact bool) (decodeFunc[V], error) { return m.one(written, exact) })
}

// readMany is how to read a list, which has a value at least.
func readMany[V any](written codec.Schema, migrations []Migration[V]) (decodeFunc[[]V], error) {
	d, err := choose(written, migrations, func(m Migration[V], exact bool) (decodeFunc[[]V], error) { return m.many(written, exact) })
	if err != nil {
		return nil, err
	}
	return func(src []byte, v *[]V) ([]byte, error) {
		rest, err := d(src, v)
		if err == nil && len(*v) == 0 {
			err = errNoValues
		}
		return rest, err
	}, nil
}
