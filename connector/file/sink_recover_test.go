package file

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
)

func newCommitter[T any](t testing.TB, sink *Sink[T], job flow.JobID, attempt flow.Attempt) *committer {
	t.Helper()
	c := must[operator.Committer](t)(sink.Committer(&operator.CommitterContext{Job: job, Operator: "out", Attempt: attempt}))
	return c.(*committer)
}

func TestSinkLeftovers(t *testing.T) {
	mem := vfs.NewMem()
	sink := TextSink("/out", sinkFS(mem)).PartitionBy(func(s string) string { return s })
	start := func(job flow.JobID, subtask int, attempt flow.Attempt, values ...string) operator.Writer[string] {
		ctx := writerContext(subtask, attempt)
		ctx.Job = job
		w := must[operator.Writer[string]](t)(sink.Writer(ctx))
		ok(t, w.Write(batch(values...)))
		return w
	}
	w1 := start("job", 0, 1, "x")
	p1 := must[[]byte](t)(w1.Prepare(flow.Barrier{Epoch: 1}))
	ok(t, w1.Write(batch("x", "y"))) // left by a crash
	must[[]byte](t)(w1.Prepare(flow.Barrier{Epoch: 2}))
	start("job", 5, 1, "z") // left by a subtask that is no more
	start("job", 0, 2, "z") // the same attempt, of a process that died early
	start("job", 0, 3, "q") // a newer attempt
	start("another", 0, 1, "x")
	ok(t, mem.MkdirAll("/out/_x", 0o777))

	c := newCommitter(t, sink, "job", 2)
	ok(t, c.Commit(context.Background(), 1, [][]byte{p1})) // the repeat at the start
	ok(t, c.Recover(context.Background(), 1))
	ok(t, c.Commit(context.Background(), 1, [][]byte{p1}))
	var left []string
	for _, f := range tree(t, mem, "/out") {
		left = append(left, strings.SplitN(f, "=", 2)[0])
	}
	id := sinkID("job", "out")
	want := []string{
		"q/.part-0-0." + id + "-3.inprogress",
		"x/.part-0-0." + sinkID("another", "out") + "-1.inprogress",
		"x/part-" + id + "-0-1-0.txt",
	}
	if !slices.Equal(left, want) {
		t.Errorf("left are %q, want %q", left, want)
	}
	ok(t, w1.Close()) // of the attempt that was replaced: its files are gone
	if n, err := c.Records([][]byte{p1, nil}); n != 1 || err != nil {
		t.Errorf("%d records, %v", n, err)
	}
	ok(t, newCommitter(t, TextSink("/nowhere", sinkFS(mem)), "job", 1).Recover(context.Background(), 0))
}

// Going back to an older checkpoint by hand: its files are in the way of those that
// will be written again, which is told at once and not when it is too late.
func TestSinkFilesOfLaterEpochs(t *testing.T) {
	mem := vfs.NewMem()
	sink := TextSink("/out", sinkFS(mem))
	w := must[operator.Writer[string]](t)(sink.Writer(writerContext(0, 1)))
	c := newCommitter(t, sink, "job", 1)
	for e := flow.Epoch(1); e <= 3; e++ {
		ok(t, w.Write(batch("a")))
		ok(t, c.Commit(context.Background(), e, [][]byte{must[[]byte](t)(w.Prepare(flow.Barrier{Epoch: e}))}))
	}
	ok(t, newCommitter(t, sink, "job", 2).Recover(context.Background(), 3))
	err := newCommitter(t, sink, "job", 2).Recover(context.Background(), 1)
	if !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), "2 files in /out") || flow.FailureOf(err).Retryable {
		t.Error(err)
	}
	ok(t, newCommitter(t, sink, "other", 2).Recover(context.Background(), 1))
}

func overwrite(t *testing.T, mem *vfs.MemFS, path string, change func([]byte) []byte) {
	t.Helper()
	f := must[vfs.File](t)(mem.Open(path))
	info := must[vfs.FileInfo](t)(f.Stat())
	data := make([]byte, info.Size())
	_, err := f.ReadAt(data, 0)
	ok(t, err)
	f.Close()
	g := must[vfs.File](t)(mem.Create(path, vfs.WriteCategoryUnspecified))
	_, err = g.Write(change(data))
	ok(t, err)
	ok(t, g.Close())
}

