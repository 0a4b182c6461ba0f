package rpc

import (
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
)

// codec carries messages as bytes: they are encoded where they are sent, so that the
// queue knows their size, and decoded where what cannot be decoded is dealt with.
type codec struct{}

// Name is part of the content type on the wire.
func (codec) Name() string { return "weir" }

// Marshal takes a *[]byte as it is.
func (codec) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("rpc: %T is not encoded here", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(*b)}, nil
}

// Unmarshal copies into a *[]byte.
func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("rpc: %T is not decoded here", v)
	}
	*b = data.Materialize() //nolint:misspell // gRPC's name for it
	return nil
}

const (
	service = "weir.Coordinator"
	method  = "Work"
)

var workStream = grpc.StreamDesc{StreamName: method, ServerStreams: true, ClientStreams: true}
