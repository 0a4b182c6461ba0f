package lsm

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/weirflow/weir/flow/keyhash"
	"github.com/weirflow/weir/state"
)

// discard is files of a snapshot that nobody wants, counted.
type discard struct{ links, bytes int }

func (d *discard) Create(string) (io.WriteCloser, error) { return d, nil }
func (d *discard) Write(b []byte) (int, error)           { d.bytes += len(b); return len(b), nil }
func (d *discard) Close() error                          { return nil }
func (d *discard) Link(string, string) error             { d.links++; return nil }

// BenchmarkUpdates counts by random keys, a thousand to a batch: what one of two tasks
// does with its half of the keys. There is a snapshot each so many updates as there are
// in a second at the speed that is wanted. It says how long Freeze and Step held the
// task up, and how long a snapshot took.
func BenchmarkUpdates(b *testing.B) {
	for _, c := range []struct {
		keys   uint64
		memory int64
		epoch  int
	}{{50_000, 256 << 20, 4_000_000}, {500_000, 256 << 20, 2_000_000}, {5_000_000, 256 << 20, 500_000}, {5_000_000, 64 << 20, 500_000}} {
		b.Run(fmt.Sprintf("keys=%d/memory=%dMB", c.keys, c.memory>>20), func(b *testing.B) { benchUpdates(b, c.keys, c.memory, c.epoch) })
	}
}

func benchUpdates(b *testing.B, keys uint64, memory int64, epoch int) {
	s, c := benchStore(b, testEnv(b, memory), b.TempDir())
	hash, err := keyhash.For[uint64]()
	if err != nil {
		b.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	var freeze, step, took []time.Duration
	written := make(chan time.Duration, 1)
	var snap state.Snapshot
	since := 0
	batch := func(keyAt func(i int) uint64) {
		for i := range 1024 {
			k := keyAt(i) * 7919
			v, _ := c.Ref(hash(k), k, struct{}{})
			*v++
		}
		t0 := time.Now()
		s.Step()
		t1 := time.Now()
		step = append(step, t1.Sub(t0))
		if snap != nil {
			select {
			case d := <-written:
				took = append(took, d)
				snap.Close()
				snap = nil
			default:
			}
		}
		if since += 1024; since >= epoch {
			for snap != nil && len(written) == 0 {
				if !s.Step() {
					time.Sleep(time.Millisecond)
				}
			}
			if snap != nil {
				took = append(took, <-written)
				snap.Close()
			}
			since = 0
			t1 := time.Now()
			z, err := s.Freeze(state.FormLSM)
			if err != nil {
				b.Fatal(err)
			}
			freeze = append(freeze, time.Since(t1))
			snap = z
			go func() {
				if err := z.Write(context.Background(), &discard{}); err != nil {
					b.Error(err)
				}
				written <- time.Since(t1)
			}()
		}
	}
	for k := uint64(0); k < keys; k += 1024 {
		batch(func(i int) uint64 { return k + uint64(i) })
	}
	freeze, step, took = nil, nil, nil
	cpu := cpuTime(b)
	b.ResetTimer()
	n := 0
	for b.Loop() {
		batch(func(int) uint64 { return r.Uint64N(keys) })
		n += 1024
	}
	b.StopTimer()
	for snap != nil {
		s.Step()
		select {
		case <-written:
			snap.Close()
			snap = nil
		default:
			time.Sleep(time.Millisecond)
		}
	}
	b.ReportMetric(float64(cpuTime(b)-cpu)/float64(n), "cpu-ns/update")
	b.ReportMetric(float64(n)/b.Elapsed().Seconds()/1e6, "M/s")
	p99 := func(d []time.Duration, unit string) {
		if len(d) > 0 {
			slices.Sort(d)
			b.ReportMetric(float64(d[len(d)*99/100].Microseconds()), unit)
		}
	}
	p99(freeze, "freeze-µs")
	p99(step, "step-µs")
	p99(took, "snapshot-µs")
	b.ReportMetric(float64(c.Bytes())/(1<<20), "tables-MB")
	if err := s.Err(); err != nil {
		b.Fatal(err)
	}
}

// cpuTime is what the process has used of the processors: on a machine with other work
// to do it says more than the clock.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchStore(b *testing.B, e *Env, dir string) (*Store, *state.Cells[uint64, struct{}, int64]) {
	s, err := e.Open(Options{Dir: filepath.Join(dir, "s")})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	c, err := state.NewCells[uint64, struct{}, int64](s, state.Descriptor{Operator: "op", Name: "sum"})
	if err != nil {
		b.Fatal(err)
	}
	return s, c
}
