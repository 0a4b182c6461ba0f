package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weirflow/weir/api"
)

// Link is a coordinator as its executor has it: a scheduler in another process. The
// methods of api.Scheduler may be called from any goroutine, and do not block. What is
// sent on a link that has ended is dropped: Run tells of that.
type Link struct {
	peer   *peer
	conn   *grpc.ClientConn
	cancel context.CancelFunc
}

// Dial says hello to a coordinator, and returns when it was admitted. The error wraps
// ErrRefused, ErrTerm or ErrOver where that is what the coordinator said; with others
// it may help to dial again. Run, or Close, must follow.
func Dial(ctx context.Context, addr string, conf *tls.Config, h api.Hello, opt Options) (*Link, error) {
	opt.EnsureDefaults()
	creds := insecure.NewCredentials()
	if conf != nil {
		creds = credentials.NewTLS(conf)
	}
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(creds), opt.dialer(), grpc.WithNoProxy(), grpc.WithDisableServiceConfig(),
		grpc.WithMaxHeaderListSize(16<<10), grpc.WithInitialWindowSize(1<<20), grpc.WithInitialConnWindowSize(1<<20),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(codec{}), grpc.MaxCallRecvMsgSize(opt.MaxMessage), grpc.MaxCallSendMsgSize(opt.MaxMessage)))
	if err != nil {
		return nil, fmt.Errorf("dialling the coordinator at %s: %w", addr, err)
	}
	l := &Link{conn: conn}
	// The stream outlives ctx, which is for dialling.
	sctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l.cancel = cancel
	stop := context.AfterFunc(ctx, cancel)
	defer stop()
	patience := time.AfterFunc(opt.Patience, cancel)
	defer patience.Stop()
	if err := l.greet(sctx, h, opt); err != nil {
		l.cancel()
		conn.Close()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("the coordinator at %s: %w", addr, refused(err))
	}
	return l, nil
}

func (l *Link) greet(ctx context.Context, h api.Hello, opt Options) error {
	stream, err := l.conn.NewStream(ctx, &workStream, "/"+service+"/"+method)
	if err != nil {
		return err
	}
	l.peer = newPeer(stream, up, down, opt)
	b, err := up.encode(&h)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(&b); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	m, err := l.peer.receive()
	if err != nil {
		return err
	}
	if o, ok := m.(*over); ok {
		return fmt.Errorf("%w: %s", ErrOver, o.Reason)
	}
	w, ok := m.(*welcome)
	switch {
	case !ok:
		return fmt.Errorf("rpc: its first message is %T, no welcome", m)
	case w.Term != h.Term:
		return fmt.Errorf("%w: the coordinator is of term %d, the executor of %d", ErrTerm, w.Term, h.Term)
	}
	return nil
}

// Run hands what the coordinator sends to w, until the link ends or ctx does, and says
// why it has ended. It returns when no goroutine of the link is left, so w hears no more.
func (l *Link) Run(ctx context.Context, w api.Worker) error {
	l.peer.start(func(m any) error { return deliverDown(m, w) })
	select {
	case <-l.peer.done:
	case <-ctx.Done():
		l.peer.end(context.Cause(ctx))
	}
	l.Close()
	l.peer.side.Wait()
	return refused(l.peer.err)
}

// Close ends the link.
func (l *Link) Close() {
	l.peer.end(errors.New("the link was closed"))
	l.cancel()
	l.conn.Close()
}

// TaskState sends the message, as all that follow do.
func (l *Link) TaskState(m *api.TaskState) { l.peer.send(m) }

// Ack is of api.Scheduler.
func (l *Link) Ack(m *api.Ack) { l.peer.send(m) }

// Decline is of api.Scheduler.
func (l *Link) Decline(m *api.Decline) { l.peer.send(m) }

// RequestSplit is of api.Scheduler.
func (l *Link) RequestSplit(m *api.RequestSplit) { l.peer.send(m) }

// FinishedSplit is of api.Scheduler.
func (l *Link) FinishedSplit(m *api.FinishedSplit) { l.peer.send(m) }

// SourceWatermark is of api.Scheduler.
func (l *Link) SourceWatermark(m *api.SourceWatermark) { l.peer.send(m) }

var _ api.Scheduler = (*Link)(nil)
