package file

import (
	"fmt"
	"time"
)

// settings are a source's options. Zero values are replaced by ensureDefaults.
type settings struct {
	watch         time.Duration // 0: list once
	recursive     bool          // default: only the folder itself
	splitSize     int64         // bytes, default 32 MB
	maxRecord     int           // bytes, default 16 MB
	maxFiles      int           // default 1,000,000
	ignoreChanged bool

	columns    []string // CSV: nil means that the first line is a header
	comma      byte     // CSV: default ','
	singleLine bool     // CSV: no field holds a newline
	strict     bool     // JSON Lines: unknown fields are bad

	testing struct {
		fs        fileSystem // default: the operating system's
		blockSize int        // bytes, default 256 KB
		allocator any        // memory.Allocator of arrow
	}
}

const (
	defaultSplitSize = 32 << 20
	defaultMaxRecord = 16 << 20
	defaultMaxFiles  = 1_000_000
	defaultBlockSize = 256 << 10
)

func (s *settings) ensureDefaults() {
	if s.splitSize == 0 {
		s.splitSize = defaultSplitSize
	}
	if s.maxRecord == 0 {
		s.maxRecord = defaultMaxRecord
	}
	if s.maxFiles == 0 {
		s.maxFiles = defaultMaxFiles
	}
	if s.comma == 0 {
		s.comma = ','
	}
	if s.testing.fs == nil {
		s.testing.fs = osFS{}
	}
	if s.testing.blockSize == 0 {
		s.testing.blockSize = defaultBlockSize
	}
}

func (s *settings) validate() error {
	switch {
	case s.watch < 0:
		return fmt.Errorf("file: the interval of Watch is %v; it must be more than 0", s.watch)
	case s.splitSize < 0:
		return fmt.Errorf("file: SplitSize is %d; it must be more than 0", s.splitSize)
	case s.maxRecord < 0:
		return fmt.Errorf("file: MaxRecord is %d; it must be more than 0", s.maxRecord)
	case s.maxFiles < 0:
		return fmt.Errorf("file: MaxFiles is %d; it must be more than 0", s.maxFiles)
	case s.comma == '"' || s.comma == '\n' || s.comma == '\r':
		return fmt.Errorf("file: Comma is %q, which ends or quotes fields itself", s.comma)
	}
	return nil
}

// Each format takes the options that mean something to it: the others do not
// compile.
type (
	// TextOption is an option of [Text].
	TextOption interface{ text(*settings) }
	// CSVOption is an option of [CSV].
	CSVOption interface{ csv(*settings) }
	// JSONOption is an option of [JSONLines].
	JSONOption interface{ json(*settings) }
	// AvroOption is an option of [Avro].
	AvroOption interface{ avro(*settings) }
	// ParquetOption is an option of [Parquet].
	ParquetOption interface{ parquet(*settings) }
)

// SourceOption fits all sources.
type SourceOption func(*settings)

func (o SourceOption) text(s *settings)    { o(s) }
func (o SourceOption) csv(s *settings)     { o(s) }
func (o SourceOption) json(s *settings)    { o(s) }
func (o SourceOption) avro(s *settings)    { o(s) }
func (o SourceOption) parquet(s *settings) { o(s) }

// Watch makes the source unbounded: the path is listed again after each interval,
// and files that were not there before are read, oldest first.
//
// A file is taken when its size and time have stayed the same from one listing to
// the next, or are older than the interval; so a file that is slowly copied into
// the folder is not read too early. To rename complete files into place is safer,
// and faster. A file is read once, by its path: if it changes later the source
// fails, rather than leave out what is new (see [IgnoreChanged]). When a file was
// removed and one of the same name comes, the new one is read. Growing files are
// not followed.
//
// The source remembers the files that are in place: about 100 bytes and the
// path for each in memory, some 10 to 30 bytes in a checkpoint; see [MaxFiles].
func Watch(interval time.Duration) SourceOption {
	return func(s *settings) {
		s.watch = interval
		if interval == 0 {
			s.watch = -1 // refused by validate
		}
	}
}

// Recursive takes the files of the folders below a folder too.
func Recursive() SourceOption { return func(s *settings) { s.recursive = true } }

// SplitSize sets the size in bytes from which a file is read in several parts, by
// several subtasks. The default is 32 MB. Compressed files are read as a whole,
// and so are CSV files without [SingleLine].
func SplitSize(bytes int64) SourceOption {
	return func(s *settings) { s.splitSize = orInvalid(bytes) }
}

// MaxFiles bounds the number of files that the source finds; with one more it
// fails. The default is 1,000,000.
func MaxFiles(n int) SourceOption {
	return func(s *settings) { s.maxFiles = int(orInvalid(int64(n))) }
}

// IgnoreChanged makes a watched source pass over files that changed after they
// were found: what is new in them is not read. A file that changes while it is
// being read is an error nevertheless.
func IgnoreChanged() SourceOption { return func(s *settings) { s.ignoreChanged = true } }

// orInvalid keeps an explicit 0 from being taken for the default.
func orInvalid(n int64) int64 {
	if n == 0 {
		return -1
	}
	return n
}

// LineOption fits the sources that read lines.
type LineOption func(*settings)

func (o LineOption) text(s *settings) { o(s) }
func (o LineOption) csv(s *settings)  { o(s) }
func (o LineOption) json(s *settings) { o(s) }

// MaxRecord sets the size in bytes above which a record is bad: it is not held in
// memory. The default is 16 MB.
func MaxRecord(bytes int) LineOption {
	return func(s *settings) { s.maxRecord = int(orInvalid(int64(bytes))) }
}

// CSVOnlyOption fits [CSV].
type CSVOnlyOption func(*settings)

func (o CSVOnlyOption) csv(s *settings) { o(s) }

// Columns names the columns of files that have no header line, in order. "" names
// a column that is not read.
func Columns(names ...string) CSVOnlyOption {
	return func(s *settings) { s.columns = append([]string{}, names...) }
}

// SingleLine promises that no quoted field holds a newline, so that large files
// can be read in several parts. A record that breaks the promise is bad.
func SingleLine() CSVOnlyOption { return func(s *settings) { s.singleLine = true } }

// JSONOnlyOption fits [JSONLines].
type JSONOnlyOption func(*settings)

func (o JSONOnlyOption) json(s *settings) { o(s) }

// KnownFieldsOnly makes a line with a field that the type lacks a bad record.
func KnownFieldsOnly() JSONOnlyOption { return func(s *settings) { s.strict = true } }

// Comma sets the byte between two fields, of [CSV] and [CSVSink]. The default
// is ','.
func Comma(c byte) CommaOption { return CommaOption(c) }

// CommaOption fits CSV, read and written.
type CommaOption byte

func (o CommaOption) csv(s *settings) { s.comma = byte(o) }
