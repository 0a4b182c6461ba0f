package raft

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	hraft "github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

const (
	// segmentSize is what the log takes on disk at least; its library has 64 MB.
	segmentSize = 8 << 20
	// keepSnapshots is how many are kept: the newest, and one in case that is broken.
	keepSnapshots = 2
	// cachedEntries are kept in memory, for followers that are nearly up to date.
	cachedEntries = 256
)

// storage is where a server's log, votes and snapshots are.
type storage struct {
	logs      hraft.LogStore
	stable    *patient
	snapshots hraft.SnapshotStore
	close     func() error
}

// openStorage opens a directory, or memory.
func openStorage(o *Options) (*storage, error) {
	if o.Dir == "" {
		m := hraft.NewInmemStore()
		return o.wrap(m, m, hraft.NewInmemSnapshotStore(), func() error { return nil })
	}
	if err := os.MkdirAll(filepath.Join(o.Dir, "log"), 0o700); err != nil {
		return nil, fmt.Errorf("raft: open %s: %w", o.Dir, err)
	}
	unlock, err := lockDir(o.Dir)
	if err != nil {
		return nil, err
	}
	// The log's own Close leaves its file of metadata open, with a lock on it.
	meta := &metadb.BoltMetaDB{}
	dir := filepath.Join(o.Dir, "log")
	log, err := wal.Open(dir, wal.WithMetaStore(meta), wal.WithSegmentSize(segmentSize), wal.WithSegmentFiler(segments{segment.NewFiler(dir, fs.New())}),
		wal.WithLogger(newLogger(o.Logger)))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("raft: open the log in %s: %w", o.Dir, err), meta.Close(), unlock())
	}
	closeAll := func() error { return errors.Join(log.Close(), meta.Close(), unlock()) }
	snapshots, err := hraft.NewFileSnapshotStoreWithLogger(o.Dir, keepSnapshots, newLogger(o.Logger))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("raft: open the snapshots in %s: %w", o.Dir, err), closeAll())
	}
	return o.wrap(log, log, snapshots, closeAll)
}

func (o *Options) wrap(logs hraft.LogStore, stable hraft.StableStore, snapshots hraft.SnapshotStore, closeAll func() error) (*storage, error) {
	if o.testing.logs != nil {
		logs = o.testing.logs(logs)
	}
	if o.testing.stable != nil {
		stable = o.testing.stable(stable)
	}
	cache, err := hraft.NewLogCache(cachedEntries, logs)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("raft: cache of the log: %w", err), closeAll())
	}
	return &storage{logs: cache, stable: newPatient(stable, o), snapshots: snapshots, close: closeAll}, nil
}

// segments are the files of the log. When a server takes back entries that were not decided, the
// library ends the segment that they are in without the index of a segment that has ended. While the
// server runs it knows where entries are; once started again it would find none of
// that segment, and panic. So such a segment is read through, as the last one is.
type segments struct{ types.SegmentFiler }

func (s segments) Open(info types.SegmentInfo) (types.SegmentReader, error) {
	if info.IndexStart != 0 {
		return s.SegmentFiler.Open(info)
	}
	w, err := s.RecoverTail(info)
	if err != nil {
		return nil, err
	}
	return w, nil
}

// patient is a stable store that does not fail to store the term. The library panics if it
// does, which would end the agent and all executors with it. So it is tried again until it
// works: meanwhile the server is silent, as if it were dead, and others go on without it.
// A vote that cannot be stored is refused by the library.
type patient struct {
	hraft.StableStore
	o *Options

	closing   chan struct{}
	closeOnce sync.Once
}

func newPatient(s hraft.StableStore, o *Options) *patient {
	return &patient{StableStore: s, o: o, closing: make(chan struct{})}
}

// SetUint64 returns nil, too, when the server is being closed: its connections are then
// closed already, so nobody hears of a term that is not stored.
func (p *patient) SetUint64(key []byte, value uint64) error {
	pause := 10 * time.Millisecond
	for {
		err := p.StableStore.SetUint64(key, value)
		if err == nil {
			return nil
		}
		p.o.Logger.Error("raft: the term cannot be stored; the server waits until it can", "key", string(key), "error", err)
		select {
		case <-p.closing:
			return nil
		case <-time.After(pause):
			pause = min(2*pause, 2*time.Second)
		}
	}
}

// giveUp ends the waiting.
func (p *patient) giveUp() { p.closeOnce.Do(func() { close(p.closing) }) }
