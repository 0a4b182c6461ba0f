//go:build linux

package netns

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain is also the process on a host: it sends back what comes to two ports.
func TestMain(m *testing.M) {
	if at := os.Getenv("WEIR_TEST_ECHO"); at != "" {
		if err := echo(at); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func echo(host string) error {
	failed := make(chan error, 2)
	for _, port := range []string{"7000", "7001"} {
		c, err := net.ListenPacket("udp", net.JoinHostPort(host, port))
		if err != nil {
			return err
		}
		go func() {
			b := make([]byte, 100)
			for {
				n, from, err := c.ReadFrom(b)
				if err == nil {
					_, err = c.WriteTo(b[:n], from)
				}
				if err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	fmt.Println("ready")
	return <-failed
}

// TestHosts speaks from the machine to a process on a host, by rules.
func TestHosts(t *testing.T) {
	defer goleak.VerifyNone(t)
	const prefix = "wrt"
	// What a process has left that lives no more: no process has so large a number.
	left := prefix + "999999999-1"
	if possible() == nil {
		if err := ip("netns", "add", left); err != nil {
			t.Skip(err) // a container may not let root do it
		}
	}
	n, err := Open(prefix, 2, 1)
	if errors.Is(err, ErrUnsupported) {
		t.Skip(err)
	}
	if _, err := os.Stat(filepath.Join(namespaces, left)); err == nil {
		t.Errorf("%s is still there", left)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := slices.Concat(n.Wrap(2), []string{exe})
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "WEIR_TEST_ECHO="+n.Addr(2))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("%q %v", line, err)
	}
	c, err := net.ListenPacket("udp", net.JoinHostPort(n.Addr(0), "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	count := 0
	ask := func(port int) string {
		count++
		text := fmt.Sprintf("%d to %d", count, port)
		if _, err := c.WriteTo([]byte(text), &net.UDPAddr{IP: net.ParseIP(n.Addr(2)), Port: port}); err != nil {
			t.Fatal(err)
		}
		return text
	}
	answer := func() string {
		if err := c.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		k, _, err := c.ReadFrom(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:k])
	}
	lost := int64(0)
	for name, r := range map[string]Rule{
		"to a port":       {From: []int{0}, To: []int{2}, Ports: []uint16{7000}, Loss: 1},
		"answers":         {From: []int{2}, To: []int{0}, Ports: []uint16{7000}, Loss: 1},
		"all but a port":  {From: []int{0}, To: []int{2}, Ports: []uint16{7001}, Others: true, Loss: 1},
		"another host":    {From: []int{1}, Loss: 1},
		"all, by default": {Loss: 1},
	} {
		n.Set(r)
		first, second := ask(7000), ask(7001)
		want := []string{first, second}
		if r.From != nil && r.From[0] != 1 {
			want, lost = want[1:], lost+1
		}
		var got []string // the ports answer in any order
		for range want {
			got = append(got, answer())
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: the answers are %q, want %q", name, got, want)
		}
		for late := time.After(30 * time.Second); n.Moved().Lost < lost; { // before other rules hold
			select {
			case <-time.After(time.Millisecond):
			case <-late:
				t.Fatalf("%s: %d are lost, want %d", name, n.Moved().Lost, lost)
			}
		}
	}
	n.Set(Rule{From: []int{0}, To: []int{2}, Delay: 30 * time.Millisecond}, Rule{From: []int{2}, To: []int{0}, Delay: 30 * time.Millisecond})
	began, text := time.Now(), ask(7000)
	if got := answer(); got != text || time.Since(began) < 60*time.Millisecond {
		t.Errorf("%q came after %v", got, time.Since(began))
	}
	if m := n.Moved(); m.Lost != 3 || m.Late != 2 {
		t.Errorf("%+v, want 3 that are lost and 2 that are late", m)
	}
}
