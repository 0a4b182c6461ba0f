package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirflow/weir/connector/collect/sourcetest"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
)

type numbered struct {
	N int    `csv:"n" json:"n" avro:"n" parquet:"n"`
	S string `csv:"s" json:"s" avro:"s" parquet:"s"`
}

// TestSurvive stops each format, plain and packed, in one part and in many, at any
// point, and goes on with another number of readers.
func TestSurvive(t *testing.T) {
	fill := func(sink *Sink[numbered], dir string) {
		sink.set.testing.rowGroup = 100
		for f := range 3 {
			w := must[operator.Writer[numbered]](t)(sink.Writer(writerContext(f, 1)))
			for i := range 40 * (f + 1) {
				ok(t, w.Write(batch(numbered{1000*f + i, strings.Repeat("x", i%9)})))
			}
			p := must[[]byte](t)(w.Prepare(flow.Barrier{Epoch: 1}))
			ok(t, newCommitter(t, sink, "job", 1).Commit(context.Background(), 1, [][]byte{p}))
			ok(t, w.Close())
		}
	}
	for _, codec := range []Codec{None, Gzip, Zstd} {
		for _, split := range []int64{97, 1 << 20} {
			dir := t.TempDir()
			at := func(s string) string { return filepath.Join(dir, s) }
			fill(CSVSink[numbered](at("csv"), Compression(codec)), at("csv"))
			fill(JSONLinesSink[numbered](at("json"), Compression(codec)), at("json"))
			fill(AvroSink[numbered](at("avro"), Compression(codec)), at("avro"))
			fill(ParquetSink[numbered](at("parquet"), Compression(codec)), at("parquet"))
			for name, src := range map[string]operator.Source[numbered]{
				"csv":     CSV[numbered](at("csv"), SplitSize(split), SingleLine(), testBlock(64)),
				"json":    JSONLines[numbered](at("json"), SplitSize(split), testBlock(64)),
				"avro":    Avro[numbered](at("avro"), SplitSize(split)),
				"parquet": Parquet[numbered](at("parquet"), SplitSize(split)),
			} {
				t.Run(fmt.Sprint(name, codec, split), func(t *testing.T) {
					sourcetest.Survive(t, src, 12, sourcetest.Options{})
				})
			}
		}
	}
}

// What happens to a file between the checkpoint and the restart is told, never
// passed over.
func TestFileChangedSinceCheckpoint(t *testing.T) {
	for name, c := range map[string]struct {
		change func(path string) error
		want   error
		says   string
	}{
		"removed":   {os.Remove, ErrVanished, "is gone now, with"},
		"truncated": {func(p string) error { return os.Truncate(p, 100) }, ErrChanged, "shrank"},
		"grown": {func(p string) error {
			return os.WriteFile(p, bytes.Repeat([]byte("line\n"), 200), 0o666)
		}, ErrChanged, "grew"},
		"written again": {func(p string) error {
			err := os.WriteFile(p, bytes.Repeat([]byte("enil\n"), 100), 0o666)
			return errors.Join(err, os.Chtimes(p, time.Time{}, time.Unix(1, 0)))
		}, ErrChanged, "written again"},
	} {
		for _, watch := range []bool{false, true} {
			path := write(t, "in.txt", bytes.Repeat([]byte("line\n"), 100))
			ok(t, os.Chtimes(path, time.Time{}, time.Now().Add(-time.Hour)))
			var opts []TextOption
			if watch {
				opts = append(opts, Watch(time.Hour))
			}
			j := sourcetest.Start(t, Text(path, opts...), sourcetest.Options{}, nil)
			j.Read(30)
			state := j.Snapshot()
			j.Close()
			ok(t, c.change(path))
			err := sourcetest.Start(t, Text(path, opts...), sourcetest.Options{Readers: 2}, state).Fail()
			if watch && name == "removed" && errors.Is(err, os.ErrNotExist) {
				continue // the path itself is what is gone
			}
			if !errors.Is(err, c.want) || flow.FailureOf(err).Retryable || !strings.Contains(err.Error(), path) {
				t.Errorf("%s, watched %v: %v", name, watch, err)
			}
			if !watch && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v does not say %q", name, err, c.says)
			}
		}
	}
}
