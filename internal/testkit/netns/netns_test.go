package netns

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestFate(t *testing.T) {
	control := []uint16{7471, 7472}
	cases := []struct {
		name   string
		rules  []Rule
		packet packet
		late   time.Duration
		lost   bool
	}{
		{"no rule", nil, packet{from: 1, to: 2}, 0, false},
		{"all but the machine", []Rule{{Loss: 1}}, packet{from: 1, to: 2}, 0, true},
		{"from the machine", []Rule{{Loss: 1}}, packet{from: 0, to: 2}, 0, false},
		{"to the machine", []Rule{{Loss: 1}}, packet{from: 2, to: 0}, 0, false},
		{"to the machine, by name", []Rule{{To: []int{0}, Loss: 1}}, packet{from: 2, to: 0}, 0, true},
		{"one way", []Rule{{From: []int{1}, Loss: 1}}, packet{from: 1, to: 2}, 0, true},
		{"the other way", []Rule{{From: []int{1}, Loss: 1}}, packet{from: 2, to: 1}, 0, false},
		{"control", []Rule{{Ports: control, Loss: 1}}, packet{1, 2, 50000, 7472}, 0, true},
		{"its answers", []Rule{{Ports: control, Loss: 1}}, packet{2, 1, 7472, 50000}, 0, true},
		{"data", []Rule{{Ports: control, Loss: 1}}, packet{1, 2, 50000, 40000}, 0, false},
		{"data only", []Rule{{Ports: control, Others: true, Loss: 1}}, packet{1, 2, 50000, 40000}, 0, true},
		{"and not control", []Rule{{Ports: control, Others: true, Loss: 1}}, packet{1, 2, 50000, 7471}, 0, false},
		{"sum", []Rule{{Delay: time.Second}, {From: []int{1}, Delay: time.Second}, {To: []int{1}, Loss: 1}}, packet{from: 1, to: 2}, 2 * time.Second, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			late, lost := fate(c.rules, c.packet, rand.New(rand.NewPCG(1, 1)))
			if late != c.late || lost != c.lost {
				t.Errorf("got %v, lost %t, want %v, %t", late, lost, c.late, c.lost)
			}
		})
	}
}

func TestLossAndJitter(t *testing.T) {
	rnd, lost := rand.New(rand.NewPCG(7, 7)), 0
	for range 10_000 {
		late, gone := fate([]Rule{{Loss: 0.1, Delay: time.Millisecond, Jitter: time.Millisecond}}, packet{from: 1, to: 2}, rnd)
		if gone {
			lost++
		} else if late < time.Millisecond || late >= 2*time.Millisecond {
			t.Fatalf("%v late", late)
		}
	}
	if lost < 800 || lost > 1200 {
		t.Errorf("%d of 10,000 are lost, want a tenth", lost)
	}
}

func TestRuleForPeople(t *testing.T) {
	for want, r := range map[string]Rule{
		"all to all": {},
		"1 to 2,3, control, 100% lost": {
			From: []int{1}, To: []int{2, 3}, Ports: []uint16{1}, Loss: 1},
		"all to 1, all but control, 20ms to 25ms late": {
			To: []int{1}, Ports: []uint16{1}, Others: true, Delay: 20 * time.Millisecond, Jitter: 5 * time.Millisecond},
	} {
		if got := r.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// ipv4 is a packet with a header of so many words.
func ipv4(words, proto byte, fragment uint16, source, dest uint16) []byte {
	b := make([]byte, int(words)*4+8)
	b[0], b[9] = 4<<4|words, proto
	binary.BigEndian.PutUint16(b[6:], fragment)
	copy(b[16:], []byte{10, 1, 0, 3})
	binary.BigEndian.PutUint16(b[int(words)*4:], source)
	binary.BigEndian.PutUint16(b[int(words)*4+2:], dest)
	return b
}

func TestParse(t *testing.T) {
	cases := []struct {
		name         string
		b            []byte
		source, dest uint16
		ok           bool
	}{
		{"TCP", ipv4(5, protoTCP, 0, 1, 2), 1, 2, true},
		{"UDP with options", ipv4(7, protoUDP, 0, 3, 4), 3, 4, true},
		{"a later fragment", ipv4(5, protoUDP, 8, 3, 4), 0, 0, true},
		{"ICMP", ipv4(5, 1, 0, 1, 2), 0, 0, true},
		{"a header that is too long", ipv4(5, protoTCP, 0, 1, 2)[:22], 0, 0, true},
		{"IPv6", append([]byte{6 << 4}, make([]byte, 60)...), 0, 0, false},
		{"nothing", nil, 0, 0, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			to, source, dest, ok := parse(c.b)
			if source != c.source || dest != c.dest || ok != c.ok || ok && to.String() != "10.1.0.3" {
				t.Errorf("got %v %d %d %t", to, source, dest, ok)
			}
		})
	}
	rapid.Check(t, func(t *rapid.T) {
		parse(rapid.SliceOf(rapid.Byte()).Draw(t, "packet")) // does not panic
	})
}
