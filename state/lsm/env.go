package lsm

import (
	"fmt"
	"runtime"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// EnvOptions configure an Env.
type EnvOptions struct {
	// Memory is what the stores of the process may take together, in bytes: tables,
	// cached blocks, entries on their way to disk. A tenth or so comes on top for what
	// Pebble needs by itself, and what Go's garbage collector leaves lying is the
	// process's affair. Default: 512 MB.
	Memory int64
	// OpenFiles is how many tables are kept open. Default: 1000.
	OpenFiles int
}

// EnsureDefaults fills what is not set.
func (o *EnvOptions) EnsureDefaults() {
	if o.Memory == 0 {
		o.Memory = 512 << 20
	}
	if o.OpenFiles == 0 {
		o.OpenFiles = 1000
	}
}

// Validate refuses what cannot be.
func (o *EnvOptions) Validate() error {
	if o.Memory < 0 || o.OpenFiles < 0 {
		return fmt.Errorf("state/lsm: %d bytes of memory and %d open files", o.Memory, o.OpenFiles)
	}
	return nil
}

// Env is what the stores of a process share. It may be used from any goroutine.
type Env struct {
	opts   EnvOptions
	blocks *pebble.Cache
	files  *pebble.FileCache
	stores atomic.Int64 // that are open
	tables atomic.Int64 // bytes of all tables
	// abandoned says that a store could not close its database, which uses the caches.
	abandoned atomic.Bool
}

// NewEnv makes an environment. It may start goroutines, which Close ends.
func NewEnv(o EnvOptions) (*Env, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	blocks := pebble.NewCache(max(o.Memory/12, 64<<10))
	return &Env{opts: o, blocks: blocks, files: pebble.NewFileCache(runtime.GOMAXPROCS(0), o.OpenFiles)}, nil
}

// Close frees the caches. All stores have been closed.
func (e *Env) Close() error {
	if n := e.stores.Load(); n != 0 {
		return fmt.Errorf("state/lsm: the environment is closed while %d stores are open", n)
	}
	if e.abandoned.Load() {
		return nil
	}
	e.files.Unref()
	e.blocks.Unref()
	return nil
}

// tableBudget is what the tables of all stores may take: nearly all, since an entry that is
// not in them costs a hundred times one that is.
func (e *Env) tableBudget() int64 { return e.opts.Memory / 100 * 74 }

// share is what is one store's of n.
func (e *Env) share(n int64) int64 { return n / max(e.stores.Load(), 1) }

// cutBudget is about how many bytes of changed entries one store gathers before it
// writes them, without a barrier: as bytes they are in memory twice.
func (e *Env) cutBudget() int64 { return e.share(e.opts.Memory / 10) }
