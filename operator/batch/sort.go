package batch

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
	"github.com/weirflow/weir/shuffle/spill"
)

// SorterOptions configure a Sorter. Key or ByHash is needed.
type SorterOptions[T any] struct {
	// Key appends the key of a record to dst. Keys are compared as bytes: see
	// AppendInt and those beside it.
	Key func(dst []byte, v *T) []byte
	// ByHash sorts by the hashes that batches come with, and leave with again: the
	// records of one key stand together, in the order in which they came, and may be
	// mixed with those of others that have the same hash.
	ByHash bool
	// Memory is the budget in bytes. Default 64 MB, at least 64 kB.
	Memory int
	// FS and Dir say where runs go. Default: the file system, its directory for
	// temporary files.
	FS  vfs.FS
	Dir string
	// Compression of the runs. Default none.
	Compression spill.Compression
	// FanIn is the largest number of runs that are merged at once, at least 2. Default:
	// as many as there is memory for.
	FanIn int
}

// DefaultMemory is the budget where none is given, MinMemory the smallest.
const (
	DefaultMemory = 64 << 20
	MinMemory     = 64 << 10
)

// SorterStats says what sorting has cost.
type SorterStats struct {
	Records int64
	// Runs that were written, without those of merges.
	Runs int
	// Merges that were needed before the last.
	Merges int
	// Spilled is the number of bytes written to disk.
	Spilled int64
	// Memory is the most that was held.
	Memory int
}

// Sorter sorts more records than memory holds: records are encoded and collected,
// sorted when the memory is used up, and written as runs, which are merged in the end.
//
// What has a type is thin: it is compiled once more for each type of a program's records.
type Sorter[T any] struct {
	sorter
	codec *codec.Codec[T]
	keyOf func(dst []byte, v *T) []byte // nil: by hash
	key   []byte
	value []byte
}

// sorter is all of it that does not know what a record is.
type sorter struct {
	compression spill.Compression
	scratch     scratch
	arena       arena
	memory      int // the budget
	limit       int // of the arena, three quarters
	block       int // bytes of a block of a run
	fanIn       int
	runs        []run
	stats       SorterStats
	entry       []byte
	err         error // the first; nothing goes on behind it
}

type run struct {
	path  string
	bytes int64
}

// NewSorter makes a sorter. The error names the part of T that cannot be encoded.
func NewSorter[T any](opt SorterOptions[T]) (*Sorter[T], error) {
	c, err := codec.For[T]()
	if err != nil {
		return nil, fmt.Errorf("operator/batch: sorting: %w", err)
	}
	if opt.Key == nil && !opt.ByHash {
		return nil, errors.New("operator/batch: a sorter needs a key")
	}
	s := &Sorter[T]{codec: c, keyOf: opt.Key}
	if opt.ByHash {
		s.keyOf = nil
	}
	s.open(opt.FS, opt.Dir, opt.Compression, opt.Memory, opt.FanIn)
	return s, nil
}

func (s *sorter) open(fs vfs.FS, dir string, c spill.Compression, memory, fanIn int) {
	if memory == 0 {
		memory = DefaultMemory
	}
	memory = max(memory, MinMemory)
	s.scratch = newScratch(fs, dir, "sort")
	s.compression, s.memory = c, memory
	s.block = min(max(memory/128, 1<<10), 128<<10)
	s.limit = memory / 4 * 3
	s.arena.chunk = min(max(memory/64, 1<<10), 1<<20)
	// A reader holds a block as it is stored, one decompressed, and a little.
	s.fanIn = max(2, memory/4/(2*s.block+8<<10))
	if fanIn > 0 {
		s.fanIn = max(2, min(s.fanIn, fanIn))
	}
}

// Add takes the records of a lent batch.
func (s *Sorter[T]) Add(ctx context.Context, b *flow.Batch[T]) error {
	if s.err != nil {
		return s.err
	}
	if s.err = ctx.Err(); s.err == nil {
		s.err = s.add(ctx, b)
	}
	return s.err
}

func (s *Sorter[T]) add(ctx context.Context, b *flow.Batch[T]) (err error) {
	defer encodeError(&err)
	if s.keyOf == nil && len(b.Hashes) != len(b.Values) {
		return fmt.Errorf("operator/batch: %d records to be sorted by hash came with %d hashes", len(b.Values), len(b.Hashes))
	}
	for i := range b.Values {
		if s.keyOf == nil {
			s.key = AppendUint(s.key[:0], uint64(b.Hashes[i]))
		} else {
			s.key = s.keyOf(s.key[:0], &b.Values[i])
		}
		s.value = s.codec.Append(s.value[:0], &b.Values[i])
		if err := s.take(ctx, s.key, s.value, b.Time(i)); err != nil {
			return err
		}
	}
	s.stats.Memory = max(s.stats.Memory, s.arena.size())
	return nil
}

// take takes an encoded record.
func (s *sorter) take(ctx context.Context, key, value []byte, t flow.Time) error {
	s.entry = appendEntry(s.entry[:0], key, value, t)
	if len(s.entry) > maxEntry {
		return fmt.Errorf("operator/batch: a record of %d bytes; up to %d can be sorted", len(s.entry), maxEntry)
	}
	if len(s.arena.refs) > 0 && (s.arena.wants(len(s.entry)) > s.limit || len(s.arena.refs) == maxRefs) {
		if err := s.spill(ctx); err != nil {
			return err
		}
	}
	s.arena.add(s.entry, prefixOf(key), len(key))
	s.stats.Records++
	return nil
}

