package file

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
)

// run drives a source as the runtime does, in one goroutine.
type run[T any] struct {
	t   testing.TB
	src operator.Source[T]
	// max is the number of records a Read may bring.
	max int
	// policy decides about bad records; nil tolerates all.
	policy func(operator.BadRecord) error
	// restart says before each Read whether the reader is thrown away, and one made
	// from its snapshot goes on.
	restart func() bool

	values []T
	bad    []operator.BadRecord
	reads  int
}

func (r *run[T]) reader() operator.Reader[T] {
	ctx := &operator.ReaderContext{
		Context: context.Background(), Name: "in", Parallelism: 1, Log: slog.Default(),
		Wake: func() {}, Now: func() flow.Time { return 0 },
		Bad: func(b operator.BadRecord) error {
			r.bad = append(r.bad, b)
			if r.policy != nil {
				return r.policy(b)
			}
			return nil
		},
	}
	rd, err := r.src.Reader(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	return rd
}

// discover returns the splits of one listing.
func (r *run[T]) discover() ([]operator.Split, error) {
	e, err := r.src.Enumerator()
	if err != nil {
		return nil, err
	}
	defer e.Close()
	d, err := e.Discover(context.Background())
	return d.Splits, err
}

// all reads everything.
func (r *run[T]) all() error {
	splits, err := r.discover()
	if err != nil {
		return err
	}
	return r.read(splits)
}

func (r *run[T]) read(splits []operator.Split) error {
	if r.max == 0 {
		r.max = 1024
	}
	rd := r.reader()
	defer func() { rd.Close() }()
	var into operator.Records[T]
	for _, s := range splits {
		if err := rd.Add(s); err != nil {
			return err
		}
		progress := int64(0)
		for done := false; !done; {
			if r.restart != nil && r.restart() {
				saved, err := rd.Snapshot()
				if err != nil {
					return err
				}
				if err := rd.Close(); err != nil {
					return err
				}
				rd = r.reader()
				for _, s := range saved {
					if err := rd.Add(s); err != nil {
						return err
					}
				}
			}
			into = operator.Records[T]{}
			_, err := rd.Read(&into, r.max)
			if err != nil {
				return err
			}
			if len(into.Values) > r.max {
				r.t.Fatalf("%d records, more than %d", len(into.Values), r.max)
			}
			if into.Split != s.ID {
				r.t.Fatalf("records of split %q, not %q", into.Split, s.ID)
			}
			r.values = append(r.values, into.Values...)
			done = into.Done
			progress += into.Progress
			if r.reads++; r.reads > 1_000_000 {
				return fmt.Errorf("the reader does not end")
			}
		}
		if progress != s.Size {
			r.t.Fatalf("split %q: progress %d of %d", s.ID, progress, s.Size)
		}
	}
	if st, err := rd.Read(&into, r.max); err != nil || !st.Wait {
		r.t.Fatalf("a reader without splits: %v, %v", st, err)
	}
	return nil
}

// write makes a file and returns its path.
func write(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func gz(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zst(t testing.TB, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(data, nil)
}

// testBlock makes blocks of n bytes.
func testBlock(n int) SourceOption { return func(s *settings) { s.testing.blockSize = n } }
