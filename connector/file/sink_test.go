package file

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/internal/obs"
	"github.com/weirflow/weir/operator"
)

func writerContext(subtask int, attempt flow.Attempt) *operator.WriterContext {
	return &operator.WriterContext{
		Context: context.Background(), Job: "job", Attempt: attempt, Operator: "out", Name: "out",
		Subtask: subtask, Parallelism: 2, Log: slog.Default(), Metrics: &obs.Operator{},
		Now: func() flow.Time { return 0 }, WakeAt: func(flow.Time) {},
	}
}

func batch[T any](values ...T) *flow.Batch[T] { return &flow.Batch[T]{Values: values} }

// must returns a value that comes without an error.
func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tree lists the files below dir, with their content.
func tree(t testing.TB, f vfs.FS, dir string) []string {
	t.Helper()
	var files []string
	var walk func(string)
	walk = func(d string) {
		names, err := f.List(d)
		if errors.Is(err, os.ErrNotExist) {
			return
		}
		ok(t, err)
		for _, n := range names {
			p := f.PathJoin(d, n)
			info, err := f.Stat(p)
			ok(t, err)
			if info.IsDir() {
				walk(p)
				continue
			}
			file := must[vfs.File](t)(f.Open(p))
			data := make([]byte, info.Size())
			if len(data) > 0 {
				_, err = file.ReadAt(data, 0)
				ok(t, err)
			}
			file.Close()
			files = append(files, strings.TrimPrefix(p, dir+"/")+"="+string(data))
		}
	}
	walk(dir)
	slices.Sort(files)
	return files
}

// visible leaves out what sources pass over.
func visible(files []string) []string {
	return slices.DeleteFunc(slices.Clone(files), func(s string) bool { return unfinished(filepath.Base(strings.SplitN(s, "=", 2)[0])) })
}

func TestSinkCommit(t *testing.T) {
	mem := vfs.NewMem()
	sink := TextSink("/out", sinkFS(mem), RollSize(1<<20))
	w := must[operator.Writer[string]](t)(sink.Writer(writerContext(1, 1)))
	ok(t, w.Write(batch("a", "b")))
	p1 := must[[]byte](t)(w.Prepare(flow.Barrier{Epoch: 1}))
	ok(t, w.Write(batch("c")))
	p2 := must[[]byte](t)(w.Prepare(flow.Barrier{Epoch: 2}))
	if p3 := must[[]byte](t)(w.Prepare(flow.Barrier{Epoch: 3})); p3 != nil {
		t.Errorf("an epoch without records prepared %q", p3)
	}
	if v := visible(tree(t, mem, "/out")); len(v) > 0 {
		t.Errorf("visible before the commit: %q", v)
	}
	c := must[operator.Committer](t)(sink.Committer(&operator.CommitterContext{}))
	for range 3 {
		ok(t, c.Commit(context.Background(), 1, [][]byte{p1, nil}))
	}
	id := sinkID("job", "out")
	one := "part-" + id + "-1-1-0.txt=a\nb\n"
	if got := visible(tree(t, mem, "/out")); !slices.Equal(got, []string{one}) {
		t.Errorf("after epoch 1: %q", got)
	}
	ok(t, c.Commit(context.Background(), 2, [][]byte{p2}))
	if got, want := tree(t, mem, "/out"), []string{one, "part-" + id + "-1-2-0.txt=c\n"}; !slices.Equal(got, want) {
		t.Errorf("after epoch 2: %q, want %q", got, want)
	}
	ok(t, w.Close())

	ok(t, mem.Remove("/out/part-"+id+"-1-1-0.txt"))
	if err := c.Commit(context.Background(), 1, [][]byte{p1}); !errors.Is(err, ErrLost) {
		t.Errorf("a lost file: %v", err)
	}
	f := must[vfs.File](t)(mem.Create("/out/part-"+id+"-1-1-0.txt", ""))
	f.Close()
	if err := c.Commit(context.Background(), 1, [][]byte{p1}); !errors.Is(err, ErrConflict) {
		t.Errorf("another file: %v", err)
	}
	if err := c.Commit(context.Background(), 1, [][]byte{[]byte("junk")}); err == nil {
		t.Error("junk was committed")
	}
}

