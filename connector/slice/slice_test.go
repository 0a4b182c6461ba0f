package slice_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/weirflow/weir/connector/collect/sourcetest"
	"github.com/weirflow/weir/connector/slice"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
)

func TestOf(t *testing.T) {
	j := sourcetest.Start(t, slice.Of(3, 1, 2), sourcetest.Options{}, nil)
	j.ReadAll()
	if got := j.Values(); !slices.Equal(got, []int{3, 1, 2}) || j.Records[0].Time != flow.MinTime || j.Progress != 3 {
		t.Fatal(got, j.Records, j.Progress)
	}
	if w := j.Where(0); w != "record 2 of split 0" {
		t.Error(w)
	}
	j = sourcetest.Start(t, slice.Of[int](), sourcetest.Options{}, nil)
	j.ReadAll()
	if len(j.Records) != 0 {
		t.Fatal(j.Records)
	}
}

func TestTimed(t *testing.T) {
	j := sourcetest.Start(t, slice.Timed([]slice.Record[string]{{"a", 1}, {"b", flow.MinTime}, {"c", 3}}), sourcetest.Options{Max: 1}, nil)
	j.ReadAll()
	for i, want := range []flow.Time{1, flow.MinTime, 3} {
		if j.Records[i].Time != want {
			t.Errorf("record %d has time %v", i, j.Records[i].Time)
		}
	}
}

func TestResume(t *testing.T) {
	sourcetest.Resume(t, slice.Splits([]int{1, 2, 3, 4, 5, 6, 7}, nil, []int{8}, []int{9, 10, 11, 12, 13}), 14)
}

func TestSurvive(t *testing.T) {
	sourcetest.Survive(t, slice.Splits([]int{1, 2, 3, 4, 5, 6, 7}, nil, []int{8}, []int{9, 10, 11, 12, 13}), 200, sourcetest.Options{})
}

func TestUnboundedWaits(t *testing.T) {
	j := sourcetest.Start(t, slice.Splits([]int{1, 2}, []int{3}).Unbounded(), sourcetest.Options{}, nil)
	for !j.Idle() || len(j.Records) == 0 {
		if _, more, err := j.Step(); !more || err != nil {
			t.Fatal(more, err)
		}
	}
	if len(j.Records) != 3 || j.Ended() {
		t.Fatal(j.Records)
	}
}

func TestPause(t *testing.T) {
	j := sourcetest.Start(t, slice.Splits([]int{1, 2, 3}, []int{4, 5, 6}), sourcetest.Options{Max: 1}, nil)
	j.Read(1)
	j.Pause("0", true)
	for !j.Idle() {
		if _, _, err := j.Step(); err != nil {
			t.Fatal(err)
		}
	}
	if got := j.BySplit()["1"]; len(got) != 3 {
		t.Fatal(got)
	}
	j.Pause("0", false)
	j.ReadAll()
	if len(j.Records) != 6 {
		t.Fatal(j.Records)
	}
}

func TestOtherValuesAreRefused(t *testing.T) {
	j := sourcetest.Start(t, slice.Of(1, 2, 3), sourcetest.Options{Max: 1}, nil)
	j.Read(2)
	r, err := slice.Of(1).Reader(&operator.ReaderContext{})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Add(j.Snapshot().Splits[0]); err == nil || !strings.Contains(err.Error(), "position 2 of split 0") {
		t.Fatal(err)
	}
}

func FuzzSplit(f *testing.F) {
	e, _ := slice.Of(1, 2, 3).Enumerator()
	d, _ := e.Discover(f.Context())
	f.Add(d.Splits[0].Data)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, _ := slice.Of(1, 2, 3).Reader(&operator.ReaderContext{})
		if r.Add(operator.Split{ID: "x", Data: data}) != nil {
			return
		}
		var into operator.Records[int]
		if _, err := r.Read(&into, 2); err != nil {
			t.Fatal(err)
		}
	})
}
