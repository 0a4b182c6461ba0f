package file

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"encoding/json"

	"github.com/klauspost/compress/zstd"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
)

// TestChangedFiles: a file that is not what was found is an error, which no policy
// for bad records tolerates.
func TestChangedFiles(t *testing.T) {
	line := "0123456789\n"
	for _, c := range []struct {
		name   string
		before func(path string) error // after the listing
		during func(path string) error // after the first Read
		is     error
		want   string
	}{
		{"vanished", os.Remove, nil, ErrVanished, "is gone now, with 11000 bytes of it not read"},
		{"shrank", func(p string) error { return os.Truncate(p, 5000) }, nil, ErrChanged, "shrank while it was read (byte 0): it had 11000 bytes when it was found and has 5000 now"},
		{"grew", func(p string) error { return os.Truncate(p, 12000) }, nil, ErrChanged, "grew"},
		{"written again", func(p string) error { return os.Chtimes(p, time.Time{}, time.Unix(1, 0)) }, nil, ErrChanged, "written again"},
		{"shrinks while read", nil, func(p string) error { return os.Truncate(p, 5000) }, ErrChanged, "shrank while it was read (byte 5000)"},
		{"shrinks behind the reader", nil, func(p string) error { return os.Truncate(p, 0) }, ErrChanged, "shrank"},
		{"grows while read", nil, func(p string) error { return os.Truncate(p, 20000) }, ErrChanged, "grew while it was read"},
		// What is open can be read to its end.
		{"vanishes while read", nil, os.Remove, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := write(t, "in.txt", []byte(strings.Repeat(line, 1000)))
			r := run[string]{t: t, src: Text(path, testBlock(1000)), max: 10}
			splits, err := r.discover()
			ok(t, err)
			if c.before != nil {
				ok(t, c.before(path))
			}
			rd := r.reader()
			defer rd.Close()
			ok(t, rd.Add(splits[0]))
			var into operator.Records[string]
			lines := 0
			for first := true; !into.Done && err == nil; first = false {
				into = operator.Records[string]{}
				_, err = rd.Read(&into, r.max)
				lines += into.Len()
				if first && c.during != nil && err == nil {
					ok(t, c.during(path))
				}
			}
			if c.is == nil {
				ok(t, err)
				if lines != 1000 {
					t.Errorf("%d lines", lines)
				}
				return
			}
			var f *flow.Failure
			if !errors.Is(err, c.is) || !errors.As(err, &f) || f.Domain != flow.DomainExternal {
				t.Fatalf("got %v", err)
			}
			if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("the message is %q, want %q", err, c.want)
			}
			if len(r.bad) > 0 {
				t.Errorf("bad records: %v", r.bad)
			}
		})
	}
}

// TestBrokenStreams: a compressed file that is cut off or damaged gives its good
// lines, and one bad record; or fails the job, if that is the policy.
func TestBrokenStreams(t *testing.T) {
	var text bytes.Buffer
	rng := rand.New(rand.NewPCG(1, 2))
	var want []string
	for i := range 20_000 {
		want = append(want, fmt.Sprint("line ", i, " ", rng.Uint64()))
		fmt.Fprintln(&text, want[i])
	}
	packed := map[string][]byte{"gzip": gz(t, text.Bytes()), "zstd": zst(t, text.Bytes())}
	for name, data := range packed {
		for kind, broken := range map[string][]byte{
			"cut off": data[:len(data)/2],
			"damaged": func() []byte {
				b := bytes.Clone(data)
				copy(b[len(b)/2:], "XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX")
				return b
			}(),
			"tail cut": data[:len(data)-3],
			"head":     data[:6],
		} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				path := write(t, "in", broken)
				r := run[string]{t: t, src: Text(path), max: 100}
				ok(t, r.all())
				// gzip has its checksum at the end: damage may pass for text before.
				if (name != "gzip" || kind != "damaged") && !slices.Equal(r.values, want[:len(r.values)]) {
					t.Error("what was read is not the beginning of the file")
				}
				if kind != "head" && len(r.values) < 1000 {
					t.Errorf("only %d lines were read", len(r.values))
				}
				if len(r.bad) != 1 || !strings.Contains(r.bad[0].Reason, name) || !strings.Contains(r.bad[0].Reason, "the rest of the file is not read") {
					t.Errorf("bad records: %+v", r.bad)
				}
				r = run[string]{t: t, src: Text(path), policy: func(b operator.BadRecord) error { return operator.BadPolicy{}.Check(b, 1, 1) }}
				if err := r.all(); !errors.Is(err, operator.ErrBadRecord) || !strings.Contains(err.Error(), path) {
					t.Errorf("the default policy: %v", err)
				}
			})
		}
	}
}

// TestZstdWindow refuses a stream that wants more memory than a reader may take.
func TestZstdWindow(t *testing.T) {
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, zstd.WithWindowSize(256<<20), zstd.WithSingleSegment(false))
	ok(t, err)
	_, err = w.Write(bytes.Repeat([]byte("x\n"), 1<<20))
	ok(t, err)
	ok(t, w.Flush())
	ok(t, w.Close())
	r := run[string]{t: t, src: Text(write(t, "in.zst", b.Bytes()))}
	ok(t, r.all())
	if len(r.bad) != 1 || len(r.values) > 0 {
		t.Errorf("%d lines, bad %v", len(r.values), r.bad)
	}
}

