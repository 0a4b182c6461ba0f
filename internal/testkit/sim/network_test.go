package sim

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// pair is a connection between two hosts.
func pair(t *testing.T, n *Network, a, b *Process) (here, there net.Conn) {
	t.Helper()
	l, err := b.Listen(net.JoinHostPort(b.host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if here, err = a.Dial(t.Context(), l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if there, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { here.Close(); there.Close() })
	return here, there
}

func twoHosts() (*Network, *Process, *Process) {
	n := NewNetwork(1, time.Millisecond)
	return n, n.NewProcess(hostOf(1), "a"), n.NewProcess(hostOf(2), "b")
}

// TestStream: what is written arrives whole and in order, later, and then its end.
func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, b := twoHosts()
		n.Lose(a.host, b.host, 0.2)
		here, there := pair(t, n, a, b)
		sent := make([]byte, 3*window)
		for i := range sent {
			sent[i] = byte(i * i >> 7)
		}
		began := time.Now()
		go func() {
			for i := 0; i < len(sent); i += 1000 {
				if _, err := here.Write(sent[i:min(i+1000, len(sent))]); err != nil {
					t.Error(err)
				}
			}
			here.Close()
		}()
		got, err := io.ReadAll(there)
		if err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("%d of %d bytes, %v", len(got), len(sent), err)
		}
		if time.Since(began) < time.Millisecond {
			t.Error("it took no time")
		}
		if _, err := there.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Error(err)
		}
	})
}

// TestWindow: who writes more than fits waits for the reader, until the deadline.
func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, b := twoHosts()
		here, there := pair(t, n, a, b)
		_ = here.SetWriteDeadline(time.Now().Add(time.Second))
		done, err := here.Write(make([]byte, window+1))
		if done != window || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(done, err)
		}
		_ = there.SetReadDeadline(time.Now().Add(time.Second))
		if k, err := io.ReadFull(there, make([]byte, window+1)); k != window || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(k, err)
		}
	})
}

// TestCut: one direction is held back, and the other is not.
func TestCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, b := twoHosts()
		here, there := pair(t, n, a, b)
		n.Cut(a.host, b.host, Control)
		time.AfterFunc(time.Minute, func() { n.Heal(a.host, b.host, Control) })
		began, p := time.Now(), make([]byte, 1)
		_, _ = here.Write([]byte("1"))
		_, _ = there.Write([]byte("2"))
		if _, err := here.Read(p); err != nil || p[0] != '2' || time.Since(began) > time.Second {
			t.Error(err, p, time.Since(began))
		}
		if _, err := there.Read(p); err != nil || p[0] != '1' || time.Since(began) != time.Minute {
			t.Error(err, p, time.Since(began))
		}
		// Nobody is reached while it is cut.
		n.Cut(a.host, b.host, Control)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.Dial(ctx, b.host+":1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		n.Heal(a.host, b.host, Control)
		if _, err := a.Dial(t.Context(), b.host+":1"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Error(err)
		}
	})
}

// TestKeepAlive: a connection of partitions does not outlive a cut for long, others do.
func TestKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, b := twoHosts()
		control, _ := pair(t, n, a, b)
		l, err := b.Listen(b.host + ":0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		n.MarkData(l.Addr().String())
		data, err := a.Dial(t.Context(), l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		n.Cut(b.host, a.host, All)
		began := time.Now()
		if _, err := data.Read(make([]byte, 1)); !errors.Is(err, syscall.ETIMEDOUT) || time.Since(began) != keepAlive {
			t.Error(err, time.Since(began))
		}
		_ = control.SetReadDeadline(time.Now().Add(time.Hour))
		if _, err := control.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
	})
}

// TestKill: who is connected to a process that is killed hears of it, unless its host has lost
// its power.
func TestKill(t *testing.T) {
	for _, silent := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			n, a, b := twoHosts()
			here, there := pair(t, n, a, b)
			heard := make(chan error, 1)
			go func() {
				_, err := here.Read(make([]byte, 1))
				heard <- err
			}()
			b.Kill(silent)
			if _, err := there.Write([]byte("x")); err == nil {
				t.Error("a dead process has written")
			}
			if _, err := b.Dial(t.Context(), a.host+":1"); !errors.Is(err, errDead) {
				t.Error(err)
			}
			synctest.Wait()
			if silent {
				select {
				case err := <-heard:
					t.Error("it was heard of:", err)
				default:
				}
				b.Bury()
			}
			if err := <-heard; !errors.Is(err, syscall.ECONNRESET) {
				t.Error(err)
			}
		})
	}
}

// TestPause: a process that stands still hears nothing, does nothing, and goes on.
func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, b := twoHosts()
		here, there := pair(t, n, a, b)
		b.Pause(true)
		began := time.Now()
		time.AfterFunc(time.Minute, func() { b.Pause(false) })
		_, _ = here.Write([]byte("1"))
		if _, err := there.Read(make([]byte, 1)); err != nil || time.Since(began) != time.Minute {
			t.Error(err, time.Since(began))
		}
		b.Pause(true)
		time.AfterFunc(time.Minute, func() { b.Pause(false) })
		if err := b.Pass(t.Context()); err != nil || time.Since(began) != 2*time.Minute {
			t.Error(err, time.Since(began))
		}
	})
}
