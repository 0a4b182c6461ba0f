package rpc_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/api/rpc"
)

// oneNode answers with what it was told.
type oneNode struct{ long string }

func (n *oneNode) Report(_ context.Context, r *api.Report) (*api.Orders, error) {
	if r.Node.ID == "" {
		return nil, errors.New("an agent without an id")
	}
	o := &api.Orders{Seq: r.Seq, Lease: 3_000_000}
	for _, a := range r.Allocs {
		o.Known = append(o.Known, a.Alloc)
	}
	return o, nil
}

func (n *oneNode) Open(ctx context.Context, q *rpc.Read) (io.ReadCloser, error) {
	switch {
	case q.Program != "":
		return io.NopCloser(strings.NewReader(n.long)), nil
	case q.Follow:
		r, w := io.Pipe()
		context.AfterFunc(ctx, func() { w.CloseWithError(ctx.Err()) })
		go func() { _, _ = io.WriteString(w, "first\n") }()
		return r, nil
	}
	return nil, errors.New("there is no log of " + string(q.Log))
}

func TestNodes(t *testing.T) {
	defer goleak.VerifyNone(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("0123456789", 100_000)
	s := rpc.NewNodeServer(&oneNode{long}, nil, rpc.Options{})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	c, err := rpc.NewNodeClient(l.Addr().String(), nil, rpc.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	o, err := c.Report(ctx, &api.Report{Seq: 7, Node: api.Node{ID: "n"}, Allocs: []api.AllocStatus{{Alloc: "a.1", State: api.AllocEnded}}})
	if err != nil || o.Seq != 7 || o.Lease != 3_000_000 || len(o.Known) != 1 || o.Known[0] != "a.1" {
		t.Fatalf("orders %+v, %v", o, err)
	}
	if _, err := c.Report(ctx, &api.Report{}); err == nil || err.Error() != "an agent without an id" {
		t.Errorf("a report that is refused: %v", err)
	}
	read := func(q *rpc.Read) (string, error) {
		r, err := c.Open(ctx, q)
		if err != nil {
			return "", err
		}
		defer r.Close()
		b, err := io.ReadAll(r)
		return string(b), err
	}
	if got, err := read(&rpc.Read{Program: "p"}); err != nil || got != long {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := read(&rpc.Read{Log: "x"}); err == nil || err.Error() != "there is no log of x" {
		t.Errorf("a log that is not there: %v", err)
	}
	r, err := c.Open(ctx, &rpc.Read{Log: "x", Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 6)
	if _, err := io.ReadFull(r, line); err != nil || string(line) != "first\n" {
		t.Errorf("%q, %v", line, err)
	}
	if err := errors.Join(r.Close(), c.Close()); err != nil {
		t.Error(err)
	}
	s.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
