// Package netns makes hosts of one machine: network namespaces, each with an address of its
// own, joined by a switch in this process that can delay, lose and cut what they send.
//
// It needs Linux, root, the command ip and /dev/net/tun; where one of them is missing, Open
// says so by an error that is [ErrUnsupported]. The switch is here, and not in the kernel
// (netem, nftables), because kernels are built without those, and because one rule for
// direction, ports and loss is easier to read than three tables.
//
// Its words: host 0 is the machine itself, as it is outside of all namespaces; the others
// count from 1. A rule says what becomes of packets; all rules that match a packet hold for it.
//
//	process in a namespace ─► tun ─► switch: rules ─► tun ─► process in another
//
// Invariants:
//
//  1. A rule that names no hosts is about all but host 0: whoever tests can watch those that
//     are cut off.
//  2. What waits is bounded: packets beyond [maxWaiting] are lost, as in any switch.
//  3. Close removes all that Open has made. Namespaces whose maker was killed are removed by the
//     next Open of the same prefix.
//
// Open starts a goroutine for each host; Close waits for them. All methods may be called from
// any goroutine.
package netns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// ErrUnsupported is wrapped by what Open returns where hosts cannot be made.
var ErrUnsupported = errors.New("netns: not here")

// Rule says what becomes of packets. The zero Rule holds for all, and does nothing.
type Rule struct {
	// From and To are hosts; nil is all but host 0.
	From, To []int
	// Ports, where there are any, restrict the rule to TCP and UDP from or to one of them; with
	// Others to all else.
	Ports  []uint16
	Others bool
	// Loss is the part of packets that is lost, 1 for all.
	Loss float64
	// Delay is for how long they wait, and up to Jitter more.
	Delay, Jitter time.Duration
}

// String is the rule for people.
func (r Rule) String() string {
	var b strings.Builder
	hosts := func(of []int) string {
		if of == nil {
			return "all"
		}
		return strings.Trim(strings.ReplaceAll(fmt.Sprint(of), " ", ","), "[]")
	}
	fmt.Fprintf(&b, "%s to %s", hosts(r.From), hosts(r.To))
	switch {
	case len(r.Ports) > 0 && r.Others:
		b.WriteString(", all but control")
	case len(r.Ports) > 0:
		b.WriteString(", control")
	}
	if r.Loss > 0 {
		fmt.Fprintf(&b, ", %.0f%% lost", 100*r.Loss)
	}
	if r.Delay+r.Jitter > 0 {
		fmt.Fprintf(&b, ", %v to %v late", r.Delay, r.Delay+r.Jitter)
	}
	return b.String()
}

// packet is what the switch looks at.
type packet struct {
	from, to     int
	source, dest uint16 // ports; 0 where there are none
}

func (r *Rule) matches(p packet) bool {
	of := func(hosts []int, host int) bool {
		if hosts == nil {
			return host != 0
		}
		return slices.Contains(hosts, host)
	}
	if !of(r.From, p.from) || !of(r.To, p.to) {
		return false
	}
	return len(r.Ports) == 0 || (slices.Contains(r.Ports, p.source) || slices.Contains(r.Ports, p.dest)) != r.Others
}

// fate is what becomes of a packet: it is lost, or handed on after a while.
func fate(rules []Rule, p packet, rnd *rand.Rand) (after time.Duration, lost bool) {
	for i := range rules {
		r := &rules[i]
		if !r.matches(p) {
			continue
		}
		if r.Loss > 0 && rnd.Float64() < r.Loss {
			return 0, true
		}
		after += r.Delay
		if r.Jitter > 0 {
			after += time.Duration(rnd.Int64N(int64(r.Jitter)))
		}
	}
	return after, false
}

// Bytes of an IPv4 packet.
const (
	minHeader = 20
	protoTCP  = 6
	protoUDP  = 17
)

// parse reads what the switch looks at. It returns false for what is no IPv4 packet.
func parse(b []byte) (to netip.Addr, source, dest uint16, ok bool) {
	if len(b) < minHeader || b[0]>>4 != 4 {
		return to, 0, 0, false
	}
	to = netip.AddrFrom4([4]byte(b[16:20]))
	header := int(b[0]&0xf) * 4
	first := binary.BigEndian.Uint16(b[6:])&0x1fff == 0 // of the fragments, which has the ports
	if proto := b[9]; (proto == protoTCP || proto == protoUDP) && first && header >= minHeader && len(b) >= header+4 {
		source, dest = binary.BigEndian.Uint16(b[header:]), binary.BigEndian.Uint16(b[header+2:])
	}
	return to, source, dest, true
}
