package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc"

	"github.com/weirflow/weir/api"
)

var (
	// ErrRefused is wrapped by the error of an executor that the coordinator does not want,
	// and will not want when it comes again: it is of another job, or has built another graph.
	ErrRefused = errors.New("the coordinator refuses this executor")
	// ErrTerm is wrapped by the error of an executor and a coordinator that are of different
	// terms: one of them is out of date.
	ErrTerm = errors.New("coordinator and executor are of different terms")
	// ErrOver is wrapped by the error of a link whose job has ended.
	ErrOver = errors.New("the job has ended")
	// ErrSilent is wrapped by the error of a peer that was not heard for too long.
	ErrSilent = errors.New("it is silent")
	// ErrBehind is wrapped by the error of a peer that does not take what it is sent.
	ErrBehind = errors.New("it does not take its messages")
)

// Options are those of both sides. The zero value works.
type Options struct {
	// Ping is how often a peer is told that this side lives. Default 1 s.
	Ping time.Duration
	// Patience is after what silence a peer is given up. Default 3 s.
	Patience time.Duration
	// MaxMessage is how many bytes a message may have. Default 64 MiB.
	MaxMessage int
	// MaxQueue is how many bytes may wait to be sent to one peer. Default 128 MiB.
	MaxQueue int
	// Dial connects to an address. Default: TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	Log  *slog.Logger // default: nothing is logged
}

// EnsureDefaults fills what is not set.
func (o *Options) EnsureDefaults() {
	if o.Ping <= 0 {
		o.Ping = time.Second
	}
	if o.Patience <= 0 {
		o.Patience = 3 * time.Second
	}
	if o.MaxMessage <= 0 {
		o.MaxMessage = 64 << 20
	}
	if o.MaxQueue <= 0 {
		o.MaxQueue = 128 << 20
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// Identity is what coordinator and executors of a job must have in common.
type Identity struct {
	Job         string
	Term        uint64
	Fingerprint string
}

// Admit says whether an executor belongs to the job.
func (i Identity) Admit(h *api.Hello) error {
	switch {
	case h.Job != i.Job:
		return fmt.Errorf("%w: this is the coordinator of job %q, not of %q", ErrRefused, i.Job, h.Job)
	case h.Term < i.Term:
		return fmt.Errorf("%w: the coordinator is of term %d, the executor knows of %d only", ErrTerm, i.Term, h.Term)
	case h.Term > i.Term:
		return fmt.Errorf("%w: the coordinator is of term %d, and there is one of term %d by now", ErrTerm, i.Term, h.Term)
	case h.Fingerprint != i.Fingerprint:
		return fmt.Errorf("%w: the program on this agent builds another graph: its fingerprint is %.16s, that of the coordinator's is %.16s; "+
			"a pipeline must depend on nothing but its arguments (not on the host, the time, or the order of a map)",
			ErrRefused, h.Fingerprint, i.Fingerprint)
	case h.Alloc == "":
		return fmt.Errorf("%w: it has no name", ErrRefused)
	case h.Slots < 0 || h.Slots > maxSlots:
		return fmt.Errorf("%w: %d slots", ErrRefused, h.Slots)
	}
	return nil
}

// maxSlots bounds what one executor can offer.
const maxSlots = 1 << 16

// dialer is how gRPC is told of Dial.
func (o *Options) dialer() grpc.DialOption {
	if o.Dial == nil {
		return grpc.EmptyDialOption{}
	}
	return grpc.WithContextDialer(o.Dial)
}
