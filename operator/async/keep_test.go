package async

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/state"
)

// What is inside at a barrier is kept, in the order in which it came, and asked about
// again after a restore, before anything else and before the watermark.
func TestInsideIsKept(t *testing.T) {
	for _, ordered := range []bool{true, false} {
		t.Run(fmt.Sprintf("ordered=%t", ordered), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				opt := Options{Ordered: ordered, Capacity: 2}
				d := newDrive[int, string](t, NewMap(after, opt))
				if kept := d.epoch(); kept != nil {
					t.Errorf("nothing is inside, and %v is kept", kept)
				}
				if err := d.try([]flow.Time{7, 8}, 50, 20); err != nil {
					t.Fatal(err)
				}
				d.watermark(8)
				start := time.Now()
				kept := d.epoch()
				if time.Since(start) != 0 {
					t.Errorf("the barrier waited %v", time.Since(start))
				}
				if len(kept) != 1 || kept[0].Mode != checkpoint.Split || len(kept[0].Items) != 2 {
					t.Fatalf("kept %+v", kept)
				}
				d.settle()
				if kept := d.epoch(); kept != nil {
					t.Errorf("all has left, and %v is kept", kept)
				}
				d.close()

				d = newDrive[int, string](t, NewMap(after, opt))
				if err := d.op.(operator.Keeper).Restore(kept); err != nil {
					t.Fatal(err)
				}
				if !d.op.(operator.Holder).Holding() {
					t.Error("what was restored is not held")
				}
				d.watermark(5)
				if kept := d.epoch(); len(kept) != 1 || len(kept[0].Items) != 2 {
					t.Errorf("kept %+v", kept)
				}
				if err := d.try([]flow.Time{9}, 1); err != nil {
					t.Fatal(err)
				}
				d.settle()
				if ordered {
					d.want("r50@7 r20@8 w5 r1@9")
				} else {
					d.want("r20@8 r50@7 w5 r1@9")
				}
				if n := d.ctx.Metrics.RecordsIn.Load(); n != 1 {
					t.Errorf("%d records came in", n)
				}
				d.close()
			})
		})
	}
}

// The first call after a restore may be any.
func TestRestoredRecordsComeFirst(t *testing.T) {
	kept := func(t *testing.T) []checkpoint.OperatorState {
		d := newDrive[int, string](t, NewMap(after, Options{}))
		d.send(10)
		defer d.close()
		return d.epoch()
	}
	for name, first := range map[string]func(d *drive[int, string]) error{
		"time":    func(d *drive[int, string]) error { return d.op.ProcessingTime(1) },
		"records": func(d *drive[int, string]) error { return d.try(nil, 3) },
		"end":     func(d *drive[int, string]) error { return d.op.EndInput(0) },
		"barrier": func(d *drive[int, string]) error { _, err := d.op.Barrier(flow.Barrier{}); return err },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDrive[int, string](t, NewMap(after, Options{Ordered: true}))
				if err := d.op.(operator.Keeper).Restore(kept(t)); err != nil {
					t.Fatal(err)
				}
				if err := first(d); err != nil {
					t.Fatal(err)
				}
				d.settle()
				if !strings.HasPrefix(strings.Join(d.log, " "), "r10") {
					t.Error(d.log)
				}
				d.close()
			})
		})
	}
}

func TestRestoreRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDrive[int, string](t, NewMap(after, Options{}))
		for _, s := range []checkpoint.OperatorState{
			{Name: "x", Mode: checkpoint.Split},
			{Name: keptName, Mode: checkpoint.Union},
			{Name: keptName, Mode: checkpoint.Split, Items: [][]byte{[]byte("\xc1")}},
			{Name: keptName, Mode: checkpoint.Split, Items: [][]byte{[]byte("\x82\xa2in\xa1x\xa4time\x01")}},
		} {
			if err := d.op.(operator.Keeper).Restore([]checkpoint.OperatorState{s}); !errors.Is(err, state.ErrIncompatible) {
				t.Errorf("%+v: %v", s, err)
			}
		}
		d.close()
	})
}

// secret cannot be stored.
type secret struct{ f func() int }

func TestRecordsThatCannotBeStoredAreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var done atomic.Int32
		d := newDrive[secret, int](t, NewMap(func(_ context.Context, s secret) (int, error) {
			time.Sleep(time.Second)
			done.Add(1)
			return s.f(), nil
		}, Options{}))
		d.send(secret{func() int { return 1 }}, secret{func() int { return 2 }})
		if kept := d.epoch(); kept != nil || done.Load() != 2 {
			t.Errorf("kept %v after %d calls", kept, done.Load())
		}
		d.close()
	})
}
