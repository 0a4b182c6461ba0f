package collect_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirflow/weir/connector/collect"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
)

func writer(t *testing.T, s *collect.Sink[int], subtask int, a flow.Attempt) operator.Writer[int] {
	t.Helper()
	w, err := s.Writer(&operator.WriterContext{Subtask: subtask, Attempt: a})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func write(t *testing.T, w operator.Writer[int], values ...int) {
	t.Helper()
	if err := w.Write(&flow.Batch[int]{Values: values}); err != nil {
		t.Fatal(err)
	}
}

func prepare(t *testing.T, w operator.Writer[int], e flow.Epoch) []byte {
	t.Helper()
	data, err := w.Prepare(flow.Barrier{Epoch: e})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func commit(t *testing.T, s *collect.Sink[int], e flow.Epoch, prepared ...[]byte) {
	t.Helper()
	c, err := s.Committer(&operator.CommitterContext{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Commit(t.Context(), e, prepared); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, s *collect.Sink[int], want ...int) {
	t.Helper()
	if got := s.Results(); !slices.Equal(got, want) || s.Len() != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func TestVisibleWhenCommitted(t *testing.T) {
	s := collect.New[int]()
	a, b := writer(t, s, 0, 1), writer(t, s, 1, 1)
	write(t, a, 1, 2)
	write(t, b, 10)
	expect(t, s)
	pb, pa := prepare(t, b, 1), prepare(t, a, 1)
	write(t, a, 3)
	expect(t, s)
	commit(t, s, 1, pb, pa)
	expect(t, s, 1, 2, 10)
	commit(t, s, 1, pb, pa) // a repeated commit
	expect(t, s, 1, 2, 10)
	c, _ := s.Committer(&operator.CommitterContext{})
	if n, err := c.(operator.Auditor).Records([][]byte{pb, pa}); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	if p := prepare(t, b, 2); p != nil {
		t.Fatal("an empty epoch prepared something")
	}
	commit(t, s, 2, prepare(t, a, 2))
	expect(t, s, 1, 2, 10, 3)
	s.Reset()
	expect(t, s)
}

func TestFailedAttemptLeavesNothing(t *testing.T) {
	s := collect.New[int](collect.MaxRecords(6))
	w := writer(t, s, 0, 1)
	write(t, w, 1, 2)
	p1 := prepare(t, w, 1)
	write(t, w, 3)
	p2 := prepare(t, w, 2) // never committed: the attempt fails
	write(t, w, 4)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	// The next attempt goes on from epoch 1; its commit is repeated.
	commit(t, s, 1, p1)
	w = writer(t, s, 0, 2)
	write(t, w, 3, 4)
	commit(t, s, 3, prepare(t, w, 3))
	expect(t, s, 1, 2, 3, 4)
	write(t, w, 5, 6) // only if nothing of the first attempt counts
	commit(t, s, 4, prepare(t, w, 4))
	expect(t, s, 1, 2, 3, 4, 5, 6)
	c, _ := s.Committer(&operator.CommitterContext{})
	if err := c.Commit(t.Context(), 2, [][]byte{p2}); err == nil || !strings.Contains(err.Error(), "epoch 2: 1 records of subtask 0") {
		t.Fatal(err)
	}
}

func TestCap(t *testing.T) {
	s := collect.New[int](collect.MaxRecords(3))
	w := writer(t, s, 0, 1)
	write(t, w, 1, 2, 3)
	err := w.Write(&flow.Batch[int]{Values: []int{4}})
	if err == nil || !strings.Contains(err.Error(), "more than 3 records") || !strings.Contains(err.Error(), "collect.MaxRecords") {
		t.Fatal(err)
	}
}

func TestTimes(t *testing.T) {
	s := collect.New[int]()
	w := writer(t, s, 0, 1)
	write(t, w, 1)
	if err := w.Write(&flow.Batch[int]{Values: []int{2, 3}, Times: []flow.Time{20, flow.MinTime}}); err != nil {
		t.Fatal(err)
	}
	write(t, w, 4)
	commit(t, s, 1, prepare(t, w, 1))
	want := []collect.Record[int]{{1, flow.MinTime}, {2, 20}, {3, flow.MinTime}, {4, flow.MinTime}}
	if got := s.Records(); !slices.Equal(got, want) {
		t.Fatal(got)
	}
}

func TestOtherSinksChunksAreMissing(t *testing.T) {
	old := collect.New[int]()
	w := writer(t, old, 0, 1)
	write(t, w, 1, 2)
	p := prepare(t, w, 1)
	s := collect.New[int]()
	commit(t, s, 1, p)
	if s.Missing() != 2 || s.Len() != 0 {
		t.Fatal(s.Missing(), s.Len())
	}
	c, _ := s.Committer(&operator.CommitterContext{})
	if err := c.Commit(t.Context(), 7, [][]byte{{0xc1}}); err == nil || !strings.Contains(err.Error(), "epoch 7") {
		t.Fatal(err)
	}
}

func TestWait(t *testing.T) {
	s := collect.New[int]()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for i := range 3 {
		w := writer(t, s, i, 1)
		wg.Go(func() {
			for e := range flow.Epoch(50) {
				if err := w.Write(&flow.Batch[int]{Values: []int{i}}); err != nil {
					t.Error(err)
				}
				p, err := w.Prepare(flow.Barrier{Epoch: e})
				if err != nil {
					t.Error(err)
				}
				c, _ := s.Committer(&operator.CommitterContext{})
				if err := c.Commit(ctx, e, [][]byte{p}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	if got, err := s.Wait(ctx, 150); err != nil || len(got) != 150 {
		t.Fatal(len(got), err)
	}
	wg.Wait()
	cancel()
	if _, err := s.Wait(ctx, 151); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}
