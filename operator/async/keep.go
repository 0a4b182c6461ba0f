package async

import (
	"errors"
	"fmt"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
	"github.com/weirflow/weir/state"
)

// The obvious way to end an epoch is to wait until nothing is inside. It makes the
// task stand still at each barrier for as long as the slowest call takes. Instead the
// records inside become part of the epoch, and are asked about again after a restore:
// what they ask for is asked twice then, as it is where a call is tried again.

// kept is the stored form of a record that is inside, in named form.
type kept[In any] struct {
	In   In        `msgpack:"in"`
	Time flow.Time `msgpack:"time"`
}

// keptName is the state's name.
const keptName = "asked"

// Barrier notes the records inside. Those of types that cannot be stored are waited
// for.
func (o *caller[In, Q, R, Out]) Barrier(flow.Barrier) ([]byte, error) {
	if err := o.askAgain(); err != nil {
		return nil, err
	}
	o.kept = nil
	if err := o.drain(); err != nil {
		return nil, err
	}
	for tk := o.oldest; tk != nil; tk = tk.newer {
		b, ok := o.encode(&kept[In]{tk.entry.in, tk.entry.time})
		if !ok {
			o.kept = nil
			return nil, o.wait(o.order.empty)
		}
		o.kept = append(o.kept, b)
	}
	return nil, nil
}

// encode reports false for a record that cannot be stored.
func (o *caller[In, Q, R, Out]) encode(k *kept[In]) (b []byte, ok bool) {
	if o.item == nil {
		return nil, false
	}
	defer func() {
		if p := recover(); p != nil {
			if _, is := p.(*codec.EncodeError); !is {
				panic(p) // the user's marshaler
			}
			b, ok = nil, false
		}
	}()
	return o.item.AppendNamed(nil, k), true
}

// Keep returns the records that were inside at the barrier. With another parallelism
// they are dealt out.
func (o *caller[In, Q, R, Out]) Keep() ([]checkpoint.OperatorState, error) {
	if len(o.kept) == 0 {
		return nil, nil
	}
	items := o.kept
	o.kept = nil
	return []checkpoint.OperatorState{{Name: keptName, Mode: checkpoint.Split, Items: items}}, nil
}

// Restore takes records that were inside. They are asked about before any other.
func (o *caller[In, Q, R, Out]) Restore(of []checkpoint.OperatorState) error {
	for _, s := range of {
		if s.Name != keptName || s.Mode != checkpoint.Split || o.item == nil {
			return fmt.Errorf("%w: %q is not what an async operator of this type of records keeps", state.ErrIncompatible, s.Name)
		}
		for i, b := range s.Items {
			var k kept[In]
			rest, err := o.item.Decode(b, &k)
			if err == nil && len(rest) > 0 {
				err = errors.New("there is something behind it")
			}
			if err != nil {
				return fmt.Errorf("%w: record %d that waited for an answer: %w", state.ErrIncompatible, i, err)
			}
			o.restored = append(o.restored, k)
		}
	}
	return nil
}

// ProcessingTime comes once after a restore.
func (o *caller[In, Q, R, Out]) ProcessingTime(flow.Time) error { return o.askAgain() }

// askAgain brings restored records inside.
func (o *caller[In, Q, R, Out]) askAgain() error {
	if len(o.restored) == 0 {
		return nil
	}
	var b flow.Batch[In]
	for _, k := range o.restored {
		b.Values, b.Times = append(b.Values, k.In), append(b.Times, k.Time)
	}
	o.restored = nil
	return o.takeAll(&b)
}

// link puts a record at the end of all that is inside.
func (o *caller[In, Q, R, Out]) link(tk *ticket[entry[In, Out]]) {
	tk.older, tk.newer = o.newest, nil
	if o.newest != nil {
		o.newest.newer = tk
	} else {
		o.oldest = tk
	}
	o.newest = tk
}

// unlink takes out one that has left.
func (o *caller[In, Q, R, Out]) unlink(tk *ticket[entry[In, Out]]) {
	if tk.older != nil {
		tk.older.newer = tk.newer
	} else {
		o.oldest = tk.newer
	}
	if tk.newer != nil {
		tk.newer.older = tk.older
	} else {
		o.newest = tk.older
	}
	tk.older, tk.newer = nil, nil
}
