package raft

import (
	"fmt"
	"testing"

	hraft "github.com/hashicorp/raft"
)

// TestTakenBack: a log of which entries were taken back is there when it is opened again, with
// what came in their place.
func TestTakenBack(t *testing.T) {
	o := &Options{Dir: t.TempDir()}
	o.EnsureDefaults()
	want := map[uint64]string{}
	var last uint64
	with := func(do func(logs hraft.LogStore) error) {
		t.Helper()
		s, err := openStorage(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := do(s.logs); err != nil {
			t.Error(err)
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
	}
	check := func(logs hraft.LogStore) error {
		if got, err := logs.LastIndex(); err != nil || got != last {
			return fmt.Errorf("the last entry is %d, want %d: %w", got, last, err)
		}
		for i := uint64(1); i <= last; i++ {
			var e hraft.Log
			if err := logs.GetLog(i, &e); err != nil || string(e.Data) != want[i] {
				return fmt.Errorf("entry %d is %q, want %q: %w", i, e.Data, want[i], err)
			}
		}
		return nil
	}
	write := func(logs hraft.LogStore, term, n uint64) error {
		for range n {
			last++
			want[last] = fmt.Sprint("entry ", last, " of term ", term)
			if err := logs.StoreLog(&hraft.Log{Index: last, Term: term, Data: []byte(want[last])}); err != nil {
				return err
			}
		}
		return nil
	}
	takeBack := func(logs hraft.LogStore, from uint64) error {
		err := logs.DeleteRange(from, last)
		last = from - 1
		return err
	}
	with(func(logs hraft.LogStore) error { return write(logs, 1, 10) })
	for term := uint64(2); term < 6; term++ {
		with(func(logs hraft.LogStore) error {
			if err := check(logs); err != nil {
				return err
			}
			if err := takeBack(logs, last-term+1); err != nil {
				return err
			}
			return write(logs, term, 2)
		})
		with(check)
	}
	// All of a segment, and then more than one.
	with(func(logs hraft.LogStore) error { return takeBack(logs, 3) })
	with(check)
	with(func(logs hraft.LogStore) error { return write(logs, 9, 4) })
	with(check)
}
