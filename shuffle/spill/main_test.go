package spill

import (
	"context"
	"flag"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/shuffle"
	"github.com/weirflow/weir/shuffle/local"
)

var rewriteForms = flag.Bool("rewrite-forms", false, "write golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type order struct {
	From, Seq int
	Tags      []string
	Key       int64
}

func idOf(producer int, attempt flow.Attempt) ID {
	return ID{Job: "job-1", Exchange: flow.EdgeID{To: "sum", Port: 0, Index: 0}, Producer: producer, Attempt: attempt}
}

func hashOf(key int64) flow.Hash { return flow.Hash(uint64(key+1) * 0x9e3779b97f4a7c15) }

func hashes(vals []order, dst []flow.Hash) []flow.Hash {
	for _, v := range vals {
		dst = append(dst, hashOf(v.Key))
	}
	return dst
}

func openStore(t testing.TB, fs vfs.FS, opt StoreOptions) *Store {
	t.Helper()
	s, err := Open(fs, "spill", opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// write writes n orders as one producing task does.
func write(fs vfs.FS, host Host, id ID, opt Options, n, batch int) (s Summary, counts []shuffle.Count, err error) {
	o, err := NewOutput[order](fs, host, id, opt)
	if err != nil {
		return s, nil, err
	}
	defer o.Abort()
	summer, err := shuffle.NewSummer[order]()
	if err != nil {
		return s, nil, err
	}
	ro := shuffle.RouterOptions[order]{BatchSize: batch, Summer: summer}
	w := shuffle.NewHash(context.Background(), o.Senders(), flow.DefaultMaxParallelism, hashes, ro)
	for seq := 0; seq < n; {
		var b flow.Batch[order]
		for range min(17, n-seq) {
			v := order{From: id.Producer, Seq: seq, Key: int64(seq*7) % 1000}
			if seq%3 == 0 {
				v.Tags = []string{"tag", fmt.Sprint(seq)}
			}
			// Some batches have times and some have not.
			if seq/51%2 == 0 {
				b.Append(v, flow.Time(seq))
			} else {
				b.Append(v, flow.MinTime)
			}
			seq++
			if seq%51 == 0 {
				break
			}
		}
		if err := w.Receive(&b); err != nil {
			return s, nil, err
		}
	}
	for _, c := range []flow.Control{flow.Watermark(5), {Kind: flow.ControlIdle}, flow.BarrierControl(flow.Barrier{Epoch: 1}), {Kind: flow.ControlEnd}} {
		if err := w.Control(c); err != nil {
			return s, nil, err
		}
	}
	s, err = o.Finish()
	return s, w.Counts(nil), err
}

// consumer reads a gate.
type consumer struct {
	t    testing.TB
	got  []order
	last map[[2]int]int // producer and sub-partition → newest seq
	n    int            // sub-partitions
}

func (c *consumer) Receive(b *flow.Batch[order]) error {
	for i, v := range b.Values {
		part := flow.SubtaskOf(flow.KeyGroupOf(hashOf(v.Key), flow.DefaultMaxParallelism), flow.DefaultMaxParallelism, c.n)
		at := [2]int{v.From, part}
		if last, ok := c.last[at]; ok && last >= v.Seq {
			c.t.Errorf("record %d behind %d of producer %d in sub-partition %d", v.Seq, last, v.From, part)
		}
		c.last[at] = v.Seq
		if want := flow.Time(v.Seq); b.Hashes[i] != hashOf(v.Key) || v.Seq/51%2 == 0 && b.Time(i) != want || v.Seq/51%2 == 1 && b.Time(i) != flow.MinTime {
			c.t.Errorf("%+v at %v with hash %d", v, b.Time(i), b.Hashes[i])
		}
		if tags := v.Seq%3 == 0; tags != (len(v.Tags) == 2) || tags && v.Tags[1] != fmt.Sprint(v.Seq) {
			c.t.Errorf("%+v", v)
		}
		c.got = append(c.got, v)
	}
	return nil
}

// read reads a range of outputs through a gate, to its end or the reader's error.
func read(t testing.TB, from Opener, ids []ID, r Range, parts int, credit int) ([]order, []shuffle.Count, error) {
	t.Helper()
	rd, err := NewReader[order](from, ids, r, ReaderOptions{Gate: local.Options{Credit: credit, Hashes: true}})
	if err != nil {
		t.Fatal(err)
	}
	g := rd.Gate()
	defer g.Close()
	c := &consumer{t: t, n: parts, last: map[[2]int]int{}}
	if err := g.Attach(c); err != nil {
		t.Fatal(err)
	}
	wake, done := make(chan struct{}, 1), make(chan error, 1)
	g.Notify(func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { done <- rd.Run(ctx, flow.Barrier{Epoch: 9, Kind: flow.BarrierFinal}) }()
	line := make([]int, len(ids))
	for barriers := 0; barriers < len(ids); {
		e, ok, err := g.Next()
		switch {
		case err != nil:
			t.Fatal(err)
		case !ok:
			select {
			case <-wake:
			case err := <-done:
				if err != nil {
					return c.got, nil, err
				}
				done <- nil
				select {
				case wake <- struct{}{}:
				default:
				}
			}
		case e.Records > 0 && line[e.Channel] > 0:
			t.Fatal("records behind the end")
		case e.Records == 0:
			want := []flow.Control{flow.Watermark(flow.MaxTime), {Kind: flow.ControlEnd}, flow.BarrierControl(flow.Barrier{Epoch: 9, Kind: flow.BarrierFinal})}
			if e.Control != want[line[e.Channel]] {
				t.Fatalf("%v, want %v", e.Control, want[line[e.Channel]])
			}
			if line[e.Channel]++; line[e.Channel] == 3 {
				barriers++
			}
		}
	}
	if err := <-done; err != nil {
		return c.got, nil, err
	}
	return c.got, g.Counts(nil), nil
}
