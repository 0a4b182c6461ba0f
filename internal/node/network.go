package node

import (
	"context"
	"net"
)

// Network is how a process reaches others, and is reached. The zero value is TCP.
type Network struct {
	// Listen takes an address; port 0 is any that is free.
	Listen func(addr string) (net.Listener, error)
	// Dial connects to one.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
}

// At listens at an address.
func (n Network) At(addr string) (net.Listener, error) {
	if n.Listen != nil {
		return n.Listen(addr)
	}
	return net.Listen("tcp", addr)
}
