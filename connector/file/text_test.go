package file

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/operator"
)

func TestText(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     []string
	}{
		{"empty", "", nil},
		{"one", "a\n", []string{"a"}},
		{"no newline at the end", "a\nb", []string{"a", "b"}},
		{"empty lines", "\n\na\n\n", []string{"", "", "a", ""}},
		{"crlf", "a\r\nb\r\n\r\nc\r", []string{"a", "b", "", "c"}},
		{"lone cr", "a\rb\n", []string{"a\rb"}},
		{"mark", "\xef\xbb\xbfa\n\xef\xbb\xbfb\n", []string{"a", "\xef\xbb\xbfb"}},
		{"only a mark", "\xef\xbb\xbf", nil},
		{"not utf-8", "\xff\xfe\n\x00\n", []string{"\xff\xfe", "\x00"}},
		{"short", "ab", []string{"ab"}},
	} {
		for _, form := range []string{"plain", "gzip", "zstd"} {
			t.Run(c.name+"/"+form, func(t *testing.T) {
				data := []byte(c.in)
				switch form {
				case "gzip":
					data = gz(t, data)
				case "zstd":
					data = zst(t, data)
				}
				r := run[string]{t: t, src: Text(write(t, "in.txt", data), testBlock(4))}
				if err := r.all(); err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(r.values, c.want) || len(r.bad) > 0 {
					t.Errorf("got %q and bad %v, want %q", r.values, r.bad, c.want)
				}
			})
		}
	}
}

// referenceLines is the plain definition of what Text reads.
func referenceLines(in []byte) []string {
	in = bytes.TrimPrefix(in, []byte("\xef\xbb\xbf"))
	var lines []string
	for len(in) > 0 {
		line, rest, _ := bytes.Cut(in, []byte("\n"))
		lines = append(lines, string(bytes.TrimSuffix(line, []byte("\r"))))
		in = rest
	}
	return lines
}

// TestTextSplitsAndRestarts: however a file is cut, read and restarted, its lines
// come once, in order.
func TestTextSplitsAndRestarts(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		in := []byte(strings.Join(rapid.SliceOf(rapid.SampledFrom([]string{
			"\n", "\r\n", "a", "bcd", "\r", strings.Repeat("long", 20), "\xef\xbb\xbf", "é",
		})).Draw(rt, "pieces"), ""))
		n++
		path := filepath.Join(dir, fmt.Sprint(n))
		packed := rapid.SampledFrom([]codec{plain, plain, gzipped, zstded}).Draw(rt, "codec")
		data := in
		switch packed {
		case gzipped:
			data = gz(t, in)
		case zstded:
			data = zst(t, in)
		}
		if err := os.WriteFile(path, data, 0o666); err != nil {
			rt.Fatal(err)
		}
		r := run[string]{t: t,
			src:     Text(path, SplitSize(rapid.Int64Range(1, 40).Draw(rt, "split")), testBlock(rapid.IntRange(1, 64).Draw(rt, "block"))),
			max:     rapid.IntRange(1, 5).Draw(rt, "max"),
			restart: func() bool { return rapid.IntRange(0, 3).Draw(rt, "restart") == 0 },
		}
		if err := r.all(); err != nil {
			rt.Fatal(err)
		}
		if want := referenceLines(in); !slices.Equal(r.values, want) {
			rt.Fatalf("got %q, want %q", r.values, want)
		}
	})
}

func TestTextLongLine(t *testing.T) {
	in := "short\n" + strings.Repeat("x", 5000) + "\nnext\n" + strings.Repeat("y", 101) + "\n" + strings.Repeat("z", 100) + "\n" + strings.Repeat("w", 3<<20)
	for _, block := range []int{16, 512, 1 << 20} {
		restarts := 0
		r := run[string]{t: t, max: 1, src: Text(write(t, "in", []byte(in)), MaxRecord(100), testBlock(block)),
			restart: func() bool { restarts++; return restarts < 6 }}
		if err := r.all(); err != nil {
			t.Fatal(err)
		}
		if want := []string{"short", "next", strings.Repeat("z", 100)}; !slices.Equal(r.values, want) {
			t.Errorf("block %d: got %.200q", block, r.values)
		}
		if len(r.bad) != 3 {
			t.Fatalf("block %d: %d bad records", block, len(r.bad))
		}
		for i, want := range []string{":2", ":4", ":6"} {
			if !strings.HasSuffix(r.bad[i].Where, want) {
				t.Errorf("block %d: bad record at %q, want %q", block, r.bad[i].Where, want)
			}
		}
		if raw := r.bad[0].Raw; !strings.HasPrefix(string(raw), strings.Repeat("x", min(block, 101))) || len(raw) > operator.MaxBadRaw {
			t.Errorf("block %d: raw is %.50q (%d)", block, raw, len(raw))
		}
	}
}

// TestTextStringsStay reads with small blocks and looks at the strings only at
// the end: none may have been written over.
func TestTextStringsStay(t *testing.T) {
	var in strings.Builder
	var want []string
	for i := range 1000 {
		want = append(want, fmt.Sprint("line ", i))
		fmt.Fprintln(&in, want[i])
	}
	r := run[string]{t: t, src: Text(write(t, "in", []byte(in.String())), testBlock(100), SplitSize(1000)), max: 7}
	if err := r.all(); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(r.values, want) {
		t.Error("lines differ")
	}
}

func FuzzText(f *testing.F) {
	f.Add([]byte("a\r\n\nb"), uint8(1), uint8(1), uint8(1))
	f.Add([]byte("\xef\xbb\xbfa"), uint8(2), uint8(3), uint8(2))
	f.Add(gz(f, []byte("x\ny")), uint8(200), uint8(3), uint8(2))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, in []byte, split, block, max uint8) {
		path := filepath.Join(dir, "in")
		if err := os.WriteFile(path, in, 0o666); err != nil {
			t.Fatal(err)
		}
		r := run[string]{t: t, max: int(max) + 1,
			src:     Text(path, SplitSize(int64(split)+1), testBlock(int(block)+1)),
			restart: func() bool { return true }}
		if err := r.all(); err != nil {
			t.Fatal(err)
		}
		if c, _ := sniff(bytes.NewReader(in)); c == plain && !slices.Equal(r.values, referenceLines(in)) {
			t.Fatalf("got %q, want %q", r.values, referenceLines(in))
		}
	})
}

func BenchmarkText(b *testing.B) {
	data := []byte(strings.Repeat("the quick brown fox jumps over the lazy dog and so on and on, for eighty bytes\n", 200_000))
	path := write(b, "in.txt", data)
	src := Text(path)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		r := run[string]{t: b, src: src}
		splits, err := r.discover()
		if err != nil {
			b.Fatal(err)
		}
		rd := r.reader()
		var into operator.Records[string]
		for _, s := range splits {
			if err := rd.Add(s); err != nil {
				b.Fatal(err)
			}
			for done := false; !done; done = into.Done {
				into.Done = false
				into.Truncate()
				if _, err := rd.Read(&into, 1024); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
}
