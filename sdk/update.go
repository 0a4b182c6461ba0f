package sdk

import (
	"fmt"

	"github.com/weirflow/weir/flow/codec"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
)

// Update changes each record in place. For records of more than four fields it is
// several times as fast as a [Map] from T to T, which moves each of them through
// memory. f must not keep the pointer.
func Update[T any](s *Stream[T], f func(v *T), opts ...Option) *Stream[T] {
	return add[T](s.p, spec{kind: "update", inputs: []graph.Input{s.input("in")}, opts: opts,
		errs: []error{notNil(f == nil, "the function of Update")},
		impl: impl(func() operator.Operator { return operator.NewUpdate(f) })})
}

// notNil is the error of a function that must be given.
func notNil(isNil bool, what string) error {
	if isNil {
		return fmt.Errorf("%s is nil", what)
	}
	return nil
}

// valueState describes a state of one V for each key; the error says why a V
// cannot be stored.
func valueState[K comparable, V any](name string) (graph.State, error) {
	_, err := codec.For[V]()
	if err != nil {
		err = fmt.Errorf("state %q: %w", name, err)
	}
	return graph.State{Name: name, Kind: "value", Key: typeName[K](), Value: typeName[V]()}, err
}
