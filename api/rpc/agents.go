package rpc

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/vmihailenco/msgpack/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/weirflow/weir/api"
)

// Read asks an agent or a server for something that is long.
type Read struct {
	// Program is the hash of one; Log is the allocation whose log it is.
	Program string
	// Keep has who is asked fetch the program, and answer nothing: it is to have it.
	Keep bool
	Log  api.AllocID
	// Tail is how many lines of a log there are at most before those that come; Follow
	// goes on with those.
	Tail   int
	Follow bool
	// Ask is what the executor Of is asked, as in api.Request.
	Ask string
	Of  api.AllocID
	// Audit is how many lines of a server's audit log are wanted, of each of its files.
	Audit int
	// Keys is about the keys of gossip; nil for none of it. Only servers may ask.
	Keys *KeyChange
}

// KeyChange is what is to become of an agent's keys of gossip. The answer is the names of
// those that it has then, in JSON.
type KeyChange struct {
	Do string
	// Key is for KeysAdd; others name it.
	Key  []byte
	Name string
}

// What a KeyChange does.
const (
	KeysList   = "list"
	KeysAdd    = "add"
	KeysUse    = "use"
	KeysRemove = "remove"
)

// Node is what agents and servers answer each other. Its methods may be called from any
// goroutine.
type Node interface {
	// Report takes what an agent tells, and answers with what it is to have. It may wait for
	// a change, for no longer than a heartbeat.
	Report(context.Context, *api.Report) (*api.Orders, error)
	// Open gives what was asked for. The context is its reader's.
	Open(context.Context, *Read) (io.ReadCloser, error)
}

// Loser is a Node that wants to know when the connection ends over which an agent has
// reported: its process may have ended, or it dials again.
type Loser interface {
	// Lost must not block.
	Lost(api.NodeID)
}

const (
	nodeService  = "weir.Node"
	reportMethod = "Report"
	readMethod   = "Read"
	// chunk is the size of the pieces in which something long travels.
	chunk = 256 << 10
)

// NodeServer is where agents and servers dial each other.
type NodeServer struct {
	node Node
	opt  Options
	grpc *grpc.Server
}

// NewNodeServer makes a server that Serve runs. A nil conf is for loopback only.
func NewNodeServer(n Node, conf *tls.Config, opt Options) *NodeServer {
	opt.EnsureDefaults()
	creds := insecure.NewCredentials()
	if conf != nil {
		creds = credentials.NewTLS(conf)
	}
	s := &NodeServer{node: n, opt: opt}
	s.grpc = grpc.NewServer(
		grpc.ForceServerCodecV2(codec{}), grpc.Creds(creds),
		grpc.MaxRecvMsgSize(opt.MaxMessage), grpc.MaxSendMsgSize(opt.MaxMessage),
		grpc.MaxConcurrentStreams(64), grpc.MaxHeaderListSize(16<<10), grpc.ConnectionTimeout(opt.Patience),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: max(time.Second, opt.Ping), Timeout: opt.Patience}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second / 2, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true), grpc.StatsHandler(&connections{node: n}),
	)
	s.grpc.RegisterService(&grpc.ServiceDesc{
		ServiceName: nodeService, HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: reportMethod, Handler: s.report}},
		Streams: []grpc.StreamDesc{{StreamName: readMethod, ServerStreams: true,
			Handler: func(_ any, stream grpc.ServerStream) error { return s.read(stream) }}},
	}, s)
	return s
}

// Serve answers until Close. The listener is the server's.
func (s *NodeServer) Serve(l net.Listener) error {
	if err := s.grpc.Serve(l); !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

// Close ends what is under way, and returns when it has ended.
func (s *NodeServer) Close() { s.grpc.Stop() }

func (s *NodeServer) report(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) { //nolint:revive // gRPC's order
	var b []byte
	if err := decode(&b); err != nil {
		return nil, err
	}
	r := new(api.Report)
	if err := unpack(b, r); err != nil {
		return nil, status.Error(codes.InvalidArgument, "a report: "+cut(err.Error()))
	}
	if c, ok := ctx.Value(connection{}).(*agentConn); ok {
		c.of.Store(&r.Node.ID)
	}
	o, err := s.node.Report(ctx, r)
	if err != nil {
		return nil, status.Error(codes.FailedPrecondition, cut(err.Error()))
	}
	out, err := msgpack.Marshal(o)
	return &out, err
}

// connections tells a node which agents' connections have ended.
type connections struct{ node Node }

// connection is the key of a connection's agentConn in the contexts of its calls.
type connection struct{}

// agentConn is a connection, with the agent that has reported over it.
type agentConn struct{ of atomic.Pointer[api.NodeID] }

func (*connections) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context {
	return context.WithValue(ctx, connection{}, &agentConn{})
}

func (h *connections) HandleConn(ctx context.Context, s stats.ConnStats) {
	if _, ended := s.(*stats.ConnEnd); !ended {
		return
	}
	c, ok := ctx.Value(connection{}).(*agentConn)
	if !ok {
		return
	}
	if l, ok := h.node.(Loser); ok && c.of.Load() != nil {
		l.Lost(*c.of.Load())
	}
}

func (*connections) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }
func (*connections) HandleRPC(context.Context, stats.RPCStats)                       {}

