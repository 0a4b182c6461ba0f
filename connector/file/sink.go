package file

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
)

// Codec is a compression of what a sink writes.
type Codec uint8

const (
	// None writes plain text files, Avro with the null codec, Parquet with snappy.
	None Codec = iota
	// Gzip writes text files with the suffix .gz, Avro with deflate.
	Gzip
	// Zstd writes text files with the suffix .zst, Avro with zstandard.
	Zstd
)

// SinkOption fits all sinks.
type SinkOption func(*sinkSettings)

func (o SinkOption) csvSink(s *sinkSettings) { o(s) }

// CSVSinkOption is an option of [CSVSink].
type CSVSinkOption interface{ csvSink(*sinkSettings) }

func (o CommaOption) csvSink(s *sinkSettings) { s.comma = byte(o) }

// NoHeaderOption fits [CSVSink].
type NoHeaderOption struct{}

func (NoHeaderOption) csvSink(s *sinkSettings) { s.noHeader = true }

// NoHeader leaves out the line that names the columns.
func NoHeader() NoHeaderOption { return NoHeaderOption{} }

type sinkSettings struct {
	rollSize  int64         // bytes, default 128 MB
	rollEvery time.Duration // default: never before the epoch's end
	codec     Codec
	prefix    string // default "part"
	maxOpen   int    // default 64
	comma     byte
	noHeader  bool

	testing struct {
		fs        fileSystem
		rowGroup  int64 // bytes, default 16 MB
		allocator any
	}
}

// RollSize sets the size in bytes at which a file is finished and another begun.
// The default is 128 MB. Each epoch ends the files too.
func RollSize(bytes int64) SinkOption {
	return func(s *sinkSettings) { s.rollSize = orInvalid(bytes) }
}

// RollEvery finishes a file when it has been open for d. Without it a file is open
// until it has its size or its epoch ends.
func RollEvery(d time.Duration) SinkOption {
	return func(s *sinkSettings) {
		s.rollEvery = d
		if d == 0 {
			s.rollEvery = -1
		}
	}
}

// Prefix sets what file names begin with. The default is "part".
func Prefix(prefix string) SinkOption { return func(s *sinkSettings) { s.prefix = prefix } }

// Compression compresses files. The default is [None].
func Compression(c Codec) SinkOption { return func(s *sinkSettings) { s.codec = c } }

// MaxOpen bounds the files that a subtask has open at a time, when records go to
// many partitions: with one more, the one unused for longest is finished. The
// default is 64.
func MaxOpen(n int) SinkOption {
	return func(s *sinkSettings) { s.maxOpen = int(orInvalid(int64(n))) }
}

func (s *sinkSettings) ensureDefaults() {
	if s.rollSize == 0 {
		s.rollSize = 128 << 20
	}
	if s.prefix == "" {
		s.prefix = "part"
	}
	if s.maxOpen == 0 {
		s.maxOpen = 64
	}
	if s.comma == 0 {
		s.comma = ','
	}
	if s.testing.fs == nil {
		s.testing.fs = osFS{}
	}
	if s.testing.rowGroup == 0 {
		s.testing.rowGroup = 16 << 20
	}
}

