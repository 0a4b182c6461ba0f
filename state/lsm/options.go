package lsm

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/state"
)

// Options configure a Store.
type Options struct {
	// Dir is the store's own directory, on local disk.
	Dir string
	// FS is the file system that Dir is on. Default: the operating system's. With any
	// other, files of snapshots are copied, not linked.
	FS vfs.FS
	// MaxParallelism is the number of key groups of the job. Default:
	// flow.DefaultMaxParallelism.
	MaxParallelism int
	// KeyGroups is what the store's task owns of them. Default: all.
	KeyGroups flow.KeyGroupRange
}

// EnsureDefaults fills what is not set.
func (o *Options) EnsureDefaults() {
	if o.MaxParallelism == 0 {
		o.MaxParallelism = flow.DefaultMaxParallelism
	}
	if o.KeyGroups == (flow.KeyGroupRange{}) {
		o.KeyGroups.End = flow.KeyGroup(o.MaxParallelism)
	}
}

// Validate refuses what cannot be.
func (o *Options) Validate() error {
	if o.Dir == "" {
		return errors.New("state/lsm: no directory is set")
	}
	if o.MaxParallelism < 1 || o.MaxParallelism > flow.MaxMaxParallelism {
		return fmt.Errorf("state/lsm: max parallelism is %d, not 1 to %d", o.MaxParallelism, flow.MaxMaxParallelism)
	}
	if o.KeyGroups.First > o.KeyGroups.End || int(o.KeyGroups.End) > o.MaxParallelism {
		return fmt.Errorf("state/lsm: key groups %s are not among %d", o.KeyGroups, o.MaxParallelism)
	}
	return nil
}

// tableFile is the size at which a table that is written in order is ended.
const tableFile = 32 << 20

// pebbleOptions are those of a store's database.
func (s *Store) pebbleOptions() *pebble.Options {
	o := &pebble.Options{
		Cache:        s.env.blocks,
		FileCache:    s.env.files,
		DisableWAL:   true,
		FS:           s.fs,
		Logger:       logger{s},
		Comparer:     pebble.DefaultComparer,
		MemTableSize: 64 << 10,
		// What is stored in snapshots must not change with the library's version.
		FormatMajorVersion: pebble.FormatTableFormatV6,
		LBaseMaxBytes:      64 << 20,
		// A cut is a layer of L0. With more layers compaction writes less, and lookups
		// are kept from most of them by filters.
		L0CompactionThreshold: 12,
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) { s.fail(s.wrap("work in the background", err)) },
			DataCorruption: func(i pebble.DataCorruptionInfo) {
				s.fail(fmt.Errorf("%w: state/lsm: %s: %w", state.ErrCorrupt, i.Path, i.Details))
			},
			CompactionEnd: func(pebble.CompactionInfo) { signal(s.compacted) },
		},
	}
	o.Experimental.CompactionScheduler = newCompactions()
	o.TargetFileSizes[0] = 4 << 20
	o.Levels[0] = pebble.LevelOptions{
		BlockSize:    8 << 10,
		FilterPolicy: bloom.FilterPolicy(10),
		Compression:  func() *sstable.CompressionProfile { return sstable.SnappyCompression },
	}
	o.EnsureDefaults()
	return o
}

// logger keeps Pebble from writing to the log, and from ending the process.
type logger struct{ s *Store }

func (logger) Infof(string, ...any)  {}
func (logger) Errorf(string, ...any) {}

// Fatalf is called where Pebble cannot go on, as when its list of files could not be
// written. It must not return: the goroutine ends, and Pebble is left alone from then
// on.
func (l logger) Fatalf(format string, args ...any) {
	err := fmt.Errorf("state/lsm: %s: "+format, append([]any{l.s.opts.Dir}, args...)...)
	for _, a := range args {
		if cause, ok := a.(error); ok {
			err = fmt.Errorf("%w (%w)", err, cause)
		}
	}
	l.s.fail(err)
	l.s.abandon()
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