func (s *NodeServer) read(stream grpc.ServerStream) error {
	var b []byte
	if err := stream.RecvMsg(&b); err != nil {
		return err
	}
	q := new(Read)
	if err := unpack(b, q); err != nil {
		return status.Error(codes.InvalidArgument, "what is to be read: "+cut(err.Error()))
	}
	r, err := s.node.Open(stream.Context(), q)
	if err != nil {
		return status.Error(codes.NotFound, cut(err.Error()))
	}
	defer r.Close()
	for {
		p := make([]byte, chunk)
		n, err := r.Read(p)
		if n > 0 {
			p = p[:n]
			if serr := stream.SendMsg(&p); serr != nil {
				return serr
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return status.Error(codes.Unavailable, cut(err.Error()))
		}
	}
}

// unpack decodes what came over the wire.
func unpack(b []byte, into any) error {
	if err := check(b); err != nil {
		return err
	}
	return msgpack.Unmarshal(b, into)
}

// NodeClient is another agent or server. Its methods may be called from any goroutine.
type NodeClient struct {
	conn *grpc.ClientConn
}

// NewNodeClient makes one that dials when it is first used, and again when a connection has
// broken. A nil conf is for loopback only.
func NewNodeClient(addr string, conf *tls.Config, opt Options) (*NodeClient, error) {
	opt.EnsureDefaults()
	creds := insecure.NewCredentials()
	if conf != nil {
		creds = credentials.NewTLS(conf)
	}
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(creds), opt.dialer(),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(codec{}), grpc.MaxCallRecvMsgSize(opt.MaxMessage), grpc.MaxCallSendMsgSize(opt.MaxMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: max(time.Second, opt.Ping), Timeout: opt.Patience}),
		grpc.WithDisableServiceConfig())
	if err != nil {
		return nil, fmt.Errorf("rpc: %s: %w", addr, err)
	}
	return &NodeClient{conn}, nil
}

// Close ends the connection.
func (c *NodeClient) Close() error { return c.conn.Close() }

// Report tells a server what an agent has, and returns what it is to have.
func (c *NodeClient) Report(ctx context.Context, r *api.Report) (*api.Orders, error) {
	b, err := msgpack.Marshal(r)
	if err != nil {
		return nil, err
	}
	var answer []byte
	if err := c.conn.Invoke(ctx, "/"+nodeService+"/"+reportMethod, &b, &answer); err != nil {
		return nil, plain(err)
	}
	o := new(api.Orders)
	if err := unpack(answer, o); err != nil {
		return nil, fmt.Errorf("rpc: orders of %s: %w", c.conn.Target(), err)
	}
	return o, nil
}

// Open reads something long. The reader ends with the context at the latest, and must be closed.
func (c *NodeClient) Open(ctx context.Context, q *Read) (io.ReadCloser, error) {
	b, err := msgpack.Marshal(q)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	stream, err := c.conn.NewStream(ctx, &grpc.StreamDesc{StreamName: readMethod, ServerStreams: true}, "/"+nodeService+"/"+readMethod)
	if err == nil {
		err = errors.Join(stream.SendMsg(&b), stream.CloseSend())
	}
	if err != nil {
		cancel()
		return nil, plain(err)
	}
	return &reading{stream: stream, cancel: cancel}, nil
}

// reading is a stream of pieces as a reader.
type reading struct {
	stream grpc.ClientStream
	cancel context.CancelFunc
	left   bytes.Reader
	piece  []byte
}

func (r *reading) Read(p []byte) (int, error) {
	for r.left.Len() == 0 {
		if err := r.stream.RecvMsg(&r.piece); err != nil {
			if errors.Is(err, io.EOF) {
				return 0, io.EOF
			}
			return 0, plain(err)
		}
		r.left.Reset(r.piece)
	}
	return r.left.Read(p)
}

// Close ends the stream. What is under way is given up.
func (r *reading) Close() error {
	r.cancel()
	return nil
}

// plain is an error of gRPC in the words of who made it.
func plain(err error) error {
	if s, ok := status.FromError(err); ok {
		return errors.New(s.Message())
	}
	return err
}
