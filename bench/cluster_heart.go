package bench

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/weirflow/weir/bench/floor"
	"github.com/weirflow/weir/connector/datagen"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/sdk"
)

// buildClusterHeart is a keyed sum whose sink only notes when there were results.
func buildClusterHeart(p *sdk.Pipeline, o *programOptions) error {
	src := datagen.New(func(i int64) floor.Event {
		return floor.Event{Key: uint64(i % o.Keys), Value: 1, Time: i}
	}, datagen.Rate(o.Rate))
	byKey := sdk.KeyBy(sdk.Read(p, src), func(e floor.Event) uint64 { return e.Key })
	if o.Value == 0 {
		sdk.Write(sdk.Aggregate(byKey, sdk.Sum(func(e floor.Event) int64 { return e.Value })), heartSink(o.Out))
		return nil
	}
	noise := make([]byte, 16<<20)
	seeded := rand.NewChaCha8([32]byte{1})
	_, _ = seeded.Read(noise) // never fails
	if o.Value > len(noise)/2 {
		return fmt.Errorf("--value %d: at most %d bytes are possible", o.Value, len(noise)/2)
	}
	sdk.Write(sdk.Aggregate(byKey, sdk.Aggregator[floor.Event, blob, int64]{
		Add: func(acc *blob, e floor.Event) {
			if acc.Bytes == "" {
				at := datagen.Hash(1, int64(e.Key)) % uint64(len(noise)-o.Value)
				acc.Bytes = string(noise[at : at+uint64(o.Value)])
			}
			acc.Sum += e.Value
		},
		Merge:  func(into, from *blob) { into.Sum += from.Sum },
		Result: func(acc *blob) int64 { return acc.Sum },
	}), heartSink(o.Out))
	return nil
}

// heartSink is a directory to which writers put the time of results: a line for each
// millisecond in which there was one, written at once, so that a process which is killed loses
// none.
type heartSink string

// beatEvery is the resolution of a heart.
const beatEvery = time.Millisecond

func (heartSink) Info() operator.SinkInfo { return operator.SinkInfo{Kind: "heart"} }

func (heartSink) Committer(*operator.CommitterContext) (operator.Committer, error) { return nil, nil }

func (h heartSink) Writer(c *operator.WriterContext) (operator.Writer[sdk.KeyValue[uint64, int64]], error) {
	name := fmt.Sprintf("%d-%d-%d.beats", c.Attempt, c.Subtask, os.Getpid())
	f, err := os.OpenFile(filepath.Join(string(h), name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("writing the times of results: %w", err)
	}
	return &heartWriter{f: f}, nil
}

type heartWriter struct {
	f    *os.File
	last time.Time
}

func (w *heartWriter) Write(b *flow.Batch[sdk.KeyValue[uint64, int64]]) error {
	now := time.Now()
	if len(b.Values) == 0 || now.Sub(w.last) < beatEvery {
		return nil
	}
	w.last = now
	_, err := fmt.Fprintln(w.f, now.UnixMicro())
	return err
}

func (*heartWriter) Idle() error                          { return nil }
func (*heartWriter) Prepare(flow.Barrier) ([]byte, error) { return nil, nil }
func (*heartWriter) Tick(flow.Time) error                 { return nil }
func (w *heartWriter) Close() error                       { return w.f.Close() }
