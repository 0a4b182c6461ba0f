package graph

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/vmihailenco/msgpack/v5"
	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow"
)

var writeGolden = flag.Bool("write-golden", false, "write testdata/form-v1.msgpack anew: only before version 1 is released")

// goldenGraph sets every field that the serial form has.
func goldenGraph() *Graph {
	return &Graph{
		Name: "golden", MaxParallelism: 64,
		Operators: []*Operator{
			{ID: "read", UserID: true, Name: "read", Kind: KindSource, Parallelism: 2, Unbounded: true,
				Outputs: []Output{{Type: "string"}, {Name: "bad", Type: "[]byte"}},
				Attrs:   []Attr{{"path", "/data/*.csv"}, {"empty", ""}}},
			{ID: "process-count-0badcafe", Name: "count", Kind: "process", NoChain: true, Parallelism: 3,
				Inputs: []Input{{Name: "main", Type: "string", Edges: []Edge{
					{From: "read", Exchange: Exchange{Kind: Hash, Key: "string"}},
					{From: "read", Output: 1, Exchange: Exchange{Kind: Broadcast}}}}},
				Outputs: []Output{{}},
				States:  []State{{"n", "value", "string", "int64"}}},
			{ID: "write", UserID: true, Name: "write", Kind: KindSink, Guarantee: ExactlyOnce,
				Inputs: []Input{{Edges: []Edge{
					{From: "process-count-0badcafe", Exchange: Exchange{Kind: Rebalance}},
					{From: "read", Exchange: Exchange{Kind: Forward}}}}}},
		},
	}
}

