package rpc

import (
	"bytes"
	"fmt"
	"reflect"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/weirflow/weir/api"
)

// ping is sent when nothing else was for a while.
type ping struct{}

// welcome answers a hello that was admitted.
type welcome struct{ Term uint64 }

// over is a coordinator's last message: the job has ended.
type over struct{ Reason string }

// kinds are the messages of one direction by the names under which they travel. The
// names are forever.
type kinds struct {
	name  map[reflect.Type]string
	blank map[string]reflect.Type
}

func newKinds(names map[string]any) kinds {
	k := kinds{name: map[reflect.Type]string{}, blank: map[string]reflect.Type{}}
	for name, m := range names {
		t := reflect.TypeOf(m)
		k.name[t], k.blank[name] = name, t
	}
	return k
}

// up goes from an executor to the coordinator, down the other way.
var (
	up = newKinds(map[string]any{
		"ping": ping{}, "hello": api.Hello{}, "task_state": api.TaskState{}, "ack": api.Ack{}, "decline": api.Decline{},
		"request_split": api.RequestSplit{}, "finished_split": api.FinishedSplit{}, "source_watermark": api.SourceWatermark{},
	})
	down = newKinds(map[string]any{
		"ping": ping{}, "welcome": welcome{}, "over": over{}, "deploy": api.Deploy{}, "inject_barrier": api.InjectBarrier{},
		"abort_epoch": api.AbortEpoch{}, "committed": api.Committed{}, "add_splits": api.AddSplits{},
		"no_more_splits": api.NoMoreSplits{}, "no_split_yet": api.NoSplitYet{}, "align": api.Align{},
		"stop_sources": api.StopSources{}, "finish_tasks": api.FinishTasks{}, "cancel_tasks": api.CancelTasks{},
	})
)

// encode makes the bytes of a message, which is a pointer to one of the types.
func (k kinds) encode(m any) ([]byte, error) {
	name, ok := k.name[reflect.TypeOf(m).Elem()]
	if !ok {
		panic(fmt.Sprintf("rpc: %T is no message of this direction", m))
	}
	var b bytes.Buffer
	e := msgpack.NewEncoder(&b)
	e.UseCompactInts(true)
	err := e.EncodeMapLen(1)
	if err == nil {
		err = e.EncodeString(name)
	}
	if err == nil {
		err = e.Encode(m)
	}
	if err != nil {
		return nil, fmt.Errorf("rpc: encoding %s: %w", name, err)
	}
	return b.Bytes(), nil
}

// decode makes a message of bytes, of which it keeps nothing.
func (k kinds) decode(data []byte) (any, error) {
	if err := check(data); err != nil {
		return nil, fmt.Errorf("rpc: a message of %d bytes: %w", len(data), err)
	}
	r := bytes.NewReader(data)
	d := msgpack.NewDecoder(r)
	n, err := d.DecodeMapLen()
	if err != nil || n != 1 {
		return nil, fmt.Errorf("rpc: a message of %d bytes is not one kind and its body", len(data))
	}
	name, err := d.DecodeString()
	if err != nil {
		return nil, fmt.Errorf("rpc: the kind of a message: %w", err)
	}
	t, ok := k.blank[name]
	if !ok {
		return nil, fmt.Errorf("rpc: a message of the kind %.40q, which this release does not know", name)
	}
	m := reflect.New(t).Interface()
	if err := d.Decode(m); err != nil {
		return nil, fmt.Errorf("rpc: decoding %s: %w", name, err)
	}
	return m, nil
}

// deliverUp hands a message of an executor to the scheduler.
func deliverUp(m any, s api.Scheduler) error {
	switch m := m.(type) {
	case *ping:
	case *api.TaskState:
		s.TaskState(m)
	case *api.Ack:
		s.Ack(m)
	case *api.Decline:
		s.Decline(m)
	case *api.RequestSplit:
		s.RequestSplit(m)
	case *api.FinishedSplit:
		s.FinishedSplit(m)
	case *api.SourceWatermark:
		s.SourceWatermark(m)
	default:
		return fmt.Errorf("rpc: %T has no place here", m)
	}
	return nil
}

// deliverDown hands a message of the coordinator to the worker.
func deliverDown(m any, w api.Worker) error {
	switch m := m.(type) {
	case *ping:
	case *over:
		return fmt.Errorf("%w: %s", ErrOver, m.Reason)
	case *api.Deploy:
		if err := w.Deploy(m); err != nil {
			return fmt.Errorf("rpc: attempt %d cannot be deployed: %w", m.Attempt, err)
		}
	case *api.InjectBarrier:
		w.InjectBarrier(m)
	case *api.AbortEpoch:
		w.AbortEpoch(m)
	case *api.Committed:
		w.Committed(m)
	case *api.AddSplits:
		w.AddSplits(m)
	case *api.NoMoreSplits:
		w.NoMoreSplits(m)
	case *api.NoSplitYet:
		w.NoSplitYet(m)
	case *api.Align:
		w.Align(m)
	case *api.StopSources:
		w.StopSources(m)
	case *api.FinishTasks:
		w.FinishTasks(m)
	case *api.CancelTasks:
		w.CancelTasks(m)
	default:
		return fmt.Errorf("rpc: %T has no place here", m)
	}
	return nil
}