// A bit that flips in one staged file keeps the whole epoch from readers.
func TestSinkDamage(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"bit":  func(b []byte) []byte { b[0] ^= 1; return b },
		"torn": func(b []byte) []byte { return b[:len(b)-1] },
		"none": func(b []byte) []byte { return nil },
	} {
		mem := vfs.NewMem()
		sink := TextSink("/out", sinkFS(mem)).PartitionBy(func(s string) string { return s })
		w := must[operator.Writer[string]](t)(sink.Writer(writerContext(0, 1)))
		ok(t, w.Write(batch("a", "b", "c")))
		p := must[[]byte](t)(w.Prepare(flow.Barrier{Epoch: 1}))
		id := sinkID("job", "out")
		overwrite(t, mem, "/out/b/.part-0-1."+id+"-1.inprogress", change)
		c := newCommitter(t, sink, "job", 1)
		err := c.Commit(context.Background(), 1, [][]byte{p})
		if !errors.Is(err, ErrDamaged) || flow.FailureOf(err).Retryable {
			t.Errorf("%s: %v", name, err)
		}
		if v := visible(tree(t, mem, "/out")); len(v) > 0 {
			t.Errorf("%s: %q were published", name, v)
		}
		// One of the files under its final name is another.
		mem = vfs.NewMem()
		sink = TextSink("/out", sinkFS(mem))
		w = must[operator.Writer[string]](t)(sink.Writer(writerContext(0, 1)))
		ok(t, w.Write(batch("a", "b", "c")))
		p = must[[]byte](t)(w.Prepare(flow.Barrier{Epoch: 1}))
		c = newCommitter(t, sink, "job", 1)
		ok(t, c.Commit(context.Background(), 1, [][]byte{p}))
		overwrite(t, mem, "/out/part-"+id+"-0-1-0.txt", change)
		if err := c.Commit(context.Background(), 1, [][]byte{p}); !errors.Is(err, ErrConflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSinkKilled runs a job of five epochs whose process dies, or whose power fails,
// at any operation of the file system, and goes on as the engine would: from the
// newest epoch that is known to be committed. A manifest stands for the engine's.
func TestSinkKilled(t *testing.T) {
	const epochs = 5
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 7))
		disk := vfs.NewCrashableMem()
		type manifest struct {
			epoch flow.Epoch
			data  [][]byte
		}
		var newest manifest
		var want []string
		kills := 0
		attempt := flow.Attempt(0)
		values := func(e flow.Epoch) []string {
			// Each folder gets files in some epochs only: those of others don't sync it.
			p := string(rune('a' + e%3))
			return []string{fmt.Sprintf("%s%d", p, e), fmt.Sprintf("x%d", e), fmt.Sprintf("%s%[1]s%d", p, e)}[int(e%2):]
		}
		check := func(when string) {
			t.Helper()
			var got []string
			for _, f := range visible(tree(t, disk, "/x/out")) {
				_, data, _ := strings.Cut(f, "=")
				got = append(got, strings.Fields(data)...)
			}
			slices.Sort(got)
			for i, v := range got {
				if !slices.Contains(want, v) || i > 0 && got[i-1] == v {
					t.Fatalf("seed %d: %s readers see %q, of %q", seed, when, got, want)
				}
			}
			if when == "at the end" && len(got) != len(want) {
				t.Fatalf("seed %d: readers see %q, not %q", seed, got, want)
			}
		}
		run := func(fsys vfs.FS) error {
			attempt++
			sink := TextSink("/x/out", sinkFS(fsys), RollSize(4)).PartitionBy(func(s string) string { return s[:1] })
			c := newCommitter(t, sink, "job", attempt)
			if newest.epoch > 0 {
				if err := c.Commit(context.Background(), newest.epoch, newest.data); err != nil {
					return err
				}
			}
			if err := c.Recover(context.Background(), newest.epoch); err != nil {
				return err
			}
			for _, f := range tree(t, disk, "/x/out") {
				if strings.Contains(f, ".inprogress") {
					t.Fatalf("seed %d: %q is left", seed, f)
				}
			}
			w := must[operator.Writer[string]](t)(sink.Writer(writerContext(0, attempt)))
			for e := newest.epoch + 1; e <= epochs; e++ {
				if err := w.Write(batch(values(e)...)); err != nil {
					return err
				}
				p, err := w.Prepare(flow.Barrier{Epoch: e})
				if err != nil {
					return err
				}
				if rng.IntN(8) == 0 {
					return errors.New("killed before the manifest")
				}
				newest = manifest{e, [][]byte{p}}
				want = append(want, values(e)...)
				if err := c.Commit(context.Background(), e, newest.data); err != nil {
					return err
				}
			}
			return nil
		}
		for {
			fsys := vfs.FS(disk)
			if kills < 6 {
				fsys = errorfs.Wrap(disk, dies(rng.IntN(60)))
			}
			err := run(fsys)
			if err == nil {
				break
			}
			if kills++; kills > 50 {
				t.Fatalf("seed %d: it does not end: %v", seed, err)
			}
			check("after a kill")
			if rng.IntN(2) == 0 {
				disk = disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
				check("after a power cut")
			}
		}
		check("at the end")
	}
}

// dies lets n operations pass and fails all after them, as a killed process does.
func dies(n int) errorfs.Injector {
	return errorfs.InjectorFunc(func(op errorfs.Op) error {
		if n--; n < 0 {
			return errorfs.ErrInjected
		}
		return nil
	})
}
