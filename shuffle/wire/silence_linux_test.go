package wire

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// TestUnanswered wants both sides of a connection to be given up when what they send is not
// acknowledged. (That it works is for the chaos tests, which cut hosts off.)
func TestUnanswered(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	watch(c)
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	if cerr := raw.Control(func(fd uintptr) { got, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT) }); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	if got != int(patience().Milliseconds()) || got < 5000 {
		t.Errorf("given up after %d ms, want %v", got, patience())
	}
}
