package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/weirflow/weir/flow"
)

// ErrVanished is wrapped by the error of a file that is gone before it was read.
var ErrVanished = errors.New("file vanished")

// ErrChanged is wrapped by the error of a file that is not, before it has been
// read to its end, what it was when it was found.
var ErrChanged = errors.New("file changed")

// errCorrupt marks what is wrong inside a file, as opposed to the disk that it is
// on: it becomes a bad record, and not an error of the source.
var errCorrupt = errors.New("corrupt")

// maxWindow bounds the memory of one zstd decoder.
const maxWindow = 128 << 20

// codec is how a file is compressed as a whole.
type codec uint8

const (
	plain codec = iota
	gzipped
	zstded
)

func (c codec) String() string { return [...]string{"plain", "gzip", "zstd"}[c] }

// sniff tells a file's codec by its first bytes, and only by them: a .gz that is
// plain text is read as plain text, as gzip -dcf does. A name that promises what
// the bytes do not keep is the writer's slip, the bytes are what is there.
func sniff(r io.ReaderAt) (codec, error) {
	var magic [4]byte
	n, err := r.ReadAt(magic[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return plain, err
	}
	switch s := string(magic[:n]); {
	case strings.HasPrefix(s, "\x1f\x8b"):
		return gzipped, nil
	case s == "\x28\xb5\x2f\xfd":
		return zstded, nil
	// A skippable frame may come first: 0x184D2A50 to 5F, little endian.
	case n == 4 && s[0]&0xf0 == 0x50 && s[1:] == "\x2a\x4d\x18":
		return zstded, nil
	}
	return plain, nil
}

// input is a split's file, open and known to be the one that was found.
type input struct {
	inFile
	path    string
	size    int64
	modTime int64
	read    int64 // bytes read from the file so far
}

// openInput opens d's file.
func openInput(fsys fileSystem, d *splitData) (*input, error) {
	f, err := fsys.Open(d.Path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, external(false, fmt.Errorf("%w: %s was there when the folder was listed and is gone now, with %d bytes of it not read; keep files in place until the job has read them",
				ErrVanished, d.Path, d.Size-d.At.Read))
		}
		return nil, external(true, fmt.Errorf("opening %s to read it: %w", d.Path, err))
	}
	in := &input{inFile: f, path: d.Path, size: d.Size, modTime: d.ModTime}
	if err := in.check(d.At.Offset); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return in, nil
}

// Read counts.
func (in *input) Read(p []byte) (int, error) {
	n, err := in.inFile.Read(p)
	in.read += int64(n)
	if err != nil && err != io.EOF { //nolint:errorlint // io.Reader's contract
		err = external(true, fmt.Errorf("reading %s: %w", in.path, err))
	}
	return n, err
}

// ReadAt counts too.
func (in *input) ReadAt(p []byte, off int64) (int, error) {
	n, err := in.inFile.ReadAt(p, off)
	in.read += int64(n)
	if err != nil && err != io.EOF { //nolint:errorlint // io.ReaderAt's contract
		err = external(true, fmt.Errorf("reading %s at byte %d: %w", in.path, off, err))
	}
	return n, err
}

// check compares the file with what was found. offset is how far it was read.
func (in *input) check(offset int64) error {
	info, err := in.Stat()
	if err != nil {
		return external(true, fmt.Errorf("looking at %s: %w", in.path, err))
	}
	if info.Size() == in.size && info.ModTime().UnixNano() == in.modTime {
		return nil
	}
	what := "was written again, with the same size"
	switch {
	case info.Size() < in.size:
		what = "shrank"
	case info.Size() > in.size:
		what = "grew"
	}
	return external(false, fmt.Errorf("%w: %s %s while it was read (byte %d): it had %d bytes when it was found and has %d now; write a file under a name that begins with '.' or '_' or ends in .tmp, and rename it when it is complete",
		ErrChanged, in.path, what, offset, in.size, info.Size()))
}

// external makes a failure of something outside the engine and the program.
func external(retry bool, err error) error {
	return &flow.Failure{Domain: flow.DomainExternal, Retryable: retry, Cause: err}
}

// decompress puts a decoder over in, which stands at its beginning. What it
// returns is closed before the file is.
func decompress(in *input, c codec) (io.ReadCloser, error) {
	switch c {
	case gzipped:
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, corrupt(c, err)
		}
		return &unpacker{r: z, close: func() { _ = z.Close() }, codec: c}, nil
	case zstded:
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, corrupt(c, err)
		}
		return &unpacker{r: z, close: z.Close, codec: c}, nil
	}
	return io.NopCloser(in), nil
}

// unpacker marks the decoder's errors as the file's fault, unless the file could
// not be read.
type unpacker struct {
	r     io.Reader
	close func() // repeats what Read said
	codec codec
}

func (u *unpacker) Close() error { u.close(); return nil }

func (u *unpacker) Read(p []byte) (int, error) {
	n, err := u.r.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // io.Reader's contract
		err = corrupt(u.codec, err)
	}
	return n, err
}

func corrupt(c codec, err error) error {
	var f *flow.Failure
	switch {
	case errors.As(err, &f):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fmt.Errorf("%w: the %s stream is cut off; was the file copied completely?", errCorrupt, c)
	}
	return fmt.Errorf("%w: the %s stream is broken: %w", errCorrupt, c, err)
}
