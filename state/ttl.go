package state

import (
	"errors"
	"fmt"
	"time"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
)

// TTL is how long values of a state are kept. A value that has expired is never seen
// again; its memory and its place on disk are given back by and by.
//
// Expiry is stored with each value, in processing time. Over a restart a time to
// live may be added: what is there is then kept for that long from the restart. It
// may be taken away: what has not expired stays for good. A shorter one holds at
// once for what is restored, a longer one from the next write on.
type TTL struct {
	// After is how long a value is kept; 0 is for good.
	After time.Duration
	// Update says what makes the time begin anew. Default: OnWrite.
	Update Update
}

// Update says which calls renew a value's time to live.
type Update uint8

const (
	// OnWrite is when a value is made or changed.
	OnWrite Update = iota
	// OnReadAndWrite is also when it is read. A value that is read is then written
	// with the next epoch, as one that changed.
	OnReadAndWrite
)

// Validate refuses what cannot be.
func (t TTL) Validate() error {
	switch {
	case t.After < 0 || t.After > 0 && t.After < time.Microsecond:
		return fmt.Errorf("state: a time to live of %s; it must be at least a microsecond, or 0 for none", t.After)
	case t.Update > OnReadAndWrite:
		return fmt.Errorf("state: the time to live has the unknown Update %d", t.Update)
	}
	return nil
}

// Options is what can be said of a state beside its types. V is the type of a
// value: of one value of a list, of a map's entry, of an accumulator.
type Options[V any] struct {
	TTL TTL
	// Clock is processing time. Default: the clock of the machine.
	Clock func() flow.Time
	// Migrations are for values of older types.
	Migrations []Migration[V]
}

// EnsureDefaults fills what is not set.
func (o *Options[V]) EnsureDefaults() {
	if o.Clock == nil {
		o.Clock = func() flow.Time { return flow.TimeOf(time.Now()) }
	}
}

// Validate refuses what cannot be.
func (o *Options[V]) Validate() error {
	for _, m := range o.Migrations {
		if _, err := m.From(); err != nil {
			return fmt.Errorf("state: a migration's older type: %w", err)
		}
	}
	return o.TTL.Validate()
}

func (o *Options[V]) life() life {
	return life{after: flow.Span(o.TTL.After), onRead: o.TTL.Update == OnReadAndWrite, now: o.Clock}
}

// life is a TTL at work.
type life struct {
	after  flow.Time
	onRead bool
	now    func() flow.Time
}

// Names of the fields of stamped: nobody else's type has them.
const (
	expiresField = "weir:expires"
	valueField   = "weir:value"
)

// stamped is a value with the time at which it is there no more.
type stamped[V any] struct {
	Expires flow.Time `msgpack:"weir:expires"`
	Value   V         `msgpack:"weir:value"`
}

// errExpired is what a decodeFunc gives for a value that has expired, and what its
// loader passes over.
var errExpired = errors.New("expired")

// unstamp is the schema of a value without its stamp.
func unstamp(s codec.Schema) (inner codec.Schema, was bool) {
	if s.Kind == codec.KindStruct && len(s.Fields) == 2 && s.Fields[0].Name == expiresField && s.Fields[1].Name == valueField {
		return s.Fields[1].Type, true
	}
	return s, false
}

// plainValue is what a state's values are without a stamp.
func plainValue(s Schema) codec.Schema {
	v, _ := unstamp(s.Value)
	return v
}

// timeCodec cannot fail: it is of a number.
var timeCodec = func() *codec.Codec[flow.Time] {
	c, err := codec.For[flow.Time]()
	if err != nil {
		// The type is ours, and plain.
		panic(err)
	}
	return c
}()

// errNoStamp says that a value is not what its schema says.
var errNoStamp = errors.New("it should begin with a time of expiry")

// expiry reads the stamp of an encoded value.
func expiry(src []byte) (at flow.Time, value []byte, err error) {
	const pair = 0x92 // a msgpack array of two
	if len(src) == 0 || src[0] != pair {
		return 0, src, errNoStamp
	}
	value, err = timeCodec.Decode(src[1:], &at)
	return at, value, err
}

// stampedReader reads values with a stamp from what was written with one or without.
func stampedReader[V any](l life, was bool, read decodeFunc[V]) decodeFunc[stamped[V]] {
	if !was {
		return func(src []byte, v *stamped[V]) ([]byte, error) {
			v.Expires = l.now().Plus(l.after)
			return read(src, &v.Value)
		}
	}
	return func(src []byte, v *stamped[V]) ([]byte, error) {
		at, value, err := expiry(src)
		if err != nil {
			return src, err
		}
		now := l.now()
		if at <= now {
			return nil, errExpired
		}
		v.Expires = min(at, now.Plus(l.after))
		return read(value, &v.Value)
	}
}

// plainReader reads values without a stamp from what was written with one or without.
func plainReader[V any](now func() flow.Time, was bool, read decodeFunc[V]) decodeFunc[V] {
	if !was {
		return read
	}
	return func(src []byte, v *V) ([]byte, error) {
		at, value, err := expiry(src)
		if err != nil {
			return src, err
		}
		if at <= now() {
			return nil, errExpired
		}
		return read(value, v)
	}
}

// sparse is a loader that passes over what has expired.
type sparse struct{ Loader }

func (l sparse) Load(g flow.KeyGroup, key, value []byte) error {
	if err := l.Loader.Load(g, key, value); !errors.Is(err, errExpired) {
		return err
	}
	return nil
}

// live is the entries of a state that have not expired.
type live struct {
	Frozen
	now flow.Time
}

func (z live) Each(g flow.KeyGroup, f func(key, value []byte) error) error {
	return z.Frozen.Each(g, func(key, value []byte) error {
		if at, _, err := expiry(value); err == nil && at <= z.now {
			return nil
		}
		return f(key, value)
	})
}
