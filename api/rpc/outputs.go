package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/vmihailenco/msgpack/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	grpcpeer "google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/weirflow/weir/api"
)

// ErrUnreachable says that an agent does not answer. Callers may use errors.Is.
var ErrUnreachable = errors.New("rpc: the agent does not answer")

// What an executor can ask an agent to do with outputs; see OutputCall.
const (
	OutputPing    = "ping"    // is it there?
	OutputBegin   = "begin"   // admit one; the answer is the path of its file
	OutputReserve = "reserve" // admit so many bytes more
	OutputDone    = "done"    // it is written
	OutputDrop    = "drop"    // it was given up
	OutputRemove  = "remove"  // nobody needs it any more
	OutputClear   = "clear"   // nor any other of the job
)

// OutputCall is something that an executor asks of an agent's outputs. A repeat does no
// harm, but for begin.
type OutputCall struct {
	Do     string
	Job    string
	Output api.Output
	Bytes  int64
	// First and End are the sub-partitions that are to be read.
	First, End int
}

// OutputAnswer is what came of it.
type OutputAnswer struct{ Path string }

// Outputs is what an agent does with outputs. Its methods may be called from any goroutine.
type Outputs interface {
	Call(context.Context, *OutputCall) (OutputAnswer, error)
	// Open reads sub-partitions of an output. The context is its reader's.
	Open(context.Context, *OutputCall) (io.ReadCloser, error)
}

const (
	outputService = "weir.Outputs"
	callMethod    = "Call"
	openMethod    = "Open"
)

// OutputServer is where executors reach an agent's outputs.
type OutputServer struct {
	outputs Outputs
	allowed func(*tls.ConnectionState, string) error
	grpc    *grpc.Server
}

// NewOutputServer makes a server that Serve runs. allowed says whether a peer may touch a
// job's outputs. A nil conf is for loopback only: then nobody is asked.
func NewOutputServer(o Outputs, conf *tls.Config, allowed func(*tls.ConnectionState, string) error, opt Options) *OutputServer {
	opt.EnsureDefaults()
	creds := insecure.NewCredentials()
	if conf != nil {
		creds = credentials.NewTLS(conf)
	} else {
		allowed = nil
	}
	s := &OutputServer{outputs: o, allowed: allowed}
	s.grpc = grpc.NewServer(
		grpc.ForceServerCodecV2(codec{}), grpc.Creds(creds),
		grpc.MaxRecvMsgSize(opt.MaxMessage), grpc.MaxSendMsgSize(opt.MaxMessage),
		grpc.MaxConcurrentStreams(256), grpc.MaxHeaderListSize(16<<10), grpc.ConnectionTimeout(opt.Patience),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: max(time.Second, opt.Ping), Timeout: opt.Patience}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second / 2, PermitWithoutStream: true}),
		grpc.InitialWindowSize(1<<20), grpc.InitialConnWindowSize(4<<20),
		grpc.WaitForHandlers(true),
	)
	s.grpc.RegisterService(&grpc.ServiceDesc{
		ServiceName: outputService, HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: callMethod, Handler: s.call}},
		Streams: []grpc.StreamDesc{{StreamName: openMethod, ServerStreams: true,
			Handler: func(_ any, stream grpc.ServerStream) error { return s.open(stream) }}},
	}, s)
	return s
}

