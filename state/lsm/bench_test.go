package lsm

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/weirflow/weir/flow"
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
	work := make(chan struct{}, 1)
	s.Notify(func() { signal(work) })
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
				if s.Step() {
					continue
				}
				select {
				case <-work:
				case d := <-written:
					written <- d
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
		if s.Step() {
			continue
		}
		select {
		case <-work:
		case <-written:
			snap.Close()
			snap = nil
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

func benchOpen(b *testing.B, e *Env, dir string) *Store {
	s, err := e.Open(Options{Dir: filepath.Join(dir, "s")})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

func benchStore(b *testing.B, e *Env, dir string) (*Store, *state.Cells[uint64, struct{}, int64]) {
	s := benchOpen(b, e, dir)
	c, err := state.NewCells[uint64, struct{}, int64](s, state.Descriptor{Operator: "op", Name: "sum"})
	if err != nil {
		b.Fatal(err)
	}
	return s, c
}

// BenchmarkWrite compares the ways in which a cut of half a million numbers can come to
// disk: the way that is used, and through memtables, in order and as they come.
func BenchmarkWrite(b *testing.B) {
	const n = 500_000
	fill := func(s *Store) *part {
		p, r := s.newPart(), rand.New(rand.NewPCG(1, 2))
		var key, value [9]byte
		for range n {
			k := r.Uint64()
			key[0], value[0] = 0xcf, 0xd3
			binary.BigEndian.PutUint64(key[1:], k)
			binary.BigEndian.PutUint64(value[1:], k>>40)
			p.add(flow.KeyGroup(k%128), 0, key[:], value[:])
		}
		return p
	}
	through := func(s *Store, sorted bool) func(p *part) error {
		return func(p *part) error {
			if sorted {
				p.sort(128)
			}
			w := s.db.NewBatch()
			for i, r := range p.refs {
				key, value := p.entry(r)
				if err := w.Set(append(appendPrefix(nil, flow.KeyGroup(r.group), r.id), key...), value, nil); err != nil {
					return err
				}
				if i%10_000 == 9_999 || i == len(p.refs)-1 {
					if err := w.Commit(pebble.NoSync); err != nil {
						return err
					}
					w.Reset()
				}
			}
			return s.db.Flush()
		}
	}
	for _, c := range []struct {
		name string
		of   func(s *Store) func(p *part) error
	}{
		{"tables", func(s *Store) func(p *part) error { return func(p *part) error { return s.writePart(p, false) } }},
		{"memtables", func(s *Store) func(p *part) error { return through(s, true) }},
		{"memtables/unsorted", func(s *Store) func(p *part) error { return through(s, false) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := benchOpen(b, testEnv(b, 256<<20), b.TempDir())
			s.dbOpts.MemTableSize = 32 << 20
			if err := s.open(); err != nil {
				b.Fatal(err)
			}
			write := c.of(s)
			var cpu time.Duration
			for b.Loop() {
				b.StopTimer()
				p := fill(s)
				before := cpuTime(b)
				b.StartTimer()
				if err := write(p); err != nil {
					b.Fatal(err)
				}
				cpu += cpuTime(b) - before
			}
			b.ReportMetric(float64(cpu.Nanoseconds())/float64(b.N)/n, "cpu-ns/entry")
		})
	}
}

// localFiles is files of a snapshot in a directory, linked where they can be.
type localFiles string

func (d localFiles) Create(name string) (io.WriteCloser, error) { return os.Create(d.path(name)) }
func (d localFiles) Link(name, path string) error               { return os.Link(path, d.path(name)) }
func (d localFiles) Names() []string                            { return nil }
func (d localFiles) path(name string) string                    { return filepath.Join(string(d), name) }
func (d localFiles) Open(_ context.Context, name string) (io.ReadCloser, error) {
	return os.Open(d.path(name))
}
func (d localFiles) Fetch(_ context.Context, name, path string) error {
	return os.Link(d.path(name), path)
}

// BenchmarkRestore restores a gigabyte of strings, in place and copied, up to the first
// value that is read.
func BenchmarkRestore(b *testing.B) {
	const n, size = 1 << 20, 1 << 10
	e := testEnv(b, 64<<20)
	files := localFiles(b.TempDir())
	hash, err := keyhash.For[uint64]()
	if err != nil {
		b.Fatal(err)
	}
	declare := func(s *Store) *state.Cells[uint64, struct{}, string] {
		c, err := state.NewCells[uint64, struct{}, string](s, state.Descriptor{Operator: "op", Name: "strings"})
		if err != nil {
			b.Fatal(err)
		}
		return c
	}
	s := benchOpen(b, e, b.TempDir())
	c := declare(s)
	noise := make([]byte, n+size)
	r := rand.NewChaCha8([32]byte{})
	if _, err := r.Read(noise); err != nil {
		b.Fatal(err)
	}
	for k := range uint64(n) {
		c.Put(hash(k), k, struct{}{}, string(noise[k:k+size]))
		if k%64 == 0 {
			s.Step()
		}
	}
	z, err := s.Freeze(state.FormLSM)
	if err != nil {
		b.Fatal(err)
	}
	s.drainAll()
	if err := z.Write(context.Background(), files); err != nil {
		b.Fatal(err)
	}
	for _, own := range []flow.KeyGroupRange{{End: 128}, {End: 16}} {
		b.Run(fmt.Sprintf("groups=%d", own.Len()), func(b *testing.B) {
			for b.Loop() {
				s, err := e.Open(Options{Dir: b.TempDir(), KeyGroups: own})
				if err != nil {
					b.Fatal(err)
				}
				if err := s.Restore(context.Background(), []state.Saved{{Form: state.FormLSM, KeyGroups: flow.KeyGroupRange{End: 128}, Files: files}}); err != nil {
					b.Fatal(err)
				}
				c := declare(s)
				k := uint64(0)
				for !own.Contains(flow.KeyGroupOf(hash(k), 128)) {
					k++
				}
				if c.Find(hash(k), k, struct{}{}) == nil {
					b.Fatal(s.Err())
				}
				b.StopTimer()
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}
