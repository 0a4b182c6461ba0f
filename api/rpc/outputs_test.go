package rpc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/iotest"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/weirflow/weir/api"
)

// shelf is the outputs of a test.
type shelf struct {
	data  []byte
	after error // comes behind data
	calls chan OutputCall
}

func (s *shelf) Call(_ context.Context, q *OutputCall) (OutputAnswer, error) {
	s.calls <- *q
	if q.Do == OutputReserve {
		return OutputAnswer{}, errors.New("the budget is used up")
	}
	return OutputAnswer{Path: "/data/" + q.Job}, nil
}

func (s *shelf) Open(_ context.Context, q *OutputCall) (io.ReadCloser, error) {
	if q.First == q.End {
		return nil, errors.New("no such output")
	}
	r := io.Reader(bytes.NewReader(s.data))
	if s.after != nil {
		r = io.MultiReader(r, iotest.ErrReader(s.after))
	}
	return io.NopCloser(r), nil
}

func TestOutputs(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	shelf := &shelf{data: bytes.Repeat([]byte("0123456789"), 100_000), calls: make(chan OutputCall, 10)}
	s := NewOutputServer(shelf, nil, nil, Options{})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	c, err := NewOutputClient(l.Addr().String(), nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	q := &OutputCall{Do: OutputBegin, Job: "j", Output: api.Output{Edge: api.Edge{To: "sort", Port: 1, Index: 2}, Producer: 3, Attempt: 4}, Bytes: 5, First: 6, End: 7}
	if a, err := c.Call(ctx, q); err != nil || a.Path != "/data/j" || <-shelf.calls != *q {
		t.Error(a, err)
	}
	if _, err := c.Call(ctx, &OutputCall{Do: OutputReserve}); err == nil || err.Error() != "the budget is used up" || errors.Is(err, ErrUnreachable) {
		t.Error(err)
	}
	if _, err := c.Open(ctx, &OutputCall{}); err == nil || err.Error() != "no such output" || errors.Is(err, ErrUnreachable) {
		t.Error(err)
	}
	read := func() ([]byte, error) {
		r, err := c.Open(ctx, q)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(r)
	}
	if got, err := read(); err != nil || !bytes.Equal(got, shelf.data) {
		t.Errorf("%d bytes: %v", len(got), err)
	}
	shelf.after = errors.New("a disk has failed")
	if got, err := read(); err == nil || err.Error() != "a disk has failed" || errors.Is(err, ErrUnreachable) || len(got) > len(shelf.data) {
		t.Errorf("%d bytes: %v", len(got), err)
	}
	shelf.data, shelf.after = nil, nil
	if got, err := read(); err != nil || len(got) > 0 {
		t.Errorf("%d bytes: %v", len(got), err)
	}

	s.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, err := c.Call(ctx, q); !errors.Is(err, ErrUnreachable) {
		t.Error(err)
	}
	if _, err := c.Open(ctx, q); !errors.Is(err, ErrUnreachable) {
		t.Error(err)
	}
}

// FuzzOutputCall wants that no bytes do harm that come as a call.
func FuzzOutputCall(f *testing.F) {
	b, err := msgpack.Marshal(&OutputCall{Do: OutputBegin, Job: "j", Output: api.Output{Edge: api.Edge{To: "sort"}, Attempt: 4}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := (&OutputServer{}).asked(t.Context(), b)
		if (err == nil) != (q != nil) {
			t.Fatalf("%v, %v", q, err)
		}
	})
}