// Serve answers until Close. The listener is the server's.
func (s *OutputServer) Serve(l net.Listener) error {
	if err := s.grpc.Serve(l); !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

// Close ends what is under way, and returns when it has ended.
func (s *OutputServer) Close() { s.grpc.Stop() }

// asked decodes a call and asks whether the peer may make it.
func (s *OutputServer) asked(ctx context.Context, b []byte) (*OutputCall, error) {
	q := new(OutputCall)
	if err := unpack(b, q); err != nil {
		return nil, status.Error(codes.InvalidArgument, "a call for outputs: "+cut(err.Error()))
	}
	if s.allowed == nil {
		return q, nil
	}
	p, _ := grpcpeer.FromContext(ctx)
	if p == nil {
		return nil, status.Error(codes.PermissionDenied, "nobody knows who asks for outputs")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return nil, status.Error(codes.PermissionDenied, "who asks for outputs has no certificate")
	}
	if err := s.allowed(&info.State, q.Job); err != nil {
		return nil, status.Error(codes.PermissionDenied, cut(err.Error()))
	}
	return q, nil
}

func (s *OutputServer) call(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) { //nolint:revive // gRPC's order
	var b []byte
	if err := decode(&b); err != nil {
		return nil, err
	}
	q, err := s.asked(ctx, b)
	if err != nil {
		return nil, err
	}
	a, err := s.outputs.Call(ctx, q)
	if err != nil {
		return nil, status.Error(codes.FailedPrecondition, cut(err.Error()))
	}
	out, err := msgpack.Marshal(&a)
	return &out, err
}

func (s *OutputServer) open(stream grpc.ServerStream) error {
	var b []byte
	if err := stream.RecvMsg(&b); err != nil {
		return err
	}
	q, err := s.asked(stream.Context(), b)
	if err != nil {
		return err
	}
	r, err := s.outputs.Open(stream.Context(), q)
	if err != nil {
		return status.Error(codes.NotFound, cut(err.Error()))
	}
	defer r.Close()
	for {
		p := make([]byte, chunk)
		n, err := io.ReadFull(r, p)
		if n > 0 {
			p = p[:n]
			if serr := stream.SendMsg(&p); serr != nil {
				return serr
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return status.Error(codes.DataLoss, cut(err.Error()))
		}
	}
}

// OutputClient is an agent's outputs for an executor. Its methods may be called from any
// goroutine.
type OutputClient struct {
	conn *grpc.ClientConn
}

// NewOutputClient makes one that dials when it is first used, and again when a connection
// has broken. A nil conf is for loopback only.
func NewOutputClient(addr string, conf *tls.Config, opt Options) (*OutputClient, error) {
	opt.EnsureDefaults()
	creds := insecure.NewCredentials()
	if conf != nil {
		creds = credentials.NewTLS(conf)
	}
	dial := []grpc.DialOption{grpc.WithTransportCredentials(creds),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(codec{}), grpc.MaxCallRecvMsgSize(opt.MaxMessage), grpc.MaxCallSendMsgSize(opt.MaxMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: max(10*time.Second, opt.Ping), Timeout: opt.Patience}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, MaxDelay: time.Second}, MinConnectTimeout: opt.Patience}),
		grpc.WithInitialWindowSize(1 << 20), grpc.WithInitialConnWindowSize(4 << 20),
		grpc.WithDisableServiceConfig(), opt.dialer()}
	conn, err := grpc.NewClient("passthrough:///"+addr, dial...)
	if err != nil {
		return nil, fmt.Errorf("rpc: %s: %w", addr, err)
	}
	return &OutputClient{conn}, nil
}

// Close ends the connection.
func (c *OutputClient) Close() error { return c.conn.Close() }

// Call asks for something. The error wraps ErrUnreachable where no agent has answered.
func (c *OutputClient) Call(ctx context.Context, q *OutputCall) (a OutputAnswer, err error) {
	b, err := msgpack.Marshal(q)
	if err != nil {
		return a, err
	}
	var answer []byte
	if err := c.conn.Invoke(ctx, "/"+outputService+"/"+callMethod, &b, &answer); err != nil {
		return a, reached(err)
	}
	if err := unpack(answer, &a); err != nil {
		return a, fmt.Errorf("rpc: what %s answers about outputs: %w", c.conn.Target(), err)
	}
	return a, nil
}

// Open reads sub-partitions of an output. The reader ends with the context at the latest, and
// must be closed; its errors are as those of Call.
func (c *OutputClient) Open(ctx context.Context, q *OutputCall) (io.ReadCloser, error) {
	b, err := msgpack.Marshal(q)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	stream, err := c.conn.NewStream(ctx, &grpc.StreamDesc{StreamName: openMethod, ServerStreams: true}, "/"+outputService+"/"+openMethod)
	if err != nil {
		cancel()
		return nil, reached(err)
	}
	r := &opened{reading: reading{stream: stream, cancel: cancel}}
	if err = errors.Join(stream.SendMsg(&b), stream.CloseSend()); err == nil || errors.Is(err, io.EOF) {
		// That it cannot be opened comes in place of the first piece.
		err = r.next()
	}
	if err != nil {
		cancel()
		return nil, err
	}
	return r, nil
}

// opened is a stream of pieces whose errors say whether the agent is there.
type opened struct {
	reading
	over bool
}

// next takes the next piece. At the end there is none, which Read will tell.
func (r *opened) next() error {
	err := r.stream.RecvMsg(&r.piece)
	switch {
	case err == nil:
		r.left.Reset(r.piece)
		return nil
	case errors.Is(err, io.EOF):
		r.over = true
		return nil
	}
	return reached(err)
}

func (r *opened) Read(p []byte) (int, error) {
	for r.left.Len() == 0 {
		if r.over {
			return 0, io.EOF
		}
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	return r.left.Read(p)
}

// reached is an error of gRPC in the words of who made it; one that nobody but gRPC itself
// has made says that the agent was not reached.
func reached(err error) error {
	st, ok := status.FromError(err)
	if !ok {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	switch st.Code() {
	case codes.FailedPrecondition, codes.NotFound, codes.DataLoss, codes.PermissionDenied, codes.InvalidArgument:
		return errors.New(st.Message())
	case codes.Canceled:
		return context.Canceled
	}
	return fmt.Errorf("%w: %s", ErrUnreachable, st.Message())
}
