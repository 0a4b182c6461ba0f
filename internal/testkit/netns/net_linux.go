package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxWaiting is how many packets may be late at a time.
const maxWaiting = 1 << 14

// mtu is that of the hosts' links: large, since each packet is a read and a write of this
// process.
const mtu = 16 << 10

// Net is hosts and the switch between them.
type Net struct {
	hosts []*host // the first is the machine itself
	side  sync.WaitGroup

	mu struct {
		sync.Mutex
		rnd     *rand.Rand
		rules   []Rule
		waiting int
		closed  bool
		moved   Moved
	}
	late sync.WaitGroup // packets that wait
}

// Moved counts packets.
type Moved struct{ Sent, Late, Lost int64 }

type host struct {
	name string
	addr netip.Addr
	tun  *os.File
}

// Open makes hosts 1 to n. The names of their namespaces begin with prefix, which has at most 4
// letters; the seed decides which packets are lost. What processes that were killed have left
// of the same prefix is removed.
func Open(prefix string, n int, seed uint64) (_ *Net, err error) {
	if err := possible(); err != nil {
		return nil, err
	}
	if n > 99 || len(prefix) > 4 {
		return nil, fmt.Errorf("netns: %d hosts of %q: at most 99 hosts, and 4 letters", n, prefix)
	}
	if err := sweep(prefix); err != nil {
		return nil, err
	}
	pid := os.Getpid()
	name, subnet := fmt.Sprintf("%s%d", prefix, pid), byte(64+pid%128)
	t := &Net{}
	t.mu.rnd = rand.New(rand.NewPCG(seed, 0x7e7))
	defer func() {
		if err != nil {
			err = errors.Join(err, t.Close())
		}
	}()
	for i := range n + 1 {
		h := &host{name: fmt.Sprintf("%s-%d", name, i), addr: netip.AddrFrom4([4]byte{10, subnet, 0, byte(i + 1)})}
		t.hosts = append(t.hosts, h)
		if err := h.make(i == 0); err != nil {
			return nil, fmt.Errorf("netns: make host %d: %w", i, err)
		}
	}
	for i, h := range t.hosts {
		t.side.Go(func() { t.carry(i, h) })
	}
	return t, nil
}

// possible says why hosts cannot be made, if they cannot.
func possible() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: namespaces and network devices want root", ErrUnsupported)
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return fmt.Errorf("%w: the command ip is missing: apt-get install iproute2", ErrUnsupported)
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return fmt.Errorf("%w: the kernel has no /dev/net/tun", ErrUnsupported)
	}
	return nil
}

// namespaces is where they have their names.
const namespaces = "/var/run/netns"

// sweep removes namespaces of the prefix whose maker lives no more.
func sweep(prefix string) error {
	found, err := os.ReadDir(namespaces)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("netns: look for what is left: %w", err)
	}
	for _, e := range found {
		rest, ok := strings.CutPrefix(e.Name(), prefix)
		pid, _, _ := strings.Cut(rest, "-")
		if n, err := strconv.Atoi(pid); !ok || err != nil || n <= 0 {
			continue
		}
		if _, err := os.Stat("/proc/" + pid); errors.Is(err, fs.ErrNotExist) {
			if err := ip("netns", "del", e.Name()); err != nil {
				return fmt.Errorf("netns: remove what is left: %w", err)
			}
		}
	}
	return nil
}

// make makes a host's namespace, if it is not the machine itself, and its link.
func (h *host) make(machine bool) (err error) {
	if h.tun, err = openTun(h.name); err != nil {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	in := []string{}
	if !machine {
		if err := ip("netns", "add", h.name); err != nil {
			return err
		}
		if err := ip("link", "set", h.name, "netns", h.name); err != nil {
			return err
		}
		in = []string{"-n", h.name}
		if err := ip("-n", h.name, "link", "set", "lo", "up"); err != nil {
			return err
		}
	}
	return errors.Join(
		ip(slices.Concat(in, []string{"addr", "add", h.addr.String() + "/24", "dev", h.name})...),
		ip(slices.Concat(in, []string{"link", "set", h.name, "mtu", fmt.Sprint(mtu), "up"})...))
}

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// openTun makes a network device whose packets the file reads and writes.
func openTun(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: "/dev/net/tun", Err: err}
	}
	q, err := unix.NewIfreq(name)
	if err == nil {
		q.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, q)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make the device %s: %w", name, err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "/dev/net/tun"), nil
}

// Addr is a host's address.
func (t *Net) Addr(host int) string { return t.hosts[host].addr.String() }

// Wrap is the command in front of one that is to run on a host; nil for the machine itself.
func (t *Net) Wrap(host int) []string {
	if host == 0 {
		return nil
	}
	return []string{"ip", "netns", "exec", t.hosts[host].name}
}

// Set replaces all rules.
func (t *Net) Set(rules ...Rule) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.rules = slices.Clone(rules)
}

// Moved says what the switch has done.
func (t *Net) Moved() Moved {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.moved
}

// carry takes what a host sends to where it goes.
func (t *Net) carry(from int, h *host) {
	b := make([]byte, mtu+minHeader)
	for {
		n, err := h.tun.Read(b)
		if err != nil {
			return // it is closed
		}
		addr, source, dest, ok := parse(b[:n])
		to := slices.IndexFunc(t.hosts, func(h *host) bool { return h.addr == addr })
		if !ok || to < 0 {
			continue // what hosts say to find routers and neighbours
		}
		t.send(packet{from, to, source, dest}, b[:n])
	}
}

// send hands a packet on, now or later, or loses it.
func (t *Net) send(p packet, b []byte) {
	t.mu.Lock()
	after, lost := fate(t.mu.rules, p, t.mu.rnd)
	late := after > 0
	if late && (t.mu.waiting >= maxWaiting || t.mu.closed) {
		lost = true
	}
	switch {
	case lost:
		t.mu.moved.Lost++
	case late:
		t.mu.moved.Late++
		t.mu.waiting++
		t.late.Add(1)
	}
	t.mu.moved.Sent++
	t.mu.Unlock()
	to := t.hosts[p.to].tun
	switch {
	case lost:
	case late:
		b = slices.Clone(b)
		time.AfterFunc(after, func() {
			defer t.late.Done()
			_, _ = to.Write(b) // a link that is full or gone loses packets
			t.mu.Lock()
			t.mu.waiting--
			t.mu.Unlock()
		})
	default:
		_, _ = to.Write(b)
	}
}

// Close removes hosts and links. Processes on them must have ended; those that have not stay
// alone.
func (t *Net) Close() error {
	t.mu.Lock()
	was := t.mu.closed
	t.mu.closed = true
	t.mu.Unlock()
	if was {
		return nil
	}
	t.late.Wait()
	var errs []error
	for i, h := range t.hosts {
		if h.tun != nil {
			errs = append(errs, h.tun.Close()) // the link goes with it
		}
		if _, err := os.Stat(filepath.Join(namespaces, h.name)); i > 0 && err == nil {
			errs = append(errs, ip("netns", "del", h.name))
		}
	}
	t.side.Wait()
	return errors.Join(errs...)
}
