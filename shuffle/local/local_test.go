package local_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/internal/invariants"
	"github.com/weirflow/weir/shuffle"
	"github.com/weirflow/weir/shuffle/local"
	"github.com/weirflow/weir/shuffle/shuffletest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSuite(t *testing.T) {
	shuffletest.Run(t, func(t testing.TB, n int, o shuffletest.Options) (shuffle.Gate, []shuffle.Sender[shuffletest.Record]) {
		g, s := local.NewGate[shuffletest.Record](n, local.Options{Credit: o.Credit, BatchSize: o.BatchSize, Pointers: true, Hashes: o.Hashes, Rand: o.Rand})
		t.Cleanup(g.Close)
		return g, s
	})
}

type sink[T any] struct{ n int }

func (s *sink[T]) Receive(b *flow.Batch[T]) error { s.n += b.Len(); return nil }

// TestSmallBatchesCostTheirMemory: a batch that left with one record takes as much
// memory as a full one, so that a slow reader could make a fast writer fill the
// memory with nearly empty batches.
func TestSmallBatchesCostTheirMemory(t *testing.T) {
	const credit, size = 1 << 16, 1024
	g, s := local.NewGate[int64](1, local.Options{Credit: credit, BatchSize: size})
	if err := g.Attach(&sink[int64]{}); err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; s[0].Available(); n++ {
		b := s[0].Buffer()
		b.Values = append(b.Values, 1)
		if err := s[0].Send(t.Context(), b, 8); err != nil {
			t.Fatal(err)
		}
	}
	if most := credit/(size*8) + 1; n > most {
		t.Errorf("%d batches of %d bytes each wait with a credit of %d", n, size*8, credit)
	}
}

// TestRecordsWithoutSize: records of no size take credit too.
func TestRecordsWithoutSize(t *testing.T) {
	g, s := local.NewGate[struct{}](1, local.Options{Credit: 100})
	if err := g.Attach(&sink[struct{}]{}); err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; s[0].Available() && n < 1000; n++ {
		b := s[0].Buffer()
		b.Values = append(b.Values, struct{}{})
		if err := s[0].Send(t.Context(), b, 0); err != nil {
			t.Fatal(err)
		}
	}
	if n != 100 {
		t.Errorf("%d batches", n)
	}
}

func TestSendBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, s := local.NewGate[int64](1, local.Options{Credit: 10, BatchSize: 1})
		if err := g.Attach(&sink[int64]{}); err != nil {
			t.Fatal(err)
		}
		send := func(ctx context.Context) error {
			b := s[0].Buffer()
			b.Values = append(b.Values, 1)
			return s[0].Send(ctx, b, 10)
		}
		if err := send(t.Context()); err != nil {
			t.Fatal(err)
		}
		took := func(ctx context.Context, after func()) (time.Duration, error) {
			start, done := time.Now(), make(chan error, 1)
			go func() { done <- send(ctx) }()
			synctest.Wait()
			select {
			case err := <-done:
				t.Fatalf("it did not block: %v", err)
			default:
			}
			after()
			err := <-done
			return time.Since(start), err
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if d, err := took(ctx, func() {}); d != time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Error(d, err)
		}
		next := func() {
			if _, _, err := g.Next(); err != nil {
				t.Error(err)
			}
		}
		if d, err := took(t.Context(), func() { time.Sleep(time.Minute); next(); next() }); d != time.Minute || err != nil {
			t.Error(d, err)
		}
		if d, err := took(t.Context(), func() { time.Sleep(time.Minute); g.Close() }); d != time.Minute || !errors.Is(err, shuffle.ErrClosed) {
			t.Error(d, err)
		}
	})
}

// TestNothingIsAllocated: in steady state, also when batches leave nearly empty.
func TestNothingIsAllocated(t *testing.T) {
	if invariants.Race {
		t.Skip("the race detector allocates")
	}
	g, s := local.NewGate[int64](2, local.Options{})
	if err := g.Attach(&sink[int64]{}); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	allocs := testing.AllocsPerRun(100, func() {
		for _, s := range s {
			for range 3 {
				b := s.Buffer()
				for i := range 10 {
					b.Append(int64(i), flow.Time(i))
				}
				if err := s.Send(ctx, b, 80); err != nil {
					t.Fatal(err)
				}
				s.Control(flow.Watermark(3))
			}
		}
		for {
			if _, ok, err := g.Next(); !ok || err != nil {
				break
			}
		}
	})
	if allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}
