package store

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Mem is a storage in memory, for tests. The zero value is not ready; see [NewMem].
type Mem struct {
	fs vfs.FS
	mu struct {
		sync.Mutex
		blobs map[string]memBlob
	}
}

type memBlob struct {
	data     []byte // never changed
	modified time.Time
}

// NewMem makes an empty one. fs is the local disk of PutFile and Fetch.
func NewMem(fs vfs.FS) *Mem {
	m := &Mem{fs: fs}
	m.mu.blobs = map[string]memBlob{}
	return m
}

var mems sync.Map // *Mem by name

func openMem(name string) *Mem {
	m, _ := mems.LoadOrStore(name, NewMem(vfs.Default))
	return m.(*Mem)
}

// Put implements [Storage].
func (m *Mem) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	data, err := io.ReadAll(withContext(ctx, r))
	if err != nil {
		return fmt.Errorf("store: put %s: %w", key, err)
	}
	if int64(len(data)) != size {
		return fmt.Errorf("store: put %s: %d bytes were read and %d announced", key, len(data), size)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.blobs[key] = memBlob{data, time.Now()}
	return nil
}

// PutFile implements [Storage].
func (m *Mem) PutFile(ctx context.Context, key, path string) error {
	f, err := m.fs.Open(path)
	if err != nil {
		return fmt.Errorf("store: put %s: %w", key, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("store: put %s: %w", key, err)
	}
	return m.Put(ctx, key, f, info.Size())
}

// PutIfAbsent implements [Storage].
func (m *Mem) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.mu.blobs[key]; ok {
		return fmt.Errorf("%w: %s", ErrExists, key)
	}
	m.mu.blobs[key] = memBlob{slices.Clone(data), time.Now()}
	return nil
}

// Get implements [Storage].
func (m *Mem) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.mu.blobs[key]
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, key)
	}
	return io.NopCloser(withContext(ctx, bytes.NewReader(b.data))), nil
}

// Fetch implements [Storage].
func (m *Mem) Fetch(ctx context.Context, key, path string) error {
	r, err := m.Get(ctx, key)
	if err != nil {
		return err
	}
	return WriteFile(m.fs, path, r)
}

// List implements [Storage].
func (m *Mem) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		m.mu.Lock()
		blobs := maps.Clone(m.mu.blobs)
		m.mu.Unlock()
		for _, key := range slices.Sorted(maps.Keys(blobs)) {
			if err := context.Cause(ctx); err != nil {
				yield(Info{}, err)
				return
			}
			b := blobs[key]
			if strings.HasPrefix(key, prefix) && !yield(Info{key, int64(len(b.data)), b.modified}, nil) {
				return
			}
		}
	}
}

// Delete implements [Storage].
func (m *Mem) Delete(ctx context.Context, key string) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.mu.blobs, key)
	return nil
}

// Close implements [Storage]. What is in memory stays for others that opened it.
func (m *Mem) Close() error { return nil }
