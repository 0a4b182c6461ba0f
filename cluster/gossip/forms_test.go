package gossip

import (
	"context"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir/api"
)

var full = Meta{
	Node: api.Node{ID: "n1", Name: "one", Zone: "z", Server: true, Slots: 8, RPC: "10.0.0.1:7400", HTTP: "10.0.0.1:7403",
		Version: "1.2.0", Tags: map[string]string{"b": "2", "a": "1 &"}},
	Raft: "10.0.0.1:7402", Expect: 3, Started: true, Instance: 7,
}

// form is what release 1 sends for full: docs/format/gossip.md.
const form = "8ca16ea36f6e65a17aa17aa173c3a16c08a172ad31302e302e302e313a37343030a168ad31302e302e302e313a37343033" +
	"a176a5312e322e30a174ab613d312b2532362662" + "3d32a161ad31302e302e302e313a37343032a16503a162c3a169ce00000007"

func TestForm(t *testing.T) {
	data, err := full.encode()
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(data); got != form {
		t.Errorf("the form has changed:\n%s\nwas\n%s", got, form)
	}
	stored, err := hex.DecodeString(form)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeMeta("n1", stored)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(full, got); diff != "" {
		t.Error(diff)
	}
	// What a later release adds is passed over.
	more := append([]byte{stored[0] + 1}, stored[1:]...)
	if _, err := decodeMeta("n1", append(more, 0xa1, 'q', 0x92, 1, 2)); err != nil {
		t.Error(err)
	}
}

// TestGoodbyes: they are read as they are written; the rest is passed over.
func TestGoodbyes(t *testing.T) {
	list := []goodbye{{"n1", 7}, {"n2", 0xffffffff}}
	data := writeGoodbyes(list)
	if string(data) != "left 00000007 n1\nleft ffffffff n2\n" {
		t.Fatalf("the form has changed: %q", data)
	}
	data = append([]byte("later 1 x\nleft 1\nleft zz n\nleft 1 "+strings.Repeat("n", 200)+"\n\xff\n"), data...)
	if got := readGoodbyes(data); !slices.Equal(got, list) {
		t.Fatal(got)
	}
	if got := readGoodbyes([]byte(strings.Repeat("left 1 n\n", 1000))); len(got) != maxGoodbyes {
		t.Fatal(len(got))
	}
}

func FuzzGoodbyes(f *testing.F) {
	f.Add(writeGoodbyes([]goodbye{{"n1", 7}, {"n2", 8}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		list := readGoodbyes(data)
		if got := readGoodbyes(writeGoodbyes(list)); !slices.Equal(got, list) {
			t.Fatal(list, got)
		}
	})
}

func FuzzMeta(f *testing.F) {
	data, err := full.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decodeMeta("n1", data)
		if err != nil {
			if !errors.Is(err, ErrMeta) {
				t.Fatal(err)
			}
			return
		}
		if again, err := m.encode(); err == nil {
			if _, err := decodeMeta("n1", again); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// names is a DNS of two names.
type names struct{}

func (names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	switch host {
	case "weir.test":
		return []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("::ffff:10.0.0.2"), netip.MustParseAddr("fd00::3")}, nil
	case "one.test":
		return []netip.Addr{netip.MustParseAddr("10.0.0.9")}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host}
}

func (names) LookupSRV(_ context.Context, _, _, name string) (string, []*net.SRV, error) {
	if name != "_weir._tcp.test" {
		return "", nil, &net.DNSError{Err: "no such host", Name: name}
	}
	return "", []*net.SRV{{Target: "one.test.", Port: 7}, {Target: "gone.test.", Port: 8}}, nil
}

func TestSeeds(t *testing.T) {
	file := filepath.Join(t.TempDir(), "seeds")
	for _, c := range []struct {
		seeds string
		file  string
		want  string
		err   string
	}{
		{seeds: "10.1.1.1 10.1.1.2:99 [fd00::1]:5 fd00::2 10.1.1.1:7401", want: "10.1.1.1:7401 10.1.1.2:99 [fd00::1]:5 [fd00::2]:7401"},
		{seeds: "weir.test", want: "10.0.0.1:7401 10.0.0.2:7401 [fd00::3]:7401"},
		{seeds: "weir.test:1 gone.test 10.0.0.1:1", want: "10.0.0.1:1 10.0.0.2:1 [fd00::3]:1", err: "gone.test"},
		{seeds: "srv:_weir._tcp.test", want: "10.0.0.9:7", err: "gone.test"},
		{seeds: "file:", file: "# servers\n10.2.2.2 # one\n\none.test:3\n", want: "10.2.2.2:7401 10.0.0.9:3"},
		{seeds: "file:", file: "file:/etc/passwd", err: "names another file"},
		{seeds: "file:/no/such/file 10.1.1.1", want: "10.1.1.1:7401", err: "/no/such/file"},
		{seeds: "10.1.1.1:99999 host:x http://x", err: "no port"},
	} {
		if err := os.WriteFile(file, []byte(c.file), 0o600); err != nil {
			t.Fatal(err)
		}
		list := strings.Fields(c.seeds)
		if c.file != "" {
			list = []string{"file:" + file}
		}
		got, err := resolveSeeds(t.Context(), list, 7401, names{})
		if strings.Join(got, " ") != c.want || (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %q, %v", c.seeds, got, err)
		}
	}
	many := slices.Repeat([]string{"10.0.0.1"}, 5)
	for i := range 200 {
		many = append(many, netip.AddrFrom4([4]byte{10, 1, 1, byte(i)}).String())
	}
	if got, err := resolveSeeds(t.Context(), many, 1, names{}); err != nil || len(got) != maxSeeds {
		t.Error(len(got), err)
	}
}
