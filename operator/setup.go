package operator

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/state"
)

// Setup is where a process function declares what it keeps and where it sends: its
// states and side outputs. The function that makes it is called once when the
// pipeline is built, to learn what it declares, and then once for each subtask. It
// must declare the same things each time, and use them only in the functions that
// it returns.
type Setup[K comparable] struct {
	ctx  *Context // nil while the pipeline is built
	cur  *state.Current[K]
	decl *Declared
	side map[string]Attacher // made by this instance
	out  []sideEmitter
	// broadcast are the broadcast states that were declared.
	broadcast []keptState
}

// sideEmitter is the untyped face of a side output's emitter.
type sideEmitter interface {
	At(t flow.Time)
	Flush() error
}

// at sets the time of what goes to the side outputs.
func (s *Setup[K]) at(t flow.Time) {
	for _, e := range s.out {
		e.At(t)
	}
}

// flush sends what the side outputs have collected.
func (s *Setup[K]) flush() (err error) {
	for _, e := range s.out {
		if e := e.Flush(); err == nil {
			err = e
		}
	}
	return err
}

// Declared is what a process function declared.
type Declared struct {
	States []graph.State
	Sides  []graph.Output // outlets from 1
	err    error
}

// Err is what was wrong with the declarations.
func (d *Declared) Err() error { return d.err }

func (d *Declared) state(name, kind, key, value string) {
	for _, s := range d.States {
		if s.Name == name {
			d.err = errors.Join(d.err, fmt.Errorf("state %q is declared twice; give the second another name", name))
		}
	}
	d.States = append(d.States, graph.State{Name: name, Kind: kind, Key: key, Value: value})
}

// Subtask is the number of this instance, 0 while the pipeline is built.
func (s *Setup[K]) Subtask() int {
	if s.ctx == nil {
		return 0
	}
	return s.ctx.Subtask
}

// Parallelism is the number of instances, 1 while the pipeline is built.
func (s *Setup[K]) Parallelism() int {
	if s.ctx == nil {
		return 1
	}
	return s.ctx.Parallelism
}

// declare notes a state; it reports whether handles can be made.
func (s *Setup[K]) declare(name, kind string, value string, check error) bool {
	if s.ctx != nil {
		return true
	}
	s.decl.state(name, kind, typeName[K](), value)
	if check != nil {
		s.decl.err = errors.Join(s.decl.err, fmt.Errorf("state %q: %w", name, check))
	}
	return false
}

func (s *Setup[K]) descriptor(name string) state.Descriptor {
	return state.Descriptor{Operator: s.ctx.Operator, Name: name}
}

// fail keeps the first error of an opening instance.
func (s *Setup[K]) fail(err error) {
	if err != nil {
		s.decl.err = errors.Join(s.decl.err, err)
	}
}

func encodable[V any]() error {
	_, err := codec.For[V]()
	return err
}

func typeName[T any]() string { return reflect.TypeFor[T]().String() }

// ValueState declares one value for each key.
func ValueState[V any, K comparable](s *Setup[K], name string, opts ...StateOption) state.Value[V] {
	o, err := stateOptions[V](opts)
	if !s.declare(name, "value", typeName[V](), errors.Join(encodable[V](), err)) {
		return nil
	}
	o.Clock = s.ctx.Task.Now
	v, err := state.NewValue(s.ctx.State, s.descriptor(name), s.cur, o)
	s.fail(err)
	return v
}

// ListState declares a list for each key.
func ListState[V any, K comparable](s *Setup[K], name string, opts ...StateOption) state.List[V] {
	o, err := stateOptions[V](opts)
	if !s.declare(name, "list", typeName[V](), errors.Join(encodable[V](), err)) {
		return nil
	}
	o.Clock = s.ctx.Task.Now
	l, err := state.NewList(s.ctx.State, s.descriptor(name), s.cur, o)
	s.fail(err)
	return l
}

// MapState declares a map for each key.
func MapState[U comparable, V any, K comparable](s *Setup[K], name string, opts ...StateOption) state.Map[U, V] {
	o, err := stateOptions[V](opts)
	if !s.declare(name, "map", typeName[U]()+" to "+typeName[V](), errors.Join(encodable[U](), encodable[V](), err)) {
		return nil
	}
	o.Clock = s.ctx.Task.Now
	m, err := state.NewMap[K, U](s.ctx.State, s.descriptor(name), s.cur, o)
	s.fail(err)
	return m
}

// ReducingState declares a value for each key that others are folded into.
func ReducingState[V any, K comparable](s *Setup[K], name string, reduce func(a, b V) V, opts ...StateOption) state.Reducing[V] {
	o, err := stateOptions[V](opts)
	if !s.declare(name, "reducing", typeName[V](), errors.Join(encodable[V](), err)) {
		return nil
	}
	o.Clock = s.ctx.Task.Now
	r, err := state.NewReducing(s.ctx.State, s.descriptor(name), s.cur, o, reduce)
	s.fail(err)
	return r
}

// AggregatingState declares an accumulator for each key.
func AggregatingState[In, Acc, Out any, K comparable](s *Setup[K], name string,
	add func(acc *Acc, v In), result func(acc *Acc) Out, opts ...StateOption) state.Aggregating[In, Out] {
	o, err := stateOptions[Acc](opts)
	if !s.declare(name, "aggregating", typeName[Acc](), errors.Join(encodable[Acc](), err)) {
		return nil
	}
	o.Clock = s.ctx.Task.Now
	a, err := state.NewAggregating(s.ctx.State, s.descriptor(name), s.cur, o, add, result)
	s.fail(err)
	return a
}

// SideOutput declares an output beside the main one and returns its emitter.
// Records get the time of the record or timer in hand.
func SideOutput[T any, K comparable](s *Setup[K], name string) *Emitter[T] {
	if s.ctx == nil {
		for _, o := range s.decl.Sides {
			if o.Name == name {
				s.decl.err = errors.Join(s.decl.err, fmt.Errorf("side output %q is declared twice; give the second another name", name))
			}
		}
		s.decl.Sides = append(s.decl.Sides, graph.Output{Name: name, Type: typeName[T](), Impl: EdgeOf[T]()})
		return nil
	}
	out, ok := s.side[name].(*Output[T])
	if !ok {
		s.fail(fmt.Errorf("side output %q was not declared when the pipeline was built: declare the same things each time", name))
		return &Emitter[T]{}
	}
	e := &Emitter[T]{}
	e.Bind(out, s.ctx.BatchSize)
	s.out = append(s.out, e)
	return e
}

// outlets makes the outputs of declared sides. They are attached before the
// instance is opened, and so before the process function is made.
func outlets(d *Declared, made map[string]Attacher, o flow.Outlet) Attacher {
	i := int(o) - 1
	if i < 0 || i >= len(d.Sides) {
		return nil
	}
	side := d.Sides[i]
	if made[side.Name] == nil {
		made[side.Name] = side.Impl.(Edge).NewOutput()
	}
	return made[side.Name]
}