func TestJSONLines(t *testing.T) {
	in := "\xef\xbb\xbf" + `{"user":"a","n":1}` + "\r\n\n   \t\n" +
		`{"user":"b","n":1.5}` + "\n" +
		`{"user":"c"` + "\n" +
		`null` + "\n" +
		`{"user":"d","n":2} {}` + "\n" +
		`{"user":"\u00e9","n":9007199254740993,"more":[1,{"x":null}]}` + "\n" +
		"not json"
	for _, split := range []int64{1 << 20, 30} {
		path := write(t, "in.jsonl", []byte(in))
		r := run[click]{t: t, src: JSONLines[click](path, SplitSize(split)), max: 2, restart: func() bool { return true }}
		ok(t, r.all())
		if want := []click{{"a", 1}, {"é", 9007199254740993}}; !slices.Equal(r.values, want) {
			t.Errorf("got %v", r.values)
		}
		if len(r.bad) != 5 {
			t.Fatalf("%d bad records: %v", len(r.bad), r.bad)
		}
		if split == 30 {
			if w := r.bad[4].Where; !strings.Contains(w, "byte ") || !strings.Contains(w, "of the part that begins at byte") {
				t.Errorf("a bad record is at %q", w)
			}
			continue
		}
		var got strings.Builder
		for _, b := range r.bad {
			fmt.Fprintf(&got, "%s %s %s\n", filepath.Base(b.Where), b.Raw, b.Reason)
		}
		want := `in.jsonl:4 {"user":"b","n":1.5} json: cannot unmarshal number 1.5 into Go struct field click.n of type int64
in.jsonl:5 {"user":"c" unexpected end of JSON input
in.jsonl:6 null it is null
in.jsonl:7 {"user":"d","n":2} {} invalid character '{' after top-level value
in.jsonl:9 not json invalid character 'o' in literal null (expecting 'u')
`
		if got.String() != want {
			t.Errorf("bad records:\n%swant\n%s", got.String(), want)
		}
	}
}

func TestJSONKnownFieldsOnly(t *testing.T) {
	in := `{"user":"a","n":1}` + "\n" + `{"user":"a","m":1}` + "\n" + `{"user":"a"} x` + "\n" + `{"user":` + "\n"
	r := run[click]{t: t, src: JSONLines[click](write(t, "in", []byte(in)), KnownFieldsOnly())}
	ok(t, r.all())
	if len(r.values) != 1 || len(r.bad) != 3 || !strings.Contains(r.bad[0].Reason, `unknown field "m"`) {
		t.Errorf("got %v, bad %v", r.values, r.bad)
	}
}

func TestJSONRefused(t *testing.T) {
	type inner struct{ F func() }
	type outer struct{ In []inner }
	r := run[outer]{t: t, src: JSONLines[outer]("x")}
	if err := r.all(); err == nil || !strings.Contains(err.Error(), "file.outer.In.F is a func()") {
		t.Errorf("got %v", err)
	}
}

type fuzzed struct {
	S  string            `json:"s"`
	I  int32             `json:"i"`
	F  float64           `json:"f"`
	B  *bool             `json:"b"`
	L  []string          `json:"l"`
	M  map[string]int    `json:"m"`
	In struct{ X uint8 } `json:"in"`
	T  time.Time         `json:"t"`
}

// FuzzJSON: the fast decoder accepts what encoding/json accepts, with the same
// result, and does not hold on to the line.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{
		`{"s":"a\n\u00e9\ud83d\ude00","i":-1,"f":1e3,"b":true,"l":["x","y"],"m":{"k":1},"in":{"x":255},"t":"2026-01-02T03:04:05Z"}`,
		`{"S":"x","I":null,"b":null,"l":null,"in":null}`, `{"s":"\ud800"}`, "{\"s\":\"\xff\"}", `{"i":2147483648}`, `{"i":1.0}`, `{"f":01}`, `{"l":[1]}`, `[]`, `{}x`, `{"s":"a","s":"b"}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		var want, got fuzzed
		wantErr := json.Unmarshal([]byte(in), &want)
		line := []byte(in)
		gotErr := fastJSON(line, &got)
		if string(line) != in {
			t.Fatalf("the line was written to: %q", line)
		}
		clear(line)
		if gotErr != nil {
			return // encoding/json is asked then
		}
		if wantErr != nil {
			t.Fatalf("accepted %q: %+v; encoding/json: %v", in, got, wantErr)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("of %q got %+v, want %+v", in, got, want)
		}
	})
}

func FuzzSplit(f *testing.F) {
	d := splitData{Path: "a", End: 3, Size: 3, At: position{Started: true, Offset: 2}}
	s, err := d.split("a:0-3")
	ok(f, err)
	f.Add(s.Data)
	f.Fuzz(func(t *testing.T, in []byte) {
		d, err := decodeSplit(operator.Split{ID: "x", Data: in})
		if err != nil {
			return
		}
		s, err := d.split("x")
		ok(t, err)
		again, err := decodeSplit(s)
		if err != nil || again != d {
			t.Fatalf("%+v became %+v, %v", d, again, err)
		}
	})
}
