package wire

import (
	"context"
	"crypto/tls"
	"net"
	"time"
)

// Options configure an Endpoint. Listener is needed where others send to this process;
// all else has a default.
type Options struct {
	// Listener is closed with the endpoint. Nil: nothing is received.
	Listener net.Listener
	// Context ends the endpoint as Close does, but does not wait. Default: none.
	Context context.Context
	// Job is the job that the process belongs to: an endpoint of another one is refused.
	// Default: any.
	Job string
	// Name is how this process is called in the errors of others. Default: the
	// listener's address.
	Name string
	// ServerTLS is for connections that are accepted, ClientTLS for those that are made.
	// Default: none.
	ServerTLS, ClientTLS *tls.Config
	// Dial connects to another process. Default: TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Compression of batches that are sent. Any is read. Default None.
	Compression Compression
	// MaxFrame is the largest body of a frame in bytes, as it travels and uncompressed: a
	// batch, and so a record, can be no larger. Default 64 MiB.
	MaxFrame int
	// MaxConnections is how many processes may be connected to this one. Default 4096.
	MaxConnections int
	// MaxPartitions is how many partitions may be open on one connection. Default 65536.
	MaxPartitions int
	// HandshakeTimeout bounds making a connection, up to the answer of the other
	// side. Default 5 s.
	HandshakeTimeout time.Duration
	// Refused is told of connections that were refused or broke off for what came over
	// them. It is called on any goroutine. Default: nobody is told.
	Refused func(peer string, err error)
}

// EnsureDefaults fills what is not set.
func (o *Options) EnsureDefaults() {
	if o.Context == nil {
		o.Context = context.Background()
	}
	if o.Name == "" && o.Listener != nil {
		o.Name = o.Listener.Addr().String()
	}
	if o.Dial == nil {
		o.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			var d net.Dialer // watch sees to the rest
			return d.DialContext(ctx, "tcp", addr)
		}
	}
	if o.MaxFrame <= 0 {
		o.MaxFrame = 64 << 20
	}
	if o.MaxConnections <= 0 {
		o.MaxConnections = 4096
	}
	if o.MaxPartitions <= 0 {
		o.MaxPartitions = 1 << 16
	}
	if o.HandshakeTimeout <= 0 {
		o.HandshakeTimeout = 5 * time.Second
	}
	if o.Refused == nil {
		o.Refused = func(string, error) {}
	}
}

// SenderOptions configure a Sender; the zero value works.
type SenderOptions struct {
	// BatchSize is the capacity of a new batch, in records. Default
	// shuffle.DefaultBatchSize.
	BatchSize int
}

// AttachOptions configure an attachment; the zero value works.
type AttachOptions struct {
	// Credit is the bytes that are granted: those of the gate's channel. Default
	// shuffle.DefaultCredit.
	Credit int
}