// TestSinkPowerCut: at each step of two epochs the power fails, and what comes
// back has all that was committed, and can commit all that was prepared.
func TestSinkPowerCut(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		mem := vfs.NewCrashableMem()
		crash := func() *vfs.MemFS {
			return mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
		}
		part := func(s string) string { return s[:1] }
		sink := TextSink("/a/out", sinkFS(mem)).PartitionBy(part)
		w := must[operator.Writer[string]](t)(sink.Writer(writerContext(0, 1)))
		c := must[operator.Committer](t)(sink.Committer(&operator.CommitterContext{}))
		var want []string
		for epoch := flow.Epoch(1); epoch <= 2; epoch++ {
			ok(t, w.Write(batch(fmt.Sprint("x", epoch), fmt.Sprint("y", epoch))))
			if got := visible(tree(t, crash(), "/a/out")); !slices.Equal(got, want) {
				t.Fatalf("seed %d: before Prepare of %d: %q, want %q", seed, epoch, got, want)
			}
			p := must[[]byte](t)(w.Prepare(flow.Barrier{Epoch: epoch}))
			if got := visible(tree(t, crash(), "/a/out")); !slices.Equal(got, want) {
				t.Fatalf("seed %d: before Commit of %d: %q, want %q", seed, epoch, got, want)
			}
			// Which of two files comes first in the folder is its partition's name.
			next := append(slices.Clone(want), visible(tree(t, commitOn(t, sink, crash(), epoch, p), "/a/out"))...)
			slices.Sort(next)
			next = slices.Compact(next)
			if len(next) != len(want)+2 {
				t.Fatalf("seed %d: epoch %d committed after a power cut: %q", seed, epoch, next)
			}
			if rng.IntN(2) == 0 {
				// Half of the commit is done, then the power fails.
				inj := &errorfs.Counter{Injector: errorfs.OnIndex(int32(rng.IntN(12)))}
				broken := *sink
				broken.set.testing.fs = pebbleFS{errorfs.Wrap(mem, inj)}
				bc := must[operator.Committer](t)(broken.Committer(&operator.CommitterContext{}))
				if err := bc.Commit(context.Background(), epoch, [][]byte{p}); err == nil && inj.Load() > 0 {
					t.Fatalf("seed %d: the error %v was lost", seed, inj.LastError())
				}
				again := visible(tree(t, commitOn(t, sink, crash(), epoch, p), "/a/out"))
				if !slices.Equal(again, next) {
					t.Fatalf("seed %d: half a commit, a power cut, and a commit: %q, want %q", seed, again, next)
				}
			}
			ok(t, c.Commit(context.Background(), epoch, [][]byte{p}))
			want = next
			if got := tree(t, crash(), "/a/out"); !slices.Equal(visible(got), want) {
				t.Fatalf("seed %d: after Commit of %d: %q, want %q", seed, epoch, got, want)
			}
		}
		ok(t, w.Close())
	}
}

// commitOn commits on a file system that a power cut left.
func commitOn[T any](t *testing.T, sink *Sink[T], mem *vfs.MemFS, epoch flow.Epoch, p []byte) *vfs.MemFS {
	t.Helper()
	s := *sink
	s.set.testing.fs = pebbleFS{mem}
	c := must[operator.Committer](t)(s.Committer(&operator.CommitterContext{}))
	ok(t, c.Commit(context.Background(), epoch, [][]byte{p}))
	return mem
}

