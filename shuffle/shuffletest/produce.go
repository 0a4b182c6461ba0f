package shuffletest

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/shuffle"
)

func source(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

// produce writes epochs of batches, watermarks and idleness in random turns, and
// then the end. Half of the time it waits for credit as a task does, half of the
// time it lets Send wait.
func produce(ctx context.Context, t *testing.T, s shuffle.Sender[Record], from, epochs, most int, o Options, rng *rand.Rand) line {
	l := line{watermark: flow.MinTime}
	wake := make(chan struct{}, 1)
	s.Notify(func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	for e := range epochs {
		for range rng.IntN(most) {
			switch rng.IntN(6) {
			case 0:
				if l.seq > 0 {
					l.watermark = max(l.watermark, flow.Time(rng.IntN(l.seq)))
					s.Control(flow.Watermark(l.watermark))
				}
			case 1:
				s.Control(flow.Control{Kind: flow.ControlIdle})
			default:
				for rng.IntN(2) == 0 && !s.Available() {
					select {
					case <-wake:
					case <-ctx.Done():
						t.Errorf("producer %d was not told of its credit", from)
						return l
					}
				}
				b := s.Buffer()
				// No record may be before the watermark: numbers are times.
				for range 1 + rng.IntN(o.BatchSize) {
					b.Append(Record{From: from, Seq: l.seq, Text: "record"}, flow.Time(l.seq))
					l.seq++
				}
				if err := s.Send(ctx, b, 100*b.Len()); err != nil {
					t.Errorf("producer %d at %+v: %v", from, l, err)
					return l
				}
			}
		}
		l.barriers++
		s.Control(flow.BarrierControl(flow.Barrier{Epoch: flow.Epoch(e + 1)}))
	}
	l.ended = true
	s.Control(flow.Control{Kind: flow.ControlEnd})
	return l
}
