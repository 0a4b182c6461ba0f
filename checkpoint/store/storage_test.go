package store_test

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/weirflow/weir/checkpoint/store"
	"github.com/weirflow/weir/checkpoint/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quick is a policy for tests: many tries, hardly a pause.
var quick = store.RetryPolicy{Tries: 60, Pause: time.Microsecond, MaxPause: 20 * time.Microsecond, Timeout: 50 * time.Millisecond}

func openDir(t *testing.T) *store.Dir {
	t.Helper()
	d, err := store.OpenDir(vfs.Default, filepath.Join(t.TempDir(), "deep", "state"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDir(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) store.Storage { return openDir(t) })
}

func TestMem(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(*testing.T) store.Storage { return store.NewMem(vfs.Default) })
}

// TestDirElsewhere stores and fetches files of another file system: they are copied.
func TestDirElsewhere(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	d, err := store.OpenDir(noLinks{fs}, "/state")
	if err != nil {
		t.Fatal(err)
	}
	f, err := fs.Create("/local", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(f, "content"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.PutFile(t.Context(), "a", "/local"); err != nil {
		t.Fatal(err)
	}
	if err := d.Fetch(t.Context(), "a", "/back"); err != nil {
		t.Fatal(err)
	}
	if info, err := fs.Stat("/back"); err != nil || info.Size() != 7 {
		t.Fatal(info, err)
	}
}

type noLinks struct{ vfs.FS }

func (noLinks) Link(_, _ string) error { return errors.New("invalid cross-device link") }

// TestRetry runs the suite over a storage that fails often, with retries in front of it.
func TestRetry(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		storetest.Run(t, func(*testing.T) store.Storage {
			// A lost answer of PutIfAbsent is for the commit log to settle, not for Retry.
			f := storetest.NewFaulty(store.NewMem(vfs.Default), seed, storetest.Faults{Refused: 0.2, Cut: 0.5, Slow: 0.1, Delay: time.Millisecond})
			return onlyRetry{store.Retry(f, quick)}
		})
	}
}

// onlyRetry tries PutIfAbsent again: nothing gets lost in this test.
type onlyRetry struct{ store.Storage }

func (r onlyRetry) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	for {
		if err := r.Storage.PutIfAbsent(ctx, key, data); !errors.Is(err, store.ErrTemporary) {
			return err
		}
	}
}

// Put makes the body one that can be sent again.
func (r onlyRetry) Put(ctx context.Context, key string, body io.Reader, size int64) error {
	b, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	return r.Storage.Put(ctx, key, strings.NewReader(string(b)), size)
}

func TestOpen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, l := range []string{dir, "file://" + dir, "mem://TestOpen"} {
		st, err := store.Open(t.Context(), l)
		if err != nil {
			t.Fatal(l, err)
		}
		if err := st.PutIfAbsent(t.Context(), "a", []byte("1")); err != nil && l != "file://"+dir {
			t.Error(l, err)
		}
		again, err := store.Open(t.Context(), l)
		if err != nil {
			t.Fatal(l, err)
		}
		if err := again.PutIfAbsent(t.Context(), "a", nil); !errors.Is(err, store.ErrExists) {
			t.Error(l, err)
		}
	}
	for l, want := range map[string]string{
		"":               "no directory",
		"s4://bucket":    "unknown scheme",
		"s3://bucket":    "checkpoint/store/s3",
		"gs://bucket":    "checkpoint/store/cloud",
		"file://host/x":  "three slashes",
		"s3://bu cket/x": "invalid character",
	} {
		if _, err := store.Open(t.Context(), l); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", l, err)
		}
	}
}

// TestFolders sees that what is empty goes, and what is half written is not listed.
func TestFolders(t *testing.T) {
	t.Parallel()
	d := openDir(t)
	for _, k := range []string{"a/b/1", "a/b/2", "a/c/3"} {
		if err := d.PutIfAbsent(t.Context(), k, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, k := range []string{"a/b/1", "a/b/2"} {
		if err := d.Delete(t.Context(), k); err != nil {
			t.Fatal(err)
		}
	}
	names, err := vfs.Default.List(filepath.Join(d.String(), "a"))
	if err != nil || !slices.Equal(names, []string{"c"}) {
		t.Fatal(names, err)
	}
	left, err := vfs.Default.List(filepath.Join(d.String(), ".tmp"))
	if err != nil || len(left) != 0 {
		t.Fatal(left, err)
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	d := openDir(t)
	j := store.OpenJob(d, "a/b", store.JobOptions{})
	c, err := j.Lock()
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.OpenJob(d, "a/b", store.JobOptions{}).Lock()
	if !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), "process ") {
		t.Fatal(err)
	}
	other, err := store.OpenJob(d, "b", store.JobOptions{}).Lock()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Close(), other.Close()); err != nil {
		t.Fatal(err)
	}
	if c, err = j.Lock(); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}
