package sim

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirflow/weir/checkpoint/store"
)

// reached is the storage of checkpoints as one process reaches it: not at all when it is
// dead, and late when it is paused.
type reached struct {
	store.Storage
	p    *Process
	slow *atomic.Int64 // nanoseconds that an operation takes
}

// pass is in front of each operation, and behind it: an answer may find nobody.
func (r reached) pass(ctx context.Context) error {
	timer := time.NewTimer(time.Duration(r.slow.Load()))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return r.p.Pass(ctx)
}

func (r reached) do(ctx context.Context, f func() error) error {
	if err := r.pass(ctx); err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	return r.p.Pass(ctx)
}

func (r reached) Put(ctx context.Context, key string, from io.Reader, size int64) error {
	return r.do(ctx, func() error { return r.Storage.Put(ctx, key, from, size) })
}

func (r reached) PutFile(ctx context.Context, key, path string) error {
	return r.do(ctx, func() error { return r.Storage.PutFile(ctx, key, path) })
}

func (r reached) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	return r.do(ctx, func() error { return r.Storage.PutIfAbsent(ctx, key, data) })
}

func (r reached) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	if err := r.pass(ctx); err != nil {
		return nil, err
	}
	return r.Storage.Get(ctx, key)
}

func (r reached) Fetch(ctx context.Context, key, path string) error {
	return r.do(ctx, func() error { return r.Storage.Fetch(ctx, key, path) })
}

func (r reached) List(ctx context.Context, prefix string) iter.Seq2[store.Info, error] {
	if err := r.pass(ctx); err != nil {
		return func(yield func(store.Info, error) bool) { yield(store.Info{}, err) }
	}
	return r.Storage.List(ctx, prefix)
}

func (r reached) Delete(ctx context.Context, key string) error {
	return r.do(ctx, func() error { return r.Storage.Delete(ctx, key) })
}

func (reached) Close() error { return nil }

// reaches are the storages of processes, by the name in their URL.
var (
	reaches sync.Map // store.Storage by name
	reach   atomic.Int64
)

func init() {
	store.Register("sim", func(_ context.Context, u *url.URL) (store.Storage, error) {
		st, ok := reaches.Load(u.Host)
		if !ok {
			return nil, fmt.Errorf("no process has the storage %q", u.Host)
		}
		return st.(store.Storage), nil
	})
}

// location makes a storage known, until forget is called.
func location(st store.Storage) (location string, forget func()) {
	name := "p" + strconv.FormatInt(reach.Add(1), 10)
	reaches.Store(name, st)
	return "sim://" + name, func() { reaches.Delete(name) }
}
