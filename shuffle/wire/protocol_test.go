package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
	"github.com/weirflow/weir/shuffle"
	"github.com/weirflow/weir/shuffle/local"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files")

type pair struct {
	Name string
	N    int64
}

func codecOf[T any](t testing.TB) *codec.Codec[T] {
	t.Helper()
	c, err := codec.For[T]()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// batchFrame is a batch as it travels.
func batchFrame(t testing.TB, z Compression, number uint32, b *flow.Batch[pair]) []byte {
	t.Helper()
	e, err := encode(codecOf[pair](t), z, 1<<20, b, 100)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Release()
	var w gather
	e.shares.Add(1)
	w.item(number, outItem{batch: e})
	defer w.release()
	return append(slices.Clone(w.heads), e.data...)
}

func controlFrame(number uint32, c flow.Control) []byte {
	var w gather
	w.item(number, outItem{control: c})
	return w.heads
}

func openFrame(t testing.TB, number uint32, id PartitionID) []byte {
	t.Helper()
	schema, err := fingerprint(codecOf[pair](t).Schema())
	if err != nil {
		t.Fatal(err)
	}
	o := id.opening(schema)
	return appendFrame(nil, header{kind: kindOpen, partition: number}, codecOf[opening](t).AppendNamed(nil, &o))
}

var one = PartitionID{Job: "job", Attempt: 3, Edge: flow.EdgeID{To: "op", Port: 1, Index: 2}, From: 4, To: 5}

// conversation is all that a producer may say.
func conversation(t testing.TB) (parts [][]byte) {
	d, err := newDialog(&Options{Job: "job", Name: "here"})
	if err != nil {
		t.Fatal(err)
	}
	long := &flow.Batch[pair]{}
	for range 100 {
		long.Append(pair{"all the same", 7}, 9)
	}
	timed := &flow.Batch[pair]{Values: []pair{{"a", 1}, {"b", -2}}, Times: []flow.Time{5, flow.MinTime}, Hashes: []flow.Hash{1, 1 << 63}}
	return [][]byte{
		append(appendPreamble(nil, Version), d.frame(kindHello, greeting{Job: "job", Name: "here"})...),
		openFrame(t, 1, one),
		batchFrame(t, None, 1, &flow.Batch[pair]{Values: []pair{{"a", 1}}}),
		batchFrame(t, None, 1, timed),
		batchFrame(t, S2, 1, long),
		controlFrame(1, flow.Watermark(-3)),
		controlFrame(1, flow.Control{Kind: flow.ControlIdle}),
		controlFrame(1, flow.BarrierControl(flow.Barrier{Epoch: 8, Kind: flow.BarrierSavepoint, Unaligned: true})),
		controlFrame(1, flow.Control{Kind: flow.ControlEnd}),
		controlFrame(1, flow.BarrierControl(flow.Barrier{Epoch: 9, Kind: flow.BarrierFinal})),
		appendFrame(nil, header{kind: kindDone, partition: 1}, nil),
	}
}

// answers is all that a consumer may say.
func answers(t testing.TB) [][]byte {
	d, err := newDialog(&Options{})
	if err != nil {
		t.Fatal(err)
	}
	return [][]byte{
		append(appendPreamble(nil, Version), d.frame(kindWelcome, greeting{Job: "job", Name: "there"})...),
		append(appendPreamble(nil, Version), d.frame(kindRefused, greeting{Name: "there", Reason: "no"})...),
		appendFrame(nil, header{kind: kindGrant, partition: 1, credit: 1 << 19}, nil),
		appendFrame(nil, header{kind: kindClosed, partition: 1}, nil),
		appendFrame(nil, header{kind: kindBad, partition: 1}, []byte("why")),
	}
}

// TestForm holds the bytes of docs/format/wire.md.
func TestForm(t *testing.T) {
	var b strings.Builder
	for _, part := range slices.Concat(conversation(t), answers(t)) {
		b.WriteString(hex.EncodeToString(part) + "\n")
	}
	name := filepath.Join("testdata", "frames.hex")
	if *rewrite {
		if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the form has changed: processes of two releases would not understand each other.\ngot\n%swant\n%s", b.String(), want)
	}
}

// notes is a receiver that keeps what it gets.
type notes struct{ got []pair }

func (n *notes) Receive(b *flow.Batch[pair]) error { n.got = append(n.got, b.Values...); return nil }

// heard plays bytes to an endpoint that has partition one attached, and returns what it
// said, why it ended, what was received, and the error of the gate.
func heard(t testing.TB, o Options, said []byte) (answer []byte, why error, got []pair, gate error) {
	t.Helper()
	e := New(o)
	defer e.Close()
	g, inlets := local.NewGate[pair](1, local.Options{Credit: 1 << 16, Pointers: true})
	defer g.Close()
	n := &notes{}
	if err := g.Attach(n); err != nil {
		t.Fatal(err)
	}
	detach, err := Attach(e, one, inlets[0], AttachOptions{Credit: 1 << 16})
	if err != nil {
		t.Fatal(err)
	}
	defer detach()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	here, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	there, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	ended, wrote := make(chan error, 1), make(chan struct{})
	go func() { ended <- e.serve(there, false) }()
	go func() {
		defer close(wrote)
		_, _ = here.Write(said) // it is cut off where something is wrong
		_ = here.(*net.TCPConn).CloseWrite()
	}()
	answer, _ = io.ReadAll(here)
	_ = here.Close()
	why = <-ended
	<-wrote
	for {
		_, ok, err := g.Next()
		if err != nil {
			return answer, why, n.got, err
		}
		if !ok {
			return answer, why, n.got, nil
		}
	}
}

// TestConversation: what a sender says is understood, and what is changed is refused.
func TestConversation(t *testing.T) {
	all := conversation(t)
	_, why, got, gate := heard(t, Options{}, bytes.Join(all, nil))
	if why != nil || gate != nil || len(got) != 103 || got[2] != (pair{"b", -2}) {
		t.Fatal(why, gate, len(got))
	}
	upTo := func(n int, more ...[]byte) []byte { return bytes.Join(append(slices.Clone(all[:n]), more...), nil) }
	changed := func(b []byte, at int) []byte { b = slices.Clone(b); b[at] ^= 1; return b }
	head := func(h header) []byte { b := make([]byte, headSize); h.put(b); return b }
	batch := func(body string, h header) []byte {
		h.kind, h.partition = kindBatch, 1
		if h.credit == 0 {
			h.credit = 1000
		}
		return appendFrame(nil, h, []byte(body))
	}
	for _, c := range []struct {
		name string
		said []byte
		want string // of the error, ErrProtocol
	}{
		{"http", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), `begins with "GET / HT"`},
		{"no hello", append(appendPreamble(nil, Version), all[1]...), "a connection begins with open"},
		{"a greeting that is none", append(appendPreamble(nil, Version), appendFrame(nil, header{kind: kindHello}, []byte("x"))...), "a greeting"},
		{"a long greeting", append(appendPreamble(nil, Version), head(header{kind: kindHello, size: maxHello + 1})...), "is larger than the limit of 8192"},
		{"a head with a wrong sum", upTo(1, changed(all[1], 3)), "the head of a frame has the CRC-32C"},
		{"a body with a wrong sum", upTo(1, changed(all[1], headSize)), "the body of a frame (open"},
		{"a frame of no kind", upTo(1, head(header{kind: 77})), "kind(77)"},
		{"a frame of a later kind", upTo(2, head(header{kind: kindControl, flags: 1})), "is the other side newer?"},
		{"too large", upTo(2, head(header{kind: kindBatch, size: 1<<20 + 1})), "of 1048577 bytes is larger than the limit of 1048576"},
		{"a long control record", upTo(2, appendFrame(nil, header{kind: kindControl, partition: 1}, make([]byte, maxHello+1))), "a control of 8193 bytes"},
		{"not open", upTo(1, all[2]), "a batch for partition 1, which is not open"},
		{"done twice", upTo(2, all[10], all[10]), "a done for partition 1, which is not open"},
		{"opened twice", upTo(2, all[1]), "partition 1 is opened after 1"},
		{"an opening that is none", upTo(1, appendFrame(nil, header{kind: kindOpen, partition: 1}, []byte{0xc1})), "opening partition 1"},
		{"credit from a producer", upTo(2, appendFrame(nil, header{kind: kindGrant, partition: 1}, nil)), "a grant comes to a consumer"},
		{"not attached", upTo(1, openFrame(t, 1, PartitionID{Job: "job", Attempt: 9}), all[2]), "a batch before there is credit"},
		{"control that is not attached", upTo(1, openFrame(t, 1, PartitionID{Job: "job", Attempt: 9}), all[5]), "a control record before there is credit"},
		{"an empty batch", upTo(2, batch("", header{})), "a batch begins with"},
		{"unknown columns", upTo(2, batch("\xf0\x90", header{})), "a batch begins with f0"},
		{"no array", upTo(2, batch("\x00\x01", header{})), "a batch: flow/codec: byte 0"},
		{"no records", upTo(2, batch("\x00\x90", header{})), "a batch of 0 records"},
		{"too many records", upTo(2, batch("\x00\xdd\xff\xff\xff\xff", header{})), "a batch: flow/codec"},
		{"a column too few", upTo(2, batch("\x01\x91\x92\xa1a\x01", header{})), "has 0 bytes behind them and not 8"},
		{"a batch for nothing", upTo(2, batch("\x00\x91\x92\xa1a\x01", header{credit: 1})), "a batch of 6 bytes takes 1 of the credit"},
		{"beyond the credit", upTo(2, batch("\x00\x91\x92\xa1a\x01", header{credit: 1 << 16}), batch("\x00\x91\x92\xa1a\x01", header{})), "goes beyond the credit of 65536 bytes, of which 65536 are used"},
		{"no compression", upTo(2, batch("\x06\x00\x00\x00\x91\x92\xa1a\x01", header{flags: 7})), "a body with compression(7)"},
		{"short compressed", upTo(2, batch("\x00", header{flags: uint8(S2)})), "a compressed body of 1 bytes"},
		{"large compressed", upTo(2, batch("\xff\xff\xff\x7f\x00", header{flags: uint8(Zstd)})), "a body of 2147483647 bytes, compressed"},
		{"lz4 bomb", upTo(2, batch("\xff\xff\x0f\x00\x00", header{flags: uint8(LZ4)})), "claims to hold 1048575"},
		{"lz4 garbage", upTo(2, batch("\x10\x00\x00\x00garbage", header{flags: uint8(LZ4)})), "compressed by lz4"},
		{"s2 garbage", upTo(2, batch("\x10\x00\x00\x00garbage", header{flags: uint8(S2)})), "compressed by s2"},
		{"zstd garbage", upTo(2, batch("\x10\x00\x00\x00garbage", header{flags: uint8(Zstd)})), "compressed by zstd"},
		{"short control", upTo(2, appendFrame(nil, header{kind: kindControl, partition: 1}, []byte{1})), "a control record of 1 bytes"},
		{"unknown control", upTo(2, controlFrame(1, flow.Control{Kind: 9})), "a control record of 09"},
		{"unknown barrier", upTo(2, controlFrame(1, flow.BarrierControl(flow.Barrier{Kind: 9}))), "a control record of 02 09"},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer, why, _, gate := heard(t, Options{MaxFrame: 1 << 20}, c.said)
			if !errors.Is(why, ErrProtocol) || !strings.Contains(why.Error(), c.want) {
				t.Errorf("ended by %v", why)
			}
			if bytes.HasPrefix(c.said, upTo(2)) && c.name != "done twice" {
				f := flow.FailureOf(gate)
				if gate == nil || f.Domain != flow.DomainExternal || !f.Retryable || !strings.Contains(gate.Error(), one.String()) {
					t.Errorf("the gate fails with %v", gate)
				}
			} else if gate != nil {
				t.Errorf("the gate fails with %v, and nobody fed it", gate)
			}
			if !bytes.HasPrefix(c.said, all[0]) && !bytes.Contains(answer, []byte(c.want)) {
				t.Errorf("it was not told why: %q", answer)
			}
		})
	}
	// Cut off anywhere, it ends in order or within a frame.
	whole := bytes.Join(all, nil)
	for n := range whole {
		_, why, _, gate := heard(t, Options{}, whole[:n])
		if why != nil && !errors.Is(why, io.EOF) && !errors.Is(why, io.ErrUnexpectedEOF) {
			t.Fatalf("cut off at %d: %v", n, why)
		}
		if opened := len(all[0]) + len(all[1]); n > opened && n < opened+len(all[2]) && gate == nil {
			t.Fatalf("cut off at %d, and the gate does not know", n)
		}
	}
}

