// Package s3 keeps checkpoints in a bucket of Amazon S3 or of a server that speaks
// its protocol. Importing it is enough: it makes s3:// URLs known to store.Open.
//
//	s3://bucket/prefix?endpoint=http://127.0.0.1:9000&region=eu-central-1
//
// endpoint is for other servers than Amazon's; http:// is without encryption. region is
// AWS_REGION or us-east-1 where it is not given. Credentials are looked for in the
// environment (AWS_ACCESS_KEY_ID and others), in ~/.aws/credentials, and at the
// machine's role; they are not taken from the URL, which is logged and stored.
//
// The server has to know conditional puts (If-None-Match: *), on which the commit log
// rests; a job's first claim tries it out and refuses a server that ignores them.
//
// Invariants: the client does not retry by itself, since a second put could not
// tell its own first one from another's; package store does. No goroutine outlives a
// call, but for those of idle connections, which Close ends. All methods may be called
// from any goroutine.
package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/weirflow/weir/checkpoint/store"
)

func init() { store.Register("s3", open) }

func open(_ context.Context, u *url.URL) (store.Storage, error) {
	o := Options{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/"), Secure: true}
	for name, values := range u.Query() {
		switch name {
		case "endpoint":
			o.Endpoint = values[0]
		case "region":
			o.Region = values[0]
		default:
			return nil, fmt.Errorf("unknown parameter %q; endpoint and region are known", name)
		}
	}
	if host, ok := strings.CutPrefix(o.Endpoint, "http://"); ok {
		o.Endpoint, o.Secure = host, false
	}
	o.Endpoint = strings.TrimSuffix(strings.TrimPrefix(o.Endpoint, "https://"), "/")
	return Open(o)
}

// Options says where a bucket is.
type Options struct {
	Bucket string
	// Prefix is in front of all keys, without slashes at its ends. Default none.
	Prefix string
	// Endpoint is host or host:port. Default s3.amazonaws.com.
	Endpoint string
	// Secure says that it is reached by TLS.
	Secure bool
	// Region is the bucket's. Default AWS_REGION, then us-east-1.
	Region string
	// Credentials default to those of the environment, the user, the machine.
	Credentials *credentials.Credentials
	// Transport is for tests. Default: one with the usual limits.
	Transport http.RoundTripper
	// FS is the local disk of PutFile and Fetch. Default: the operating system's.
	FS vfs.FS
}

// EnsureDefaults fills what is not set.
func (o *Options) EnsureDefaults() {
	if o.Endpoint == "" {
		o.Endpoint = "s3.amazonaws.com"
	}
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION"} {
		if o.Region == "" {
			o.Region = os.Getenv(name)
		}
	}
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	if o.Credentials == nil {
		o.Credentials = credentials.NewChainCredentials([]credentials.Provider{
			&credentials.EnvAWS{}, &credentials.EnvMinio{}, &credentials.FileAWSCredentials{}, &credentials.IAM{},
		})
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
}

// Bucket is a storage in a bucket, below a prefix.
type Bucket struct {
	core   minio.Core
	bucket string
	prefix string // with a slash at its end, or empty
	fs     vfs.FS
	idle   func()
}

// Open makes the storage. It sends nothing yet.
func Open(o Options) (*Bucket, error) {
	o.EnsureDefaults()
	if o.Bucket == "" {
		return nil, errors.New("s3: no bucket is named; the form is s3://bucket/prefix")
	}
	b := &Bucket{bucket: o.Bucket, fs: o.FS, idle: func() {}}
	if o.Prefix != "" {
		if err := store.CheckKey(o.Prefix); err != nil {
			return nil, fmt.Errorf("s3: prefix: %w", err)
		}
		b.prefix = o.Prefix + "/"
	}
	if o.Transport == nil {
		t, err := minio.DefaultTransport(o.Secure)
		if err != nil {
			return nil, fmt.Errorf("s3: %w", err)
		}
		t.ResponseHeaderTimeout = time.Minute
		o.Transport, b.idle = t, t.CloseIdleConnections
	}
	client, err := minio.New(o.Endpoint, &minio.Options{Creds: o.Credentials, Secure: o.Secure, Region: o.Region,
		Transport: o.Transport, MaxRetries: 1})
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	b.core = minio.Core{Client: client}
	return b, nil
}

// wholeUpTo is up to which size an object is sent in one request, which leaves nothing
// behind when it is interrupted. The protocol's limit is 5 GiB.
const wholeUpTo = 1 << 30

// Put implements store.Storage.
func (b *Bucket) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	var o minio.PutObjectOptions
	o.PartSize = wholeUpTo
	if _, ok := r.(io.ReaderAt); !ok && size > wholeUpTo {
		o.PartSize, o.NumThreads = 64<<20, 1 // The client keeps parts in memory then.
	}
	return b.put(ctx, key, r, size, o)
}

