package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Storage is a place for bytes under keys. Keys are made of names with slashes
// between them; see [CheckKey]. What a method has acknowledged survives a power cut.
// Methods may be called from any goroutine; they end with an error soon after ctx has.
type Storage interface {
	// Put stores what r gives under key, in place of what was there. A reader of
	// the key sees the old or the new bytes, whole. size is how many bytes there
	// are; r giving others is an error.
	Put(ctx context.Context, key string, r io.Reader, size int64) error
	// PutFile stores a file of the local disk: by a hard link where that can be. The
	// file must not change afterwards; it may be removed.
	PutFile(ctx context.Context, key, path string) error
	// PutIfAbsent stores data if there is nothing under key: of any number of calls
	// one succeeds, the others get [ErrExists]. After another error it is unknown
	// whether the data was stored, or will be yet.
	PutIfAbsent(ctx context.Context, key string, data []byte) error
	// Get opens what is under key, or gives [ErrNotFound]. Reads end with ctx.
	Get(ctx context.Context, key string) (io.ReadCloser, error)
	// Fetch puts what is under key into a new file of the local disk: by a hard link
	// where that can be, so the file must not be written to.
	Fetch(ctx context.Context, key, path string) error
	// List gives the keys that begin with prefix, in order.
	List(ctx context.Context, prefix string) iter.Seq2[Info, error]
	// Delete removes a key. One that is not there is no error.
	Delete(ctx context.Context, key string) error
	Close() error
}

// Info is a line of a listing.
type Info struct {
	Key      string
	Size     int64
	Modified time.Time
}

// Stamper is implemented by storages that can say cheaply when a blob was written to
// for the last time; see [Files].
type Stamper interface {
	Stat(ctx context.Context, key string) (Info, error)
}

var (
	// ErrNotFound is wrapped by errors about a key that is not there.
	ErrNotFound = errors.New("store: not found")
	// ErrExists is wrapped by the error of PutIfAbsent when the key is there.
	ErrExists = errors.New("store: exists already")
	// ErrTemporary is wrapped by errors of a Storage that may not come again.
	ErrTemporary = errors.New("store: temporary error")
	// ErrKey is wrapped by errors about keys that no storage takes.
	ErrKey = errors.New("store: key is not valid")
)

// maxKey is what all storages take: names of files have 255 bytes, S3 keys 1024.
const (
	maxKey  = 900
	maxName = 240
)

// CheckKey refuses keys that are not names with single slashes between them. A name
// has up to 240 of the letters, digits and "-_.=+@%,", and does not begin with a dot.
func CheckKey(key string) error {
	if key == "" || len(key) > maxKey {
		return fmt.Errorf("%w: %d bytes; 1 to %d are allowed", ErrKey, len(key), maxKey)
	}
	for name := range strings.SplitSeq(key, "/") {
		if name == "" || name[0] == '.' || len(name) > maxName {
			return fmt.Errorf("%w: %q: a name is empty, begins with a dot, or is longer than %d bytes", ErrKey, key, maxName)
		}
		for i := range len(name) {
			if !keyByte(name[i]) {
				return fmt.Errorf("%w: %q has the byte %q", ErrKey, key, name[i])
			}
		}
	}
	return nil
}

func keyByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-_.=+@%,", c) >= 0
}

// keyName makes a name of a key out of any text: other bytes become %XX, and what is
// too long is cut, so that it is for ids only if they are short.
func keyName(text string) string {
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; keyByte(c) && c != '%' && (c != '.' || i > 0) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// Opener opens the storage that a URL names.
type Opener func(ctx context.Context, u *url.URL) (Storage, error)

var openers struct {
	mu struct {
		sync.Mutex
		byScheme map[string]Opener
	}
}

// Register makes a scheme known to [Open]. Packages of storages do it in their init:
// importing checkpoint/store/s3 is enough to open s3:// URLs.
func Register(scheme string, open Opener) {
	openers.mu.Lock()
	defer openers.mu.Unlock()
	if openers.mu.byScheme == nil {
		openers.mu.byScheme = map[string]Opener{}
	}
	openers.mu.byScheme[scheme] = open
}

// packages are where the schemes are that a program may have left out.
var packages = map[string]string{"s3": "s3", "gs": "cloud", "azblob": "cloud"}

// Open opens the storage at a URL: a path or file:///path is a directory, which is
// made if it is not there; mem://name is in the memory of this process, the same for
// the same name; others are for registered packages.
func Open(ctx context.Context, location string) (Storage, error) {
	scheme, _, ok := strings.Cut(location, "://")
	if !ok {
		if location == "" {
			return nil, errors.New("store: open: no directory or URL is given")
		}
		return OpenDir(vfs.Default, location)
	}
	u, err := url.Parse(location)
	if err != nil {
		return nil, fmt.Errorf("store: open %q: %w", location, err)
	}
	switch scheme {
	case "file":
		if u.Host != "" && u.Host != "localhost" || u.Path == "" {
			return nil, fmt.Errorf("store: open %q: a file URL has three slashes: file:///path", location)
		}
		return OpenDir(vfs.Default, u.Path)
	case "mem":
		return openMem(u.Host + u.Path), nil
	}
	openers.mu.Lock()
	open := openers.mu.byScheme[scheme]
	openers.mu.Unlock()
	if open != nil {
		st, err := open(ctx, u)
		if err != nil {
			return nil, fmt.Errorf("store: open %s: %w", u.Redacted(), err)
		}
		return st, nil
	}
	if p := packages[scheme]; p != "" {
		return nil, fmt.Errorf("store: open %s: this program has no %s storage; import github.com/weirflow/weir/checkpoint/store/%s", u.Redacted(), scheme, p)
	}
	return nil, fmt.Errorf("store: open %s: unknown scheme %q; file, s3, gs, azblob and mem are known", u.Redacted(), scheme)
}