// encodeError turns the panic of a record that cannot be encoded into an error. It
// is to be deferred.
func encodeError(err *error) {
	switch r := recover().(type) {
	case nil:
	case *codec.EncodeError:
		*err = fmt.Errorf("operator/batch: a record: %w", r)
	default:
		panic(r) // Not one of ours: a user's function has panicked.
	}
}

// spill writes what is in memory as a run.
func (s *sorter) spill(ctx context.Context) error {
	s.stats.Memory = max(s.stats.Memory, s.arena.size())
	s.arena.sort()
	r, err := s.write(ctx, newMerger([]source{&memorySource{arena: &s.arena}}))
	if err != nil {
		return err
	}
	s.arena.reset()
	s.runs = append(s.runs, r)
	s.stats.Runs++
	return nil
}

// write writes a run.
func (s *sorter) write(ctx context.Context, from *merger) (r run, err error) {
	defer func() { err = errors.Join(err, from.close()) }()
	if r.path, err = s.scratch.path(); err != nil {
		return r, err
	}
	f, err := s.scratch.fs.Create(r.path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return r, fmt.Errorf("operator/batch: making a run: %w", err)
	}
	defer func() {
		if e := f.Close(); e != nil {
			err = errors.Join(err, fmt.Errorf("operator/batch: closing a run: %w", e))
		}
	}()
	var (
		w       = spill.BlockWriter{Compression: s.compression}
		body    = make([]byte, 0, s.block)
		out     []byte
		records int64
	)
	flush := func() error {
		if out, err = w.Append(out[:0], body); err != nil {
			return err
		}
		body = body[:0]
		return s.put(f, &r, out)
	}
	for {
		e, err := from.next()
		if err != nil {
			return r, err
		}
		if e == nil {
			break
		}
		if len(body) > 0 && len(body)+len(e.all) > s.block {
			if err := ctx.Err(); err != nil {
				return r, err
			}
			if err := flush(); err != nil {
				return r, err
			}
		}
		body = append(body, e.all...)
		records++
	}
	if len(body) > 0 {
		if err := flush(); err != nil {
			return r, err
		}
	}
	return r, s.put(f, &r, spill.AppendEnd(out[:0], records))
}

func (s *sorter) put(f vfs.File, r *run, p []byte) error {
	n, err := f.Write(p)
	r.bytes += int64(n)
	s.stats.Spilled += int64(n)
	if err != nil {
		return fmt.Errorf("operator/batch: writing a run: %w", err)
	}
	return nil
}

// Sort ends the input and begins the output. Runs are merged until few enough are
// left for the last merge, which is done while the output is read.
func (s *Sorter[T]) Sort(ctx context.Context) (*Sorted[T], error) {
	m, err := s.sort(ctx)
	if err != nil {
		return nil, err
	}
	return &Sorted[T]{codec: s.codec, byHash: s.keyOf == nil, merger: m}, nil
}

func (s *sorter) sort(ctx context.Context) (*merger, error) {
	if s.err == nil {
		s.err = s.reduce(ctx)
	}
	if s.err != nil {
		return nil, s.err
	}
	s.arena.sort()
	m, err := s.merge(s.runs)
	if err != nil {
		s.err = err
		return nil, err
	}
	// What is in memory came last.
	if len(s.arena.refs) > 0 {
		m.sources = append(m.sources, &memorySource{arena: &s.arena})
	}
	s.err = errors.New("operator/batch: sorted already")
	return newMerger(m.sources), nil
}

// reduce merges neighbours, the smallest first, so that equal keys stay in order.
func (s *sorter) reduce(ctx context.Context) error {
	for len(s.runs) > s.fanIn {
		// As many as leave full merges for the rest.
		n := min(s.fanIn, len(s.runs)-s.fanIn+1)
		best, least := 0, int64(-1)
		for i := 0; i+n <= len(s.runs); i++ {
			var size int64
			for _, r := range s.runs[i : i+n] {
				size += r.bytes
			}
			if least < 0 || size < least {
				best, least = i, size
			}
		}
		m, err := s.merge(s.runs[best : best+n])
		if err != nil {
			return err
		}
		merged, err := s.write(ctx, m)
		if err != nil {
			return err
		}
		for _, r := range s.runs[best : best+n] {
			if err := s.scratch.fs.Remove(r.path); err != nil {
				return fmt.Errorf("operator/batch: removing a merged run: %w", err)
			}
		}
		s.runs[best] = merged
		s.runs = append(s.runs[:best+1], s.runs[best+n:]...)
		s.stats.Merges++
	}
	return nil
}

// merge opens runs.
func (s *sorter) merge(runs []run) (*merger, error) {
	var sources []source
	for _, r := range runs {
		src, err := openRun(s.scratch.fs, r.path)
		if err != nil {
			return nil, errors.Join(err, newMerger(sources).close())
		}
		sources = append(sources, src)
	}
	return newMerger(sources), nil
}

// Stats says what it has cost so far.
func (s *sorter) Stats() SorterStats { return s.stats }

// Close removes the files. The output is to be closed before.
func (s *sorter) Close() error {
	if s.err == nil {
		s.err = errors.New("operator/batch: the sorter is closed")
	}
	s.arena = arena{}
	return s.scratch.remove()
}