// TestSinkErrors: each operation of the file system fails once, and the error comes
// out of the call that needed it.
func TestSinkErrors(t *testing.T) {
	for i := int32(0); ; i++ {
		mem := vfs.NewMem()
		inj := &errorfs.Counter{Injector: errorfs.OnIndex(i)}
		sink := TextSink("/out", sinkFS(errorfs.Wrap(mem, inj)), RollSize(10)).PartitionBy(func(s string) string { return s[:1] })
		err := func() error {
			w, err := sink.Writer(writerContext(0, 1))
			if err != nil {
				return err
			}
			defer w.Close()
			if err := w.Write(batch("abc", "bcd", "abc defghijklmn")); err != nil {
				return err
			}
			p, err := w.Prepare(flow.Barrier{Epoch: 1})
			if err != nil {
				return err
			}
			c, err := sink.Committer(&operator.CommitterContext{})
			if err != nil {
				return err
			}
			return c.Commit(context.Background(), 1, [][]byte{p})
		}()
		if inj.Load() == 0 {
			ok(t, err)
			if i < 10 {
				t.Fatalf("only %d operations were tried", i)
			}
			return
		}
		var f *flow.Failure
		if !errors.Is(err, errorfs.ErrInjected) || !errors.As(err, &f) || f.Domain != flow.DomainExternal || !f.Retryable {
			t.Fatalf("operation %d: got %v", i, err)
		}
	}
}

