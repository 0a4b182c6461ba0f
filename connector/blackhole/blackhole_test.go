package blackhole_test

import (
	"sync"
	"testing"

	"github.com/weirflow/weir/connector/blackhole"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
)

func TestCounts(t *testing.T) {
	s := blackhole.New[string]()
	var wg sync.WaitGroup
	for range 4 {
		w, err := s.Writer(nil)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for range 100 {
				if err := w.Write(&flow.Batch[string]{Values: []string{"a", "b"}}); err != nil {
					t.Error(err)
				}
			}
			if p, err := w.Prepare(flow.Barrier{}); p != nil || err != nil {
				t.Error(p, err)
			}
		})
	}
	wg.Wait()
	if s.Count() != 800 {
		t.Fatal(s.Count())
	}
	if c, err := s.Committer(&operator.CommitterContext{}); c != nil || err != nil {
		t.Fatal(c, err)
	}
}
