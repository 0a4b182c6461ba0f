//go:build !linux

package netns

import "fmt"

// Net is hosts and the switch between them; there are none on this system.
type Net struct{}

// Moved counts packets.
type Moved struct{ Sent, Late, Lost int64 }

// Open says that there are none.
func Open(string, int, uint64) (*Net, error) {
	return nil, fmt.Errorf("%w: network namespaces are Linux's", ErrUnsupported)
}

// Addr is a host's address.
func (*Net) Addr(int) string { return "" }

// Wrap is the command in front of one that is to run on a host.
func (*Net) Wrap(int) []string { return nil }

// Set replaces all rules.
func (*Net) Set(...Rule) {}

// Moved says what the switch has done.
func (*Net) Moved() Moved { return Moved{} }

// Close removes hosts and links.
func (*Net) Close() error { return nil }
