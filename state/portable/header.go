package portable

import (
	"fmt"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
	"github.com/weirflow/weir/state"
)

// Header says what a stream holds.
type Header struct {
	MaxParallelism int
	KeyGroups      flow.KeyGroupRange
	States         []State
}

// State is one state of a stream.
type State struct {
	// ID is what the stream's entries name it by.
	ID uint16
	state.Stored
}

// Check refuses streams of another max parallelism.
func (h *Header) Check(maxParallelism int) error {
	if h.MaxParallelism != maxParallelism {
		return fmt.Errorf("%w: it was made with max parallelism %d and cannot be read with %d; "+
			"the number is fixed for the life of a job's state", state.ErrIncompatible, h.MaxParallelism, maxParallelism)
	}
	return nil
}

// header is the first section, as it is stored.
type header struct {
	MaxParallelism int           `msgpack:"maxParallelism"`
	First          uint16        `msgpack:"first"`
	End            uint16        `msgpack:"end"`
	States         []stateHeader `msgpack:"states"`
}

type stateHeader struct {
	ID        uint16       `msgpack:"id"`
	Operator  string       `msgpack:"operator"`
	Name      string       `msgpack:"name"`
	Kind      uint8        `msgpack:"kind"`
	Key       codec.Schema `msgpack:"key"`
	Namespace codec.Schema `msgpack:"namespace"`
	Value     codec.Schema `msgpack:"value"`
}

func stored(h *Header) *header {
	s := &header{MaxParallelism: h.MaxParallelism, First: uint16(h.KeyGroups.First), End: uint16(h.KeyGroups.End)}
	for _, st := range h.States {
		s.States = append(s.States, stateHeader{
			ID: st.ID, Operator: string(st.Descriptor.Operator), Name: st.Descriptor.Name, Kind: uint8(st.Schema.Kind),
			Key: st.Schema.Key, Namespace: st.Schema.Namespace, Value: st.Schema.Value,
		})
	}
	return s
}

// header refuses states that are there twice.
func (s *header) header() (*Header, error) {
	h := &Header{MaxParallelism: s.MaxParallelism, KeyGroups: flow.KeyGroupRange{First: flow.KeyGroup(s.First), End: flow.KeyGroup(s.End)}}
	ids, names := map[uint16]bool{}, map[[2]string]bool{}
	for _, st := range s.States {
		d := state.Descriptor{Operator: flow.OperatorID(st.Operator), Name: st.Name, Kind: state.Kind(st.Kind)}
		name := [2]string{st.Operator, st.Name}
		if ids[st.ID] || names[name] {
			return nil, corrupt("header: %s is there twice, or its id", d)
		}
		ids[st.ID], names[name] = true, true
		h.States = append(h.States, State{st.ID, state.Stored{Descriptor: d, Schema: state.Schema{
			Kind: d.Kind, Key: st.Key, Namespace: st.Namespace, Value: st.Value,
		}}})
	}
	return h, nil
}
