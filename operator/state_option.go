package operator

import (
	"errors"
	"fmt"
	"time"

	"github.com/weirflow/weir/state"
)

// StateOption says more of a state than its type: how long values live, and what
// becomes of those that an older program has stored. See [ExpireAfter],
// [ExpireAfterAccess] and [MigrateFrom].
type StateOption interface{ stateOption() }

type ttlOption struct{ state.TTL }

type migrateOption[V any] struct{ state.Migration[V] }

func (ttlOption) stateOption()        {}
func (migrateOption[V]) stateOption() {}

// ExpireAfter removes a value that was not written for as long, in processing time.
// Of a map that is each entry, of a list the whole list, of a reducing or
// aggregating state what has been folded. What has expired is not seen again, and
// its memory is given back by and by.
func ExpireAfter(d time.Duration) StateOption {
	return ttlOption{state.TTL{After: d, Update: state.OnWrite}}
}

// ExpireAfterAccess is ExpireAfter for a value that was neither read nor written.
func ExpireAfterAccess(d time.Duration) StateOption {
	return ttlOption{state.TTL{After: d, Update: state.OnReadAndWrite}}
}

// MigrateFrom tells what becomes of values that an older program has stored as Old.
// V is the type of a value: of one value of a list, of a map's entry, of an
// accumulator. f is called once for each value when the state is restored; it must
// use nothing but its argument. There may be several, one for each older type.
//
// Fields that were added, removed or put in another order need no migration, nor do
// numbers that became wider.
func MigrateFrom[Old, V any](f func(Old) V) StateOption {
	return migrateOption[V]{state.Migrate(f)}
}

// stateOptions gathers the options of a state of values V.
func stateOptions[V any](opts []StateOption) (o state.Options[V], err error) {
	ttls := 0
	for _, opt := range opts {
		switch opt := opt.(type) {
		case ttlOption:
			if ttls++; ttls > 1 {
				err = errors.Join(err, errors.New("two options say when its values expire; leave one out"))
			}
			if opt.After == 0 {
				err = errors.Join(err, errors.New("its values are to expire after no time at all; leave the option out to keep them"))
			}
			o.TTL = opt.TTL
		case migrateOption[V]:
			o.Migrations = append(o.Migrations, opt.Migration)
		case nil:
			err = errors.Join(err, errors.New("an option is nil"))
		default:
			err = errors.Join(err, fmt.Errorf("%T makes values of another type than the state's, which is %s", opt, typeName[V]()))
		}
	}
	return o, errors.Join(err, o.Validate())
}
