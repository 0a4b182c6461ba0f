package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/weirflow/weir/flow"
)

var rewriteForms = flag.Bool("rewrite-forms", false, "write the golden files of stored forms anew")

// fullManifest has every field set.
func fullManifest() *Manifest {
	file := func(n string) File { return File{n, "jobs/j/blobs/00000002/0000000005-c-0-a-1-" + n, 4096, 0xdeadbeef} }
	inFlight := file("inflight")
	entry := Entry{AccountSent, "count", 1, 2, 3, 4, 1 << 40, Sum{1<<63 + 5, 7}}
	return &Manifest{
		Job: "orders", Attempt: 2, Epoch: 5, Kind: uint8(flow.BarrierSavepoint), Created: 1_763_740_800_000_000,
		Engine: "0.2.0", MaxParallelism: 128, Graph: []byte{0x81, 0xa1, 'g', 1},
		Tasks: []TaskSnapshot{{
			Chain: "count", Subtask: 1, Parallelism: 2, First: 64, End: 128,
			Keyed: &Keyed{Form: 2, Files: []File{file("000007.sst")}, States: []StateRef{{"count", "sum", 1, []byte(`{"kind":1}`)}}},
			Operators: []OperatorState{
				{"source", "splits", Splits, [][]byte{{1}, {}, {2, 3}}},
				{"op", "list", Union, [][]byte{{4}}},
			},
			Channels: []Channel{{"count", 0, 1, 2, 3, 10, 100, 200}},
			InFlight: &inFlight, Books: []Entry{entry}, Took: 1500, Pause: 20, Bytes: 8192,
		}},
		Sources:      []SourceSnapshot{{"source", []byte{9}, true, [][]byte{{1, 2}}, []string{"a", "b"}}},
		Committables: []Committable{{"sink", 1, 5, []byte("rename"), []File{file("part-0")}, 42}},
		Totals:       []Entry{entry},
	}
}

func fullRestore() *TaskRestore {
	m := fullManifest()
	t := m.Tasks[0]
	return &TaskRestore{Epoch: 5, Keyed: []KeyedRestore{{64, 128, *t.Keyed, []string{"count"}}},
		Operators: t.Operators, Channels: []InFlight{{t.Channels[0], *t.InFlight, true}}}
}

// forms are the three stored forms, as what this test needs of them.
func forms() map[string]struct {
	append func() []byte
	decode func([]byte) (any, error)
	again  func(any) []byte
	full   any
} {
	m, r := fullManifest(), fullRestore()
	type form = struct {
		append func() []byte
		decode func([]byte) (any, error)
		again  func(any) []byte
		full   any
	}
	return map[string]form{
		"manifest-v1": {func() []byte { return AppendManifest(nil, m) },
			func(b []byte) (any, error) { return DecodeManifest(b) }, func(v any) []byte { return AppendManifest(nil, v.(*Manifest)) }, m},
		"task-snapshot-v1": {func() []byte { return AppendTaskSnapshot(nil, &m.Tasks[0]) },
			func(b []byte) (any, error) { return DecodeTaskSnapshot(b) }, func(v any) []byte { return AppendTaskSnapshot(nil, v.(*TaskSnapshot)) }, &m.Tasks[0]},
		"task-restore-v1": {func() []byte { return AppendTaskRestore(nil, r) },
			func(b []byte) (any, error) { return DecodeTaskRestore(b) }, func(v any) []byte { return AppendTaskRestore(nil, v.(*TaskRestore)) }, r},
	}
}

// TestStoredForms holds the bytes fast, that they are read back, and that any
// msgpack reader can read them.
func TestStoredForms(t *testing.T) {
	t.Parallel()
	for name, f := range forms() {
		b := f.append()
		path := filepath.Join("testdata", "form", name+".bin")
		if *rewriteForms {
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, b, 0o666)); err != nil {
				t.Fatal(err)
			}
		}
		golden, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, golden) {
			t.Errorf("%s: the stored form has changed; older checkpoints could not be read by others", name)
		}
		got, err := f.decode(golden)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d := cmp.Diff(f.full, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		var any map[string]any
		if err := msgpack.Unmarshal(golden[frameHead:len(golden)-frameTail], &any); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDamage changes, cuts and lengthens forms at every place: nothing of them is read.
func TestDamage(t *testing.T) {
	t.Parallel()
	for name, f := range forms() {
		b := f.append()
		for i := range b {
			bad := bytes.Clone(b)
			bad[i] ^= 1 << (i % 8)
			for what, bad := range map[string][]byte{"changed": bad, "cut": b[:i], "longer": append(bytes.Clone(b), b[:i+1]...)} {
				if _, err := f.decode(bad); !errors.Is(err, ErrCorrupt) {
					t.Fatalf("%s %s at %d: %v", name, what, i, err)
				}
			}
		}
	}
}

func sealed(body []byte) []byte {
	return binary.LittleEndian.AppendUint32(body, crc32.Checksum(body, castagnoli))
}

func TestOtherVersions(t *testing.T) {
	t.Parallel()
	b := AppendManifest(nil, fullManifest())
	b[4] = 2
	if _, err := DecodeManifest(sealed(b[:len(b)-4])); !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), "version 2") {
		t.Error(err)
	}
	// A field that this release does not know is passed over, one that is missing is zero.
	body, err := msgpack.Marshal(map[string]any{"job": "orders", "epoch": 7, "weather": []int{1, 2}})
	if err != nil {
		t.Fatal(err)
	}
	m, err := DecodeManifest(sealed(append([]byte("WRCM\x01"), body...)))
	if err != nil || m.Job != "orders" || m.Epoch != 7 || m.Tasks != nil {
		t.Error(m, err)
	}
	if _, err := DecodeTaskSnapshot(AppendManifest(nil, fullManifest())); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
}

// FuzzDecodeForms gives the decoders bytes with a right sum, so that they get past it.
func FuzzDecodeForms(f *testing.F) {
	for _, form := range forms() {
		b := form.append()
		f.Add(b[:len(b)-4])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		b := sealed(bytes.Clone(body))
		for name, form := range forms() {
			v, err := form.decode(b)
			if err != nil {
				if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
					t.Fatalf("%s: %v", name, err)
				}
				continue
			}
			again, err := form.decode(form.again(v))
			if err != nil {
				t.Fatalf("%s: what was read cannot be read again: %v", name, err)
			}
			if d := cmp.Diff(v, again); d != "" {
				t.Fatalf("%s: %s", name, d)
			}
		}
	})
}