func (s *sinkSettings) validate(dir string) error {
	switch {
	case dir == "":
		return errors.New("file: a sink needs the path of the folder to write to; it is empty")
	case s.rollSize < 0:
		return fmt.Errorf("file: RollSize is %d; it must be more than 0", s.rollSize)
	case s.rollEvery < 0:
		return fmt.Errorf("file: RollEvery is %v; it must be more than 0", s.rollEvery)
	case s.maxOpen < 0:
		return fmt.Errorf("file: MaxOpen is %d; it must be more than 0", s.maxOpen)
	case s.codec > Zstd:
		return fmt.Errorf("file: Compression is %d; it must be None, Gzip or Zstd", s.codec)
	case unfinished(s.prefix) || strings.ContainsAny(s.prefix, `/\`) || len(s.prefix) > 100:
		return fmt.Errorf("file: Prefix is %q; it may not begin with '.' or '_', which hide files from readers, hold a slash, or be longer than 100 bytes", s.prefix)
	case s.comma == '"' || s.comma == '\n' || s.comma == '\r':
		return fmt.Errorf("file: Comma is %q, which ends or quotes fields itself", s.comma)
	}
	return nil
}

// Sink writes records to files of a folder, which is made if need be.
//
// A file's final name is
//
//	<folder>/<partition>/<prefix>-<sink>-<subtask>-<epoch>-<number><suffix>
//
// where sink is a hash of the job's and the operator's id: two jobs, or two sinks of
// one job, may write to one folder. A file has its final name when the epoch in
// which it was written is committed; until then its name begins with a '.' and ends
// in .inprogress, and no file source takes it. No file is ever written over.
//
// A commit reads each file once more and compares its checksum before it gives any
// of the epoch's files their names. What attempts left behind that died is removed
// when the next attempt starts.
type Sink[T any] struct {
	format    string
	dir       string
	set       sinkSettings
	suffix    string
	partition func(T) string
	encoder   func(w io.Writer) (encoder[T], error)
	err       error
}

// encoder writes records in one format.
type encoder[T any] interface {
	encode(v *T) error
	// buffered is the number of bytes that will be written, but have not been.
	buffered() int64
	// finish writes what is left. The writer below stays open.
	finish() error
}

func newSink[T any](format, dir, suffix string, set sinkSettings) *Sink[T] {
	set.ensureDefaults()
	s := &Sink[T]{format: format, dir: filepath.Clean(dir), set: set, suffix: suffix}
	s.err = set.validate(dir)
	return s
}

// PartitionBy puts each record in the folder below the sink's that fn names, such
// as "dt=2026-01-01" or "dt=2026-01-01/hour=07". fn is called once a record; it
// must not change it. The characters that are unsafe in a name are replaced by
// their code as in URLs, and so are elements of dots alone: a record cannot leave
// the folder. "" is the folder itself.
func (s *Sink[T]) PartitionBy(fn func(T) string) *Sink[T] {
	c := *s
	c.partition = fn
	return &c
}

// Validate says what is wrong with the sink's options or its type, before the job
// runs. Writer returns the same error.
func (s *Sink[T]) Validate() error { return s.err }

// Info describes the sink.
func (s *Sink[T]) Info() operator.SinkInfo {
	attrs := []graph.Attr{{Key: "format", Value: s.format}, {Key: "path", Value: s.dir}}
	if s.partition != nil {
		attrs = append(attrs, graph.Attr{Key: "partitioned", Value: "true"})
	}
	return operator.SinkInfo{Kind: "file", Attrs: attrs, Guarantee: graph.ExactlyOnce}
}

// Writer makes the task's side.
func (s *Sink[T]) Writer(ctx *operator.WriterContext) (operator.Writer[T], error) {
	if s.err != nil {
		return nil, s.err
	}
	return newWriter(s, ctx), nil
}

// Committer makes the job's side.
func (s *Sink[T]) Committer(ctx *operator.CommitterContext) (operator.Committer, error) {
	if s.err != nil {
		return nil, s.err
	}
	return &committer{fs: s.set.testing.fs, dir: s.dir, prefix: s.set.prefix, id: sinkID(ctx.Job, ctx.Operator), attempt: ctx.Attempt}, nil
}

// cleanPartition makes a relative path of what a partition function returned.
// It ends with a slash, unless it is empty.
func cleanPartition(name string) (string, error) {
	if len(name) > maxPartition {
		return "", fmt.Errorf("file: the partition %q is %d bytes long, more than %d", operator.Excerpt(name, 60), len(name), maxPartition)
	}
	var b strings.Builder
	for elem := range strings.SplitSeq(name, "/") {
		if elem == "" {
			continue
		}
		dots := strings.Trim(elem, ".") == ""
		for i := range len(elem) {
			c := elem[i]
			hide := i == 0 && (c == '.' || c == '_') // readers would pass over it
			if c < ' ' || c == 0x7f || strings.IndexByte(`%\:*?"<>|`, c) >= 0 || dots || hide {
				fmt.Fprintf(&b, "%%%02X", c)
			} else {
				b.WriteByte(c)
			}
		}
		b.WriteByte('/')
	}
	return b.String(), nil
}

// maxPartition bounds a partition's name, which stays within what file systems take.
const maxPartition = 200
