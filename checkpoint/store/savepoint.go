package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/weirflow/weir/checkpoint"
)

// manifestName is the key of a savepoint's manifest, below the savepoint's own.
const manifestName = "manifest"

// put stores small things; it can be repeated.
func (j *Job) put(ctx context.Context, key string, data []byte) error {
	return j.st.Put(ctx, key, bytes.NewReader(data), int64(len(data)))
}

// Savepoint copies what a manifest of the job names to a place of its own: below prefix
// in st, or at the root of st where it is "". What lies there is whole in itself and can be
// moved. The manifest comes last: without it there is no savepoint. A savepoint that is
// there already is not overwritten, the error wraps [ErrExists].
func (j *Job) Savepoint(ctx context.Context, st Storage, prefix string, m *checkpoint.Manifest) error {
	prefix = strings.Trim(prefix, "/")
	if prefix != "" {
		prefix += "/"
	}
	to := Retry(st, j.opts.Retry)
	if r, err := to.Get(ctx, prefix+manifestName); err == nil {
		r.Close()
		return fmt.Errorf("%w: savepoint %s", ErrExists, prefix+manifestName)
	} else if !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("store: savepoint of epoch %d of job %s: %w", m.Epoch, j.id, err)
	}
	// The caller's manifest stays as it is.
	own, err := checkpoint.DecodeManifest(checkpoint.AppendManifest(nil, m))
	if err != nil {
		return fmt.Errorf("store: savepoint of epoch %d of job %s: %w", m.Epoch, j.id, err)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(j.opts.Uploads)
	moved := map[string]string{}
	own.Files(func(f *checkpoint.File) {
		key, ok := moved[f.Blob]
		if !ok {
			key = fmt.Sprintf("files/%06d-%s", len(moved)+1, shortName(f.Name))
			moved[f.Blob] = key
			from := *f
			g.Go(func() error { return j.copyBlob(gctx, to, prefix+key, from) })
		}
		f.Blob = key
	})
	if err := g.Wait(); err != nil {
		return fmt.Errorf("store: savepoint of epoch %d of job %s: %w", m.Epoch, j.id, err)
	}
	data := checkpoint.AppendManifest(nil, own)
	if err := to.Put(ctx, prefix+manifestName, bytes.NewReader(data), int64(len(data))); err != nil {
		return fmt.Errorf("store: savepoint of epoch %d of job %s: %w", m.Epoch, j.id, err)
	}
	return nil
}

// copyBlob copies one file of the job and checks it on the way.
func (j *Job) copyBlob(ctx context.Context, to Storage, key string, f checkpoint.File) error {
	files := j.Files([]checkpoint.File{f})
	return j.opts.Retry.doSized(ctx, f.Size, func(ctx context.Context) error {
		r, err := files.Open(ctx, f.Name)
		if err != nil {
			return err
		}
		defer r.Close()
		// A storage may stop at the announced size, in front of the error that would tell of a
		// wrong sum: so the end is looked for here as well.
		body := &toEnd{r: r}
		if err := to.Put(ctx, key, body, f.Size); err != nil {
			return err
		}
		return body.finish()
	})
}

// toEnd is a reader of which can be said afterwards how it ended.
type toEnd struct {
	r   io.Reader
	err error
}

func (t *toEnd) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if err != nil {
		t.err = err
	}
	return n, err
}

func (t *toEnd) finish() error {
	if t.err == nil {
		_, t.err = io.Copy(io.Discard, t.r)
	}
	if errors.Is(t.err, io.EOF) {
		return nil
	}
	return t.err
}

// LoadSavepoint reads the savepoint at a URL, see [Open]. The manifest's blobs are
// "URL#key", so that [Job.Files] and [Staging.Open] of any process find them; so do
// [FilesIn] and [Verify] with the storage, which is the caller's to close.
func LoadSavepoint(ctx context.Context, location string) (*checkpoint.Manifest, Storage, error) {
	if !strings.Contains(location, "://") && location != "" {
		abs, err := filepath.Abs(location)
		if err != nil {
			return nil, nil, fmt.Errorf("store: savepoint %s: %w", location, err)
		}
		location = abs
	}
	st, err := Open(ctx, location)
	if err != nil {
		return nil, nil, err
	}
	m, err := loadSavepoint(ctx, Retry(st, RetryPolicy{}), location)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("store: savepoint %s: %w", location, err), st.Close())
	}
	return m, st, nil
}

func loadSavepoint(ctx context.Context, st Storage, location string) (*checkpoint.Manifest, error) {
	r, err := st.Get(ctx, manifestName)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	m, err := checkpoint.DecodeManifest(data)
	if err != nil {
		return nil, err
	}
	bad := ""
	m.Files(func(f *checkpoint.File) {
		if CheckKey(f.Blob) != nil {
			bad = f.Blob
		}
		f.Blob = location + "#" + f.Blob
	})
	if bad != "" {
		return nil, fmt.Errorf("%w: it names a file %q", checkpoint.ErrCorrupt, bad)
	}
	return m, nil
}