// TestGoldenForm holds version 1 fast: what was written once stays readable, and
// fingerprints do not change between releases.
func TestGoldenForm(t *testing.T) {
	const path = "testdata/form-v1.msgpack"
	data, err := Marshal(goldenGraph())
	if err != nil {
		t.Fatal(err)
	}
	if *writeGolden {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(data, golden) {
		t.Errorf("the form of version 1 has changed: raise FormVersion, or take the change back\nnow    %q\ngolden %q", data, golden)
	}
	back, err := Unmarshal(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := Diff(goldenGraph(), back); len(d) > 0 {
		t.Error(d)
	}
	f, err := back.Fingerprint()
	const want = "ae3b71ddc9e88b03bcbd57c7560b18b344ea730d2c01d25440415e2f9d501b7a"
	if err != nil || f != want {
		t.Errorf("fingerprint %s (%v), want %s", f, err, want)
	}
}

// TestHandlesAreNotWritten sets the fields that must not leave the process.
func TestHandlesAreNotWritten(t *testing.T) {
	g := goldenGraph()
	plain, err := Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	g.Operators[0].Impl = func() {}
	g.Operators[0].Outputs[0].Impl = make(chan int)
	g.Operators[1].Inputs[0].Edges[0].Exchange.Impl = t
	with, err := Marshal(g)
	if err != nil || !bytes.Equal(plain, with) {
		t.Errorf("handles change the form (%v)", err)
	}
}

func TestUnmarshalRefuses(t *testing.T) {
	pack := func(v any) []byte {
		data, err := msgpack.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	type m = map[string]any
	edge := func(x any) []byte {
		return pack(m{"version": 1, "graph": m{"operators": []any{m{"id": "a", "inputs": []any{m{"edges": []any{m{"from": "b", "exchange": x}}}}}}}})
	}
	twice := append([]byte{0x82}, bytes.Repeat(append([]byte{0xa7}, "version\x01"...), 2)...)
	for _, c := range []struct {
		name string
		data []byte
		want string // "" if it is to be read
	}{
		{"nothing", nil, "ends in the middle"},
		{"an unknown field", pack(m{"version": 1, "graph": m{"name": "x", "new": []int{1}}, "newer": m{"a": nil}}), ""},
		{"a newer version", pack(m{"version": 2, "graph": m{"operators": "in another way"}}), "version 2, and this release reads 1 to 1"},
		{"no version", pack(m{"graph": m{}}), "version 0"},
		{"no graph", pack(m{"version": 1}), "field graph is missing"},
		{"nil operator", pack(m{"version": 1, "graph": m{"operators": []any{nil}}}), "operator number 1 is nil"},
		{"wrong type", pack(m{"version": 1, "graph": m{"operators": 7}}), "not a serialised graph"},
		{"unknown exchange", edge(m{"kind": "teleport"}), `exchange kind "teleport" is unknown`},
		{"no exchange kind", edge(m{"key": "x"}), `exchange kind "" is unknown`},
		{"no exchange", edge(nil), `exchange kind "" is unknown`},
		{"known exchange", edge(m{"kind": "hash"}), ""},
		{"something behind", append(pack(m{"version": 1, "graph": m{}}), 0), "1 bytes follow"},
		{"a field twice", twice, `field "version" occurs twice`},
		{"a field that is no string", []byte{0x81, 0x01, 0x01}, "is not a string"},
		{"depth", bytes.Repeat([]byte{0x91}, 1<<20), "deeper than 32"},
		{"huge array", []byte{0xdd, 0xff, 0xff, 0xff, 0xff}, "ends in the middle"},
		{"huge text", []byte{0xdb, 0x00, 0xff, 0xff, 0xff, 'a'}, "ends in the middle"},
		{"many values", append([]byte{0xdd, 0, 0x20, 0, 0}, make([]byte, 0x200000)...), "more than 1048576 values"},
		{"a code that does not exist", []byte{0xc1}, "does not exist"},
		{"too large", make([]byte, MaxFormBytes+1), "above the limit"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Unmarshal(c.data)
			switch {
			case c.want == "":
				if err != nil {
					t.Fatal(err)
				}
			case err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, ErrForm):
				t.Fatalf("error %v does not say %q, or is not ErrForm", err, c.want)
			}
		})
	}
}

func TestMarshalRefuses(t *testing.T) {
	for want, g := range map[string]*Graph{
		"the graph is nil":      nil,
		"operator number 2 is":  {Operators: []*Operator{{}, nil}},
		"exchange kind 9":       {Operators: []*Operator{{Inputs: []Input{{Edges: []Edge{{Exchange: Exchange{Kind: 9}}}}}}}},
		"too large to be read ": {Name: strings.Repeat("x", MaxFormBytes)},
	} {
		if _, err := Marshal(g); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
}

// TestMessagesStayInProportion: many problems, with long names.
func TestMessagesStayInProportion(t *testing.T) {
	g := &Graph{Operators: []*Operator{{ID: "s", Kind: KindSource, Name: strings.Repeat("x", 1<<20)}}}
	for i := range 5000 {
		g.Operators = append(g.Operators, &Operator{ID: flow.OperatorID(fmt.Sprint(i)), Kind: "map",
			Inputs: []Input{{Edges: []Edge{{From: "s"}}}}})
	}
	err := g.Validate()
	if n := len(Problems(err)); n != maxProblems+1 {
		t.Errorf("%d problems", n)
	}
	if n := len(err.Error()); n > 1<<20 {
		t.Errorf("a message of %d bytes", n)
	}
}

// TestLongGraph: no step may be quadratic or run out of stack.
func TestLongGraph(t *testing.T) {
	const n = 5000
	g := &Graph{Name: "long"}
	for i := range n {
		o := &Operator{ID: flow.OperatorID(fmt.Sprintf("~%d", i)), Kind: "map", Name: "m", Outputs: []Output{{}}}
		if i > 0 {
			o.Inputs = []Input{{Edges: []Edge{{From: flow.OperatorID(fmt.Sprintf("~%d", i-1))}}}}
		}
		g.Operators = append(g.Operators, o)
	}
	g.Operators[0].Kind, g.Operators[n-1].Kind = KindSource, KindSink
	exercise(t, g)
	// The ends joined: one cycle of all.
	g.Operators[0].Kind = "map"
	g.Operators[0].Inputs = []Input{{Edges: []Edge{{From: g.Operators[n-1].ID}}}}
	var e *Error
	if err := g.Validate(); !errors.As(err, &e) {
		t.Fatal(err)
	}
}

// TestUnmarshalOfDamagedForm changes some bytes of a good form. Fuzzing alone
// seldom gets past the version.
func TestUnmarshalOfDamagedForm(t *testing.T) {
	golden, err := Marshal(goldenGraph())
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	rapid.Check(t, func(t *rapid.T) {
		data := bytes.Clone(golden)
		for range rapid.IntRange(1, 3).Draw(t, "changes") {
			at := rapid.IntRange(0, len(data)-1).Draw(t, "at")
			data[at] = rapid.SampledFrom([]byte{0, 1, 0x7f, 0x80, 0x81, 0x90, 0x91, 0xa0, 0xa1, 0xc0, 0xc3, 0xc4, 0xc7, 0xcb, 0xcf, 0xd4, 0xff, 'x'}).Draw(t, "byte")
		}
		checkUnmarshal(t, data, &read)
	})
	t.Logf("%d damaged forms could be read", read)
}

func FuzzUnmarshal(f *testing.F) {
	if data, err := Marshal(goldenGraph()); err == nil {
		f.Add(data)
	}
	g := goldenGraph()
	g.Operators[1].Parallelism = 2
	g.Operators[2].Inputs[0].Edges = g.Operators[2].Inputs[0].Edges[:1]
	if data, err := Marshal(g); err == nil {
		f.Add(data)
	}
	f.Add([]byte{0x82, 0xa7, 'v', 'e', 'r', 's', 'i', 'o', 'n', 1, 0xa5, 'g', 'r', 'a', 'p', 'h', 0x80})
	f.Fuzz(func(t *testing.T, data []byte) {
		var read int
		checkUnmarshal(t, data, &read)
	})
}

// checkUnmarshal: an error, or a graph that can be written, read again, and used.
func checkUnmarshal(t fataler, data []byte, read *int) {
	t.Helper()
	g, err := Unmarshal(data)
	if err != nil {
		if !errors.Is(err, ErrForm) {
			t.Fatalf("not ErrForm: %v", err)
		}
		return
	}
	*read++
	form, err := Marshal(g)
	if err != nil {
		t.Fatalf("what was read can't be written: %v", err)
	}
	again, err := Unmarshal(form)
	if err != nil {
		t.Fatalf("what was written can't be read: %v", err)
	}
	if form2, err := Marshal(again); err != nil || !bytes.Equal(form, form2) {
		t.Fatalf("the second form differs (%v)\n%q\n%q", err, form, form2)
	}
	exercise(t, g)
}
