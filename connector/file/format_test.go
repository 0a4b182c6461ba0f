package file

import (
	"fmt"
	"testing"

	"github.com/vmihailenco/msgpack/v5"
)

// TestFormat pins what docs/format/file.md describes: checkpoints are made of it.
func TestFormat(t *testing.T) {
	d := splitData{Path: "a", Start: 1, End: 2, Size: 3, ModTime: 4, Work: 5,
		At: position{Started: true, Offset: 6, Row: 7, Lost: true, Line: 8, Read: 9}}
	p := prepared{ID: "x", Subtask: 1, Attempt: 3, Parts: []readyPart{{Temp: "t", Final: "f", Size: 4, Sum: 5, Records: 6}}}
	l := listing{Listed: true, Files: []listedFile{{Path: "a", Size: 1, ModTime: 2}}}
	for _, c := range []struct {
		v    any
		want string
	}{
		{&d, "map[at:map[line:8 lost:true offset:6 read:9 row:7 started:true] end:2 mtime:4 path:a size:3 start:1 work:5]"},
		{&p, "map[attempt:3 id:x parts:[map[final:f records:6 size:4 temp:t xxh3:5]] subtask:1]"},
		{&l, "map[files:[[a 1 2]] listed:true]"},
	} {
		b, err := msgpack.Marshal(c.v)
		ok(t, err)
		var m map[string]any
		ok(t, msgpack.Unmarshal(b, &m))
		if got := fmt.Sprint(m); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}
