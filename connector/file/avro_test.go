package file

import (
	"bytes"
	"compress/flate"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/avro"
	"github.com/twmb/avro/ocf"
	"pgregory.net/rapid"
)

type click struct {
	User string `avro:"user" parquet:"user" json:"user"`
	N    int64  `avro:"n" parquet:"n" json:"n"`
}

// avroFile makes a container file with a few records a block.
func avroFile(t testing.TB, records []click, perBlock int, codec ocf.Codec) []byte {
	t.Helper()
	var b bytes.Buffer
	opts := []ocf.WriterOpt{ocf.WithBlockCount(perBlock)}
	if codec != nil {
		opts = append(opts, ocf.WithCodec(codec))
	}
	w, err := ocf.NewWriter(&b, avro.MustSchemaFor[click](), opts...)
	if err != nil {
		t.Fatal(err)
	}
	for i := range records {
		if err := w.Encode(&records[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func clicks(n int) []click {
	c := make([]click, n)
	for i := range c {
		c[i] = click{fmt.Sprint("user ", i), int64(i)}
	}
	return c
}

func TestAvroSplitsAndRestarts(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		want := clicks(rapid.IntRange(0, 30).Draw(rt, "records"))
		var codec ocf.Codec
		switch rapid.IntRange(0, 3).Draw(rt, "codec") {
		case 1:
			codec = ocf.DeflateCodec(flate.BestSpeed)
		case 2:
			codec = ocf.SnappyCodec()
		case 3:
			codec = ocf.MustZstdCodec(nil, nil)
		}
		data := avroFile(t, want, rapid.IntRange(1, 6).Draw(rt, "block"), codec)
		n++
		path := filepath.Join(dir, fmt.Sprint(n))
		if err := os.WriteFile(path, data, 0o666); err != nil {
			rt.Fatal(err)
		}
		r := run[click]{t: t, src: Avro[click](path, SplitSize(rapid.Int64Range(10, 400).Draw(rt, "split"))),
			max:     rapid.IntRange(1, 5).Draw(rt, "max"),
			restart: func() bool { return rapid.IntRange(0, 3).Draw(rt, "restart") == 0 },
		}
		if err := r.all(); err != nil {
			rt.Fatal(err)
		}
		if !slices.Equal(r.values, want) || len(r.bad) > 0 {
			rt.Fatalf("got %v, want %v, bad %v", r.values, want, r.bad)
		}
	})
}

func TestAvroBad(t *testing.T) {
	want := clicks(9)
	good := avroFile(t, want, 3, nil)
	second := bytes.Index(good, []byte("user 3"))
	for _, c := range []struct {
		name string
		data []byte
		want []click
		bad  string
	}{
		{"not avro", []byte("hello"), nil, "no Avro container file"},
		{"short header", good[:30], nil, "header is not complete"},
		{"cut off", good[:len(good)-20], want[:6], "is cut off"},
		{"bad size", func() []byte { b := bytes.Clone(good); b[second-2] = 0x7f; return b }(), append(clicks(3), want[6:]...), "no Avro block begins at byte"},
		{"bad record", func() []byte { b := bytes.Clone(good); b[second-1] = 0x7f; return b }(), append(clicks(3), want[6:]...), "records of the block from this one on are not read"},
		{"unknown codec", bytes.Replace(avroFile(t, want, 3, ocf.SnappyCodec()), []byte("snappy"), []byte("snoopy"), 1), nil, `codec "snoopy" is not known`},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := write(t, "in.avro", c.data)
			r := run[click]{t: t, src: Avro[click](path), max: 2}
			if err := r.all(); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(r.values, c.want) {
				t.Errorf("got %v, want %v", r.values, c.want)
			}
			if len(r.bad) != 1 || !strings.Contains(r.bad[0].Reason, c.bad) || !strings.HasPrefix(r.bad[0].Where, path) {
				t.Errorf("bad records: %+v", r.bad)
			}
		})
	}
}

func TestAvroFewerAndMoreFields(t *testing.T) {
	type other struct {
		N     int64 `avro:"n"`
		Extra string
	}
	r := run[other]{t: t, src: Avro[other](write(t, "in.avro", avroFile(t, clicks(2), 1, nil)))}
	if err := r.all(); err != nil {
		t.Fatal(err)
	}
	if want := []other{{N: 0}, {N: 1}}; !slices.Equal(r.values, want) {
		t.Errorf("got %v, bad %v", r.values, r.bad)
	}
}

func FuzzAvro(f *testing.F) {
	f.Add(avroFile(f, clicks(5), 2, nil), uint8(40))
	f.Add(avroFile(f, clicks(5), 2, ocf.SnappyCodec()), uint8(60))
	f.Add([]byte("Obj\x01\x02"), uint8(3))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, in []byte, split uint8) {
		path := filepath.Join(dir, "in")
		if err := os.WriteFile(path, in, 0o666); err != nil {
			t.Fatal(err)
		}
		once := run[click]{t: t, src: Avro[click](path)}
		if err := once.all(); err != nil {
			t.Fatal(err)
		}
		again := run[click]{t: t, src: Avro[click](path), max: 1, restart: func() bool { return true }}
		if err := again.all(); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(once.values, again.values) {
			t.Fatalf("at once %v, with restarts %v", once.values, again.values)
		}
		parts := run[click]{t: t, src: Avro[click](path, SplitSize(int64(split)+1))}
		if err := parts.all(); err != nil {
			t.Fatal(err)
		}
	})
}