func TestOtherVersion(t *testing.T) {
	answer, why, _, _ := heard(t, Options{}, append(appendPreamble(nil, Version+1), make([]byte, 100)...))
	if !errors.Is(why, ErrVersion) || !bytes.Contains(answer, []byte("another version: 2 and not 1")) {
		t.Error(why)
	}
}

// FuzzConsumer: whatever comes, the endpoint refuses it and goes on.
func FuzzConsumer(f *testing.F) {
	all := conversation(f)
	f.Add(bytes.Join(all, nil))
	for i := range all {
		f.Add(bytes.Join(append([][]byte{all[0]}, all[i:]...), nil))
	}
	f.Fuzz(func(t *testing.T, said []byte) { heard(t, Options{MaxFrame: 1 << 16, MaxPartitions: 8}, said) })
}

// FuzzFrames reads frames with sums that fit, so that what is behind them is reached.
func FuzzFrames(f *testing.F) {
	for _, part := range conversation(f)[1:] {
		f.Add(part[4], part[5], part[headSize:])
	}
	hello := conversation(f)[:2]
	f.Fuzz(func(t *testing.T, k, flags byte, body []byte) {
		frame := appendFrame(nil, header{kind: kind(k), flags: flags, partition: 1, credit: uint32(len(body)) + 1000}, body)
		heard(t, Options{MaxFrame: 1 << 16}, append(bytes.Join(hello, nil), frame...))
	})
}

// FuzzBody decodes bodies of batches.
func FuzzBody(f *testing.F) {
	for z := range compressions {
		b := &flow.Batch[pair]{}
		for range 100 {
			b.Append(pair{"name", 3}, 4)
		}
		e, err := encode(codecOf[pair](f), z, 1<<20, b, 0)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(z), e.data)
	}
	f.Fuzz(func(t *testing.T, z uint8, body []byte) {
		x := expander{limit: 1 << 16}
		defer x.close()
		if Compression(z) != None {
			var err error
			if body, err = x.expand(Compression(z), body); err != nil {
				return
			}
		}
		var b, again flow.Batch[pair]
		if decode(codecOf[pair](t), body, &b) != nil {
			return
		}
		e, err := encode(codecOf[pair](t), None, 1<<20, &b, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := decode(codecOf[pair](t), e.data, &again); err != nil || !slices.Equal(b.Values, again.Values) || !slices.Equal(b.Times, again.Times) {
			t.Fatal(err)
		}
	})
}

var _ shuffle.Sharer[pair] = (*Sender[pair])(nil)
var _ shuffle.Faulty = (*Sender[pair])(nil)