func (b *Bucket) put(ctx context.Context, key string, r io.Reader, size int64, o minio.PutObjectOptions) error {
	if err := store.CheckKey(key); err != nil {
		return err
	}
	o.ContentType = "application/octet-stream"
	// The client may close what can be closed.
	info, err := b.core.Client.PutObject(ctx, b.bucket, b.prefix+key, reading(r), size, o)
	if err != nil {
		return b.wrap(ctx, "put", key, err)
	}
	if info.Size != size {
		return fmt.Errorf("s3: put %s: %d bytes were stored and %d announced", key, info.Size, size)
	}
	return nil
}

// reading is r without its Close.
func reading(r io.Reader) io.Reader {
	if at, ok := r.(interface {
		io.Reader
		io.ReaderAt
		io.Seeker
	}); ok {
		return struct {
			io.Reader
			io.ReaderAt
			io.Seeker
		}{at, at, at}
	}
	return struct{ io.Reader }{r}
}

// PutFile implements store.Storage.
func (b *Bucket) PutFile(ctx context.Context, key, path string) error {
	f, err := b.fs.Open(path)
	if err != nil {
		return fmt.Errorf("s3: put %s: %w", key, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("s3: put %s: %w", key, err)
	}
	return b.Put(ctx, key, io.NewSectionReader(f, 0, info.Size()), info.Size())
}

// PutIfAbsent implements store.Storage.
func (b *Bucket) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	var o minio.PutObjectOptions
	o.DisableMultipart = true
	o.SetMatchETagExcept("*")
	return b.put(ctx, key, bytes.NewReader(data), int64(len(data)), o)
}

// Get implements store.Storage.
func (b *Bucket) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	if err := store.CheckKey(key); err != nil {
		return nil, err
	}
	r, info, _, err := b.core.GetObject(ctx, b.bucket, b.prefix+key, minio.GetObjectOptions{})
	if err != nil {
		return nil, b.wrap(ctx, "get", key, err)
	}
	return store.Whole(r, info.Size, func(err error) error { return b.wrap(ctx, "read", key, err) }), nil
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
		for o := range b.core.Client.ListObjectsIter(ctx, b.bucket, minio.ListObjectsOptions{Prefix: b.prefix + prefix, Recursive: true}) {
			if o.Err != nil {
				yield(store.Info{}, b.wrap(ctx, "list", prefix, o.Err))
				return
			}
			key := strings.TrimPrefix(o.Key, b.prefix)
			if store.CheckKey(key) == nil && !yield(store.Info{Key: key, Size: o.Size, Modified: o.LastModified}, nil) {
				return
			}
		}
		// The client ends its listing without a word when ctx has ended.
		if ctx.Err() != nil {
			yield(store.Info{}, b.wrap(ctx, "list", prefix, context.Cause(ctx)))
		}
	}
}

// Delete implements store.Storage.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	if err := store.CheckKey(key); err != nil {
		return err
	}
	err := b.wrap(ctx, "delete", key, b.core.Client.RemoveObject(ctx, b.bucket, b.prefix+key, minio.RemoveObjectOptions{}))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// Close implements store.Storage.
func (b *Bucket) Close() error {
	b.idle()
	return nil
}

// wrap sorts the errors of the client.
func (b *Bucket) wrap(ctx context.Context, op, key string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("s3: %s %s in bucket %s: %w", op, key, b.bucket, errors.Join(context.Cause(ctx), err))
	}
	kind := kindOf(err)
	if kind == nil {
		return fmt.Errorf("s3: %s %s in bucket %s: %w", op, key, b.bucket, err)
	}
	return fmt.Errorf("%w: s3: %s %s in bucket %s: %w", kind, op, key, b.bucket, err)
}

func kindOf(err error) error {
	var r minio.ErrorResponse
	if !errors.As(err, &r) {
		return store.ErrTemporary // No answer: the network.
	}
	switch {
	case r.Code == minio.NoSuchKey:
		return store.ErrNotFound
	case r.Code == minio.PreconditionFailed || r.StatusCode == http.StatusPreconditionFailed:
		return store.ErrExists
	case r.StatusCode >= 500 && r.StatusCode != http.StatusNotImplemented,
		// Of two puts at the same time one may get a conflict, which decides nothing.
		r.StatusCode == http.StatusConflict, r.StatusCode == http.StatusTooManyRequests, r.StatusCode == http.StatusRequestTimeout,
		r.Code == "RequestTimeout", r.Code == "SlowDown", r.Code == "IncompleteBody":
		return store.ErrTemporary
	case r.StatusCode == 0 && r.Code == "":
		return store.ErrTemporary
	}
	return nil
}
