package wire_test

import (
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/shuffle"
	"github.com/weirflow/weir/shuffle/local"
	"github.com/weirflow/weir/shuffle/wire"
)

type event struct {
	Key   uint64
	Value int64
}

// opaque is a record that costs next to nothing to encode: what is measured is the way.
type opaque [1 << 10]byte

type order struct {
	ID       int64
	Customer string
	Price    float64
	Tags     []string
}

func events(n int) []event {
	vals := make([]event, n)
	for i := range vals {
		vals[i] = event{uint64(i * 7919 % 100_003), int64(i)}
	}
	return vals
}

func orders(n int) []order {
	vals := make([]order, n)
	for i := range vals {
		vals[i] = order{int64(i), "customer number " + string(rune('a'+i%26)), float64(i%1000) / 100, []string{"red", "large"}}
	}
	return vals
}

func opaques(n int) []opaque {
	vals := make([]opaque, n)
	for i := range vals {
		for j := range vals[i] {
			vals[i][j] = byte(i * j >> 3)
		}
	}
	return vals
}

type discard[T any] struct{}

func (discard[T]) Receive(*flow.Batch[T]) error { return nil }

// shuffled sends batches of vals over one partition between two endpoints.
func shuffled[T any](b *testing.B, vals []T, z wire.Compression) {
	at, from := endpoint(b, wire.Options{}), endpoint(b, wire.Options{Compression: z})
	gates, inlets := local.NewGate[T](1, local.Options{BatchSize: len(vals), Pointers: true})
	if err := gates.Attach(discard[T]{}); err != nil {
		b.Fatal(err)
	}
	if _, err := wire.Attach(at, partition(1, 0, 0), inlets[0], wire.AttachOptions{}); err != nil {
		b.Fatal(err)
	}
	s, err := wire.NewSender[T](from, at.Addr().String(), partition(1, 0, 0), wire.SenderOptions{BatchSize: len(vals)})
	if err != nil {
		b.Fatal(err)
	}
	eventually(b, "there is credit", s.Available)
	wake, done := make(chan struct{}, 1), make(chan struct{})
	gates.Notify(func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	go func() {
		defer close(done)
		for {
			e, ok, err := gates.Next()
			if err != nil || e.Control.Kind == flow.ControlEnd {
				return
			}
			if !ok {
				<-wake
			}
		}
	}()
	size := size[T](b, vals)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	report := spent(b)
	for b.Loop() {
		buf := s.Buffer()
		buf.Values = append(buf.Values, vals...)
		if err := s.Send(b.Context(), buf, size); err != nil {
			b.Fatal(err)
		}
	}
	s.Control(flow.Control{Kind: flow.ControlEnd})
	<-done
	report()
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(vals)), "ns/record")
	s.Close()
	gates.Close()
}

// spent reports the processor time of both ends, which says more than the clock where
// others work on the machine too. It is to be called at the start; what it returns, at the end.
func spent(b *testing.B) func() {
	now := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	from := now()
	return func() { b.ReportMetric(float64((now()-from).Nanoseconds())/float64(b.N), "cpu-ns/op") }
}

// size is the size of a batch as it is recorded, which is about what it is on the wire.
func size[T any](b *testing.B, vals []T) int {
	r, err := shuffle.NewRecorder[T](false)
	if err != nil {
		b.Fatal(err)
	}
	r.Add(&flow.Batch[T]{Values: vals})
	return r.Size()
}

// BenchmarkShuffle is one partition from one process to another, both ends here.
func BenchmarkShuffle(b *testing.B) {
	for z := range wire.Zstd + 1 {
		b.Run("event/"+z.String(), func(b *testing.B) { shuffled(b, events(1024), z) })
		b.Run("order/"+z.String(), func(b *testing.B) { shuffled(b, orders(1024), z) })
	}
	b.Run("64KB", func(b *testing.B) { shuffled(b, opaques(64), wire.None) })
}

// BenchmarkBareTCP is what 64 KB frames cost without a shuffle: a head and a body,
// written together, and read into a buffer.
func BenchmarkBareTCP(b *testing.B) {
	l := listen(b)
	defer l.Close()
	done := make(chan int64, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			done <- 0
			return
		}
		defer c.Close()
		buf, n := make([]byte, 1<<20), int64(0)
		for {
			if _, err := io.ReadFull(c, buf[:8]); err != nil {
				done <- n
				return
			}
			size := binary.LittleEndian.Uint32(buf)
			if _, err := io.ReadFull(c, buf[:size]); err != nil {
				done <- n
				return
			}
			n += int64(size)
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	body, head := make([]byte, 64<<10), make([]byte, 8)
	binary.LittleEndian.PutUint32(head, uint32(len(body)))
	b.SetBytes(int64(len(body)))
	report := spent(b)
	for b.Loop() {
		bufs := net.Buffers{head, body}
		if _, err := bufs.WriteTo(c); err != nil {
			b.Fatal(err)
		}
	}
	_ = c.Close()
	if n := <-done; n == 0 {
		b.Fatal("nothing arrived")
	}
	report()
	runtime.KeepAlive(body)
}
