package rpc

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/weirflow/weir/api"
)

// ServerOptions configure the coordinator's side.
type ServerOptions struct {
	Options
	Identity Identity
	// TLS is of both sides' certificates; nil is for loopback only.
	TLS *tls.Config
	// Join takes an executor that was admitted, and names the scheduler of what it sends.
	// An error refuses it.
	Join func(*Executor) (api.Scheduler, error)
	// Left is told of each that had joined, and why it is gone.
	Left func(*Executor, error)
	// MaxExecutors is how many may be connected at once. Default 4096.
	MaxExecutors int
}

// Server is where executors dial.
type Server struct {
	opt  ServerOptions
	grpc *grpc.Server
	side sync.WaitGroup
	mu   struct {
		sync.Mutex
		conns map[*Executor]bool
		over  string // the reason, once the job has ended
	}
}

// NewServer makes a server that Serve runs.
func NewServer(opt ServerOptions) *Server {
	opt.EnsureDefaults()
	if opt.MaxExecutors <= 0 {
		opt.MaxExecutors = 4096
	}
	creds := insecure.NewCredentials()
	if opt.TLS != nil {
		creds = credentials.NewTLS(opt.TLS)
	}
	s := &Server{opt: opt}
	s.mu.conns = map[*Executor]bool{}
	s.grpc = grpc.NewServer(
		grpc.ForceServerCodecV2(codec{}), grpc.Creds(creds),
		grpc.MaxRecvMsgSize(opt.MaxMessage), grpc.MaxSendMsgSize(opt.MaxMessage),
		grpc.MaxConcurrentStreams(1), grpc.MaxHeaderListSize(16<<10), grpc.ConnectionTimeout(opt.Patience),
		grpc.InitialWindowSize(1<<20), grpc.InitialConnWindowSize(1<<20),
		// Pings of gRPC find connections that are gone where no stream is open.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: max(time.Second, opt.Ping), Timeout: opt.Patience}),
		grpc.WaitForHandlers(true),
	)
	s.grpc.RegisterService(&grpc.ServiceDesc{
		ServiceName: service, HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{StreamName: method, ServerStreams: true, ClientStreams: true,
			Handler: func(_ any, stream grpc.ServerStream) error { return s.work(stream) }}},
	}, s)
	return s
}

// Serve takes executors until Close. The listener is the server's.
func (s *Server) Serve(l net.Listener) error {
	err := s.grpc.Serve(l)
	if errors.Is(err, grpc.ErrServerStopped) {
		return nil
	}
	return err
}

// Over tells all executors that the job has ended, also those that come later.
func (s *Server) Over(reason string) {
	s.mu.Lock()
	s.mu.over = reason
	conns := make([]*Executor, 0, len(s.mu.conns))
	for e := range s.mu.conns {
		conns = append(conns, e)
	}
	s.mu.Unlock()
	for _, e := range conns {
		e.peer.send(&over{reason})
	}
	// They end their streams when they have heard it: until then the connections must stay.
	// Who does not take it in time is not waited for.
	patience := time.NewTimer(s.opt.Patience)
	defer patience.Stop()
	for _, e := range conns {
		select {
		case <-e.peer.done:
		case <-patience.C:
			return
		}
	}
}

// Close ends all streams, and returns when all that belongs to them is gone.
func (s *Server) Close() {
	s.mu.Lock()
	for e := range s.mu.conns {
		e.peer.end(errors.New("the coordinator ends"))
	}
	s.mu.Unlock()
	s.grpc.Stop()
	s.side.Wait()
}

// work is one executor's stream, from its hello to its end.
func (s *Server) work(stream grpc.ServerStream) error {
	e, err := s.hello(stream)
	if err != nil {
		return refusal(err)
	}
	// It is the first in the queue, whatever others send as soon as they know of the
	// executor; it goes out when all have agreed.
	e.peer.send(&welcome{Term: s.opt.Identity.Term})
	if err := s.add(e); err != nil {
		return refusal(err)
	}
	defer s.remove(e)
	scheduler, err := s.opt.Join(e)
	if err != nil {
		return refusal(err)
	}
	s.side.Add(1)
	e.peer.start(func(m any) error { return deliverUp(m, scheduler) })
	select {
	case <-e.peer.done:
	case <-stream.Context().Done():
		e.peer.end(errEnded)
	}
	<-e.peer.done
	go func() {
		defer s.side.Done()
		e.peer.side.Wait()
	}()
	if err = e.peer.err; status.Code(err) == codes.Canceled {
		err = errEnded // what gRPC says of that is about a context
	}
	if s.opt.Left != nil {
		s.opt.Left(e, err)
	}
	if errors.Is(err, ErrOver) {
		return nil
	}
	return status.Error(codes.Unavailable, cut(err.Error()))
}

var errEnded = errors.New("its connection ended")

// hello reads the first message, which must come soon.
func (s *Server) hello(stream grpc.ServerStream) (*Executor, error) {
	e := &Executor{peer: newPeer(stream, down, up, s.opt.Options)}
	type answer struct {
		m   any
		err error
	}
	first := make(chan answer, 1)
	s.side.Go(func() {
		m, err := e.peer.receive()
		first <- answer{m, err}
	})
	patience := time.NewTimer(s.opt.Patience)
	defer patience.Stop()
	select {
	case a := <-first:
		h, ok := a.m.(*api.Hello)
		if a.err != nil || !ok {
			return nil, fmt.Errorf("%w: its first message is no hello: %v", ErrRefused, a.err) //nolint:errorlint // not its condition
		}
		e.Hello = *h
		return e, s.opt.Identity.Admit(h)
	case <-patience.C:
		return nil, fmt.Errorf("%w: no hello came within %v", ErrRefused, s.opt.Patience)
	}
}

func (s *Server) add(e *Executor) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.mu.over != "":
		return fmt.Errorf("%w: %s", ErrOver, s.mu.over)
	case len(s.mu.conns) >= s.opt.MaxExecutors:
		return fmt.Errorf("%d executors are connected, which is all that is allowed", len(s.mu.conns))
	}
	s.mu.conns[e] = true
	return nil
}

func (s *Server) remove(e *Executor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.conns, e)
}

// refusal is an error as it travels.
func refusal(err error) error {
	code := codes.Unavailable
	switch {
	case errors.Is(err, ErrRefused):
		code = codes.FailedPrecondition
	case errors.Is(err, ErrTerm):
		code = codes.Aborted
	case errors.Is(err, ErrOver):
		code = codes.OutOfRange
	}
	return status.Error(code, cut(err.Error()))
}

// refused is the error that a refusal was.
func refused(err error) error {
	st, ok := status.FromError(err)
	if !ok {
		return err
	}
	switch st.Code() {
	case codes.FailedPrecondition:
		return told{st.Message(), ErrRefused}
	case codes.Aborted:
		return told{st.Message(), ErrTerm}
	case codes.OutOfRange:
		return told{st.Message(), ErrOver}
	}
	return told{st.Message(), err}
}

// told is an error in the words of the other side.
type told struct {
	text string
	err  error
}

func (e told) Error() string { return e.text }
func (e told) Unwrap() error { return e.err }

// cut bounds a text that goes into the trailer of a stream.
func cut(s string) string {
	const most = 2000
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
