// Package cloud keeps checkpoints in Google Cloud Storage and Azure Blob Storage.
// Importing it makes gs:// and azblob:// URLs known to store.Open:
//
//	gs://bucket/prefix
//	azblob://container/prefix?storage_account=name
//
// Credentials are those of the environment, as gocloud.dev describes for gcsblob and
// azureblob; parameters of the URL are passed on to these. It is a package apart from s3
// since the clients of the two clouds add 55 MB to a program.
//
// Invariants: conditional puts are those of the clouds. Their clients may repeat a put by
// themselves, so ErrExists may be about one's own; package store reads back and
// compares. No goroutine outlives a call, but for those of clients' connections. All
// methods may be called from any goroutine.
package cloud

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
	"gocloud.dev/blob"
	_ "gocloud.dev/blob/azureblob" // the scheme azblob
	_ "gocloud.dev/blob/gcsblob"   // the scheme gs
	"gocloud.dev/gcerrors"

	"github.com/weirflow/weir/checkpoint/store"
)

func init() {
	store.Register("gs", open)
	store.Register("azblob", open)
}

func open(ctx context.Context, u *url.URL) (store.Storage, error) {
	bucket := *u
	bucket.Path, bucket.RawPath = "", ""
	b, err := blob.OpenBucket(ctx, bucket.String())
	if err != nil {
		return nil, fmt.Errorf("cloud: %w", err)
	}
	st, err := New(b, strings.Trim(u.Path, "/"), vfs.Default)
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return st, nil
}

// Bucket is a storage in a bucket, below a prefix.
type Bucket struct {
	b      *blob.Bucket
	prefix string // with a slash at its end, or empty
	fs     vfs.FS
}

// New makes a storage in b, which its Close closes. fs is the local disk.
func New(b *blob.Bucket, prefix string, fs vfs.FS) (*Bucket, error) {
	if prefix != "" {
		if err := store.CheckKey(prefix); err != nil {
			return nil, fmt.Errorf("cloud: prefix: %w", err)
		}
		prefix += "/"
	}
	return &Bucket{b, prefix, fs}, nil
}

// Put implements store.Storage.
func (b *Bucket) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	return b.put(ctx, key, r, size, false)
}

// PutIfAbsent implements store.Storage.
func (b *Bucket) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	return b.put(ctx, key, strings.NewReader(string(data)), int64(len(data)), true)
}

func (b *Bucket) put(ctx context.Context, key string, r io.Reader, size int64, absent bool) error {
	if err := store.CheckKey(key); err != nil {
		return err
	}
	// A writer is given up by ending its context in front of Close.
	wctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := b.b.NewWriter(wctx, b.prefix+key, &blob.WriterOptions{ContentType: "application/octet-stream",
		IfNotExist: absent, DisableContentTypeDetection: true})
	if err != nil {
		return b.wrap(ctx, "put", key, err)
	}
	n, err := io.Copy(struct{ io.Writer }{w}, r)
	if err == nil && n != size {
		cancel()
		_ = w.Close() // It was given up.
		return fmt.Errorf("cloud: put %s: %d bytes were read and %d announced", key, n, size)
	}
	if err != nil {
		cancel()
		_ = w.Close() // It was given up.
		return b.wrap(ctx, "put", key, err)
	}
	return b.wrap(ctx, "put", key, w.Close())
}

// PutFile implements store.Storage.
func (b *Bucket) PutFile(ctx context.Context, key, path string) error {
	f, err := b.fs.Open(path)
	if err != nil {
		return fmt.Errorf("cloud: put %s: %w", key, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("cloud: put %s: %w", key, err)
	}
	return b.Put(ctx, key, io.NewSectionReader(f, 0, info.Size()), info.Size())
}

// Get implements store.Storage.
func (b *Bucket) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	if err := store.CheckKey(key); err != nil {
		return nil, err
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	r, err := b.b.NewReader(ctx, b.prefix+key, nil)
	if err != nil {
		return nil, b.wrap(ctx, "get", key, err)
	}
	return store.Whole(r, r.Size(), func(err error) error { return b.wrap(ctx, "read", key, err) }), nil
}

// Fetch implements store.Storage.
func (b *Bucket) Fetch(ctx context.Context, key, path string) error {
	r, err := b.Get(ctx, key)
	if err != nil {
		return err
	}
	return store.WriteFile(b.fs, path, r)
}

// List implements store.Storage.
func (b *Bucket) List(ctx context.Context, prefix string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		objects := b.b.List(&blob.ListOptions{Prefix: b.prefix + prefix})
		for {
			o, err := objects.Next(ctx)
			if errors.Is(err, io.EOF) {
				err = context.Cause(ctx) // A client may end without a word.
				if err == nil {
					return
				}
			}
			if err != nil {
				yield(store.Info{}, b.wrap(ctx, "list", prefix, err))
				return
			}
			key := strings.TrimPrefix(o.Key, b.prefix)
			if !o.IsDir && store.CheckKey(key) == nil && !yield(store.Info{Key: key, Size: o.Size, Modified: o.ModTime}, nil) {
				return
			}
		}
	}
}

// Delete implements store.Storage.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	if err := store.CheckKey(key); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	err := b.wrap(ctx, "delete", key, b.b.Delete(ctx, b.prefix+key))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// Close implements store.Storage.
func (b *Bucket) Close() error { return b.b.Close() }

// wrap sorts the errors of the clients.
func (b *Bucket) wrap(ctx context.Context, op, key string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("cloud: %s %s: %w", op, key, errors.Join(context.Cause(ctx), err))
	}
	kind := store.ErrTemporary // What a client has no name for is the network, most often.
	switch gcerrors.Code(err) {
	case gcerrors.NotFound:
		kind = store.ErrNotFound
	case gcerrors.AlreadyExists, gcerrors.FailedPrecondition:
		kind = store.ErrExists
	case gcerrors.PermissionDenied, gcerrors.InvalidArgument, gcerrors.Unimplemented:
		return fmt.Errorf("cloud: %s %s: %w", op, key, err)
	}
	return fmt.Errorf("%w: cloud: %s %s: %w", kind, op, key, err)
}