func TestSinkRollAndMaxOpen(t *testing.T) {
	mem := vfs.NewMem()
	sink := TextSink("/out", sinkFS(mem), RollSize(8), MaxOpen(2), RollEvery(time.Second), Prefix("words")).
		PartitionBy(func(s string) string { return s[:1] })
	ctx := writerContext(0, 1)
	var wake flow.Time
	ctx.WakeAt = func(t flow.Time) { wake = t }
	w := must[operator.Writer[string]](t)(sink.Writer(ctx))
	ok(t, w.Write(batch("aaa", "b", "aaa", "a", "c", "d", "b")))
	if wake != flow.Span(time.Second) {
		t.Errorf("asked to be woken at %v", wake)
	}
	ok(t, w.Tick(wake))
	if n := len(w.(*writer[string]).open); n != 0 {
		t.Errorf("%d files are open after their time", n)
	}
	p := must[[]byte](t)(w.Prepare(flow.Barrier{Epoch: 1}))
	ok(t, w.Close())
	c := must[operator.Committer](t)(sink.Committer(&operator.CommitterContext{}))
	ok(t, c.Commit(context.Background(), 1, [][]byte{p}))
	var got []string
	for _, f := range tree(t, mem, "/out") {
		name, data, _ := strings.Cut(f, "=")
		if !strings.HasPrefix(filepath.Base(name), "words-") {
			t.Errorf("file %s", name)
		}
		got = append(got, data)
	}
	slices.Sort(got)
	if want := []string{"a\n", "aaa\naaa\n", "b\n", "b\n", "c\n", "d\n"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if n := ctx.Metrics.Bytes.Load(); n != 18 {
		t.Errorf("%d bytes were counted", n)
	}
}

func TestCleanPartition(t *testing.T) {
	for in, want := range map[string]string{
		"":                   "",
		"dt=2026-01-01":      "dt=2026-01-01/",
		"dt=2026-01-01/h=7/": "dt=2026-01-01/h=7/",
		"../../etc":          "%2E%2E/%2E%2E/etc/",
		"/abs":               "abs/",
		"a//./b":             "a/%2E/b/",
		".hidden/_x":         "%2Ehidden/%5Fx/",
		"k=a:b\\c\x00%":      "k=a%3Ab%5Cc%00%25/",
		"k=日本":               "k=日本/",
	} {
		got, err := cleanPartition(in)
		if err != nil || got != want {
			t.Errorf("%q: got %q, %v; want %q", in, got, err, want)
		}
	}
	if _, err := cleanPartition(strings.Repeat("x", 300)); err == nil {
		t.Error("a long partition passed")
	}
}

type row struct {
	I    int       `csv:"i" json:"i" avro:"i" parquet:"i"`
	U    uint32    `csv:"u" json:"u" avro:"u" parquet:"u"`
	F    float64   `csv:"f" json:"f" avro:"f" parquet:"f"`
	F32  float32   `csv:"f32" json:"f32" avro:"f32" parquet:"f32"`
	B    bool      `csv:"b" json:"b" avro:"b" parquet:"b"`
	S    string    `csv:"s, x" json:"s" avro:"s" parquet:"s"`
	Raw  []byte    `csv:"raw" json:"raw" avro:"raw" parquet:"raw"`
	When time.Time `csv:"when" json:"when" avro:"when,timestamp-micros" parquet:"when"`
	P    *int64    `csv:"p" json:"p" avro:"p" parquet:"p"`
	Q    *string   `csv:"q" json:"q" avro:"q" parquet:"q"`
}

// TestRoundTrip writes each format, with each compression, and reads it again.
func TestRoundTrip(t *testing.T) {
	seven, text := int64(7), "says \"hi\"\nand goes, \r\n"
	var want []row
	for i := range 3000 {
		r := row{I: -i, U: uint32(i), F: float64(i) / 3, F32: float32(i) / 7, B: i%2 == 0, S: fmt.Sprint("row ", i), Raw: []byte{'x', byte('a' + i%20)},
			When: time.UnixMicro(1_700_000_000_000_001 + int64(i)).UTC()}
		if i%3 == 0 {
			r.P, r.Q = &seven, &text
		}
		want = append(want, r)
	}
	type format struct {
		sink func(string, ...SinkOption) *Sink[row]
		src  func(string) operator.Source[row]
	}
	csvSink := func(dir string, opts ...SinkOption) *Sink[row] {
		var o []CSVSinkOption
		for _, x := range opts {
			o = append(o, x)
		}
		return CSVSink[row](dir, append(o, Comma(';'))...)
	}
	formats := map[string]format{
		"csv":     {csvSink, func(p string) operator.Source[row] { return CSV[row](p, Comma(';')) }},
		"json":    {JSONLinesSink[row], func(p string) operator.Source[row] { return JSONLines[row](p) }},
		"avro":    {AvroSink[row], func(p string) operator.Source[row] { return Avro[row](p, SplitSize(10_000)) }},
		"parquet": {ParquetSink[row], func(p string) operator.Source[row] { return Parquet[row](p, SplitSize(10_000)) }},
	}
	for name, f := range formats {
		for _, codec := range []Codec{None, Gzip, Zstd} {
			t.Run(fmt.Sprint(name, codec), func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "deep", "out")
				mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
				sink := f.sink(dir, Compression(codec), RollSize(100_000), func(s *sinkSettings) {
					s.testing.rowGroup = 5000
					s.testing.allocator = mem
				})
				ok(t, sink.Validate())
				w := must[operator.Writer[row]](t)(sink.Writer(writerContext(0, 1)))
				for part := range slices.Chunk(want, 100) {
					ok(t, w.Write(batch(part...)))
				}
				p := must[[]byte](t)(w.Prepare(flow.Barrier{Epoch: 1}))
				ok(t, w.Close())
				mem.AssertSize(t, 0)
				c := must[operator.Committer](t)(sink.Committer(&operator.CommitterContext{}))
				ok(t, c.Commit(context.Background(), 1, [][]byte{p}))
				r := run[row]{t: t, src: f.src(dir)}
				ok(t, r.all())
				slices.SortFunc(r.values, func(a, b row) int { return cmp.Compare(b.I, a.I) })
				for i := range r.values {
					r.values[i].When = r.values[i].When.UTC()
				}
				if !reflect.DeepEqual(r.values, want) {
					t.Fatalf("got %d rows, want %d; bad %v; first %+v, want %+v", len(r.values), len(want), r.bad, r.values[:min(1, len(r.values))], want[0])
				}
			})
		}
	}
}

func BenchmarkTextSink(b *testing.B) {
	sink := TextSink(b.TempDir())
	w := must[operator.Writer[string]](b)(sink.Writer(writerContext(0, 1)))
	values := make([]string, 1024)
	for i := range values {
		values[i] = fmt.Sprint("word number ", i)
	}
	in := batch(values...)
	b.ReportAllocs()
	for b.Loop() {
		ok(b, w.Write(in))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1024, "ns/record")
	ok(b, w.Close())
}
