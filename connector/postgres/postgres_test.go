package postgres

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/graph"
)

type base struct{ At time.Time }

type row struct {
	base
	UserID   int64 `pg:"id"`
	HTTPPort int
	Secret   string `pg:"-"`
	Name     *string
	hidden   int
}

func TestFields(t *testing.T) {
	_ = row{hidden: 1}.hidden
	fields, err := fieldsOf[row]()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range fields {
		got = append(got, f.column)
	}
	if fmt.Sprint(got) != "[at id http_port name]" {
		t.Error(got)
	}
	for in, want := range map[string]string{"ID": "id", "UserID": "user_id", "HTTPPort": "http_port", "A": "a", "aB": "a_b", "X1Y": "x1_y"} {
		if got := snake(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestRefuses(t *testing.T) {
	const url = "postgres://u:geheim@127.0.0.1:1/d"
	type twice struct {
		A int
		B int `pg:"a"`
	}
	for _, c := range []struct {
		err  error
		want string
	}{
		{Sink[int](url, "t").(*sink[int]).err, "int is not one"},
		{Sink[struct{}](url, "t").(*sink[struct{}]).err, "no exported field"},
		{Sink[twice](url, "t").(*sink[twice]).err, `are both the column "a"`},
		{Sink[row](url, "a.b.c").(*sink[row]).err, `"schema.table"`},
		{Sink[row](url, "").(*sink[row]).err, `"schema.table"`},
		{Sink[row](url, "t", Key()).(*sink[row]).err, "names no column"},
		{Sink[row](url, "t", Key("nix")).(*sink[row]).err, `"nix"`},
		{Sink[row]("postgres://u:geheim@h:port/d", "t").(*sink[row]).err, "URL"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) || strings.Contains(c.err.Error(), "geheim") {
			t.Errorf("got %v, want %q", c.err, c.want)
		}
	}
	info := Sink[row](url, "s.t", Key("id")).Info()
	if info.Guarantee != graph.ExactlyOnce || strings.Contains(fmt.Sprint(info), "geheim") {
		t.Errorf("%+v", info)
	}
}

// TestFormat pins what docs/format/postgres.md describes.
func TestFormat(t *testing.T) {
	p := prepared{Job: "j", Operator: "o", Attempt: 1, Subtask: 2, Columns: []string{"a"}, Files: []rowFile{{checkpoint.File{Name: "n", Blob: "b", Size: 3, CRC: 4}, 5}}}
	b, err := msgpack.Marshal(&p)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := msgpack.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(m), "map[attempt:1 columns:[a] files:[map[file:map[blob:b crc:4 name:n size:3] rows:5]] job:j operator:o subtask:2]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{0x80})
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = decode(b) })
}
