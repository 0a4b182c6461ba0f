package file

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strconv"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/vmihailenco/msgpack/v5"
	"github.com/zeebo/xxh3"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
)

// writer is the task's side of a sink.
//
// A part is open from the first record of its partition until it has its size or
// age, there are too many, or the epoch ends. Then it is flushed, synced and closed,
// and waits for Prepare, which gives it its final name and hands it over.
type writer[T any] struct {
	sink *Sink[T]
	ctx  *operator.WriterContext
	fs   fileSystem
	id   string // of the job and operator

	open   map[string]*part[T] // by partition, as fn names it
	last   *part[T]            // the one written last
	number int                 // of the next part
	use    int64               // counts uses, for the least recently used
	closed []closedPart
	synced map[string]bool // folders whose names are safe
	dirs   map[string]bool // folders that are there
	bytes  int64           // written and not yet counted
}

// part is an open file.
type part[T any] struct {
	key     string // what the partition function returned
	dir     string // the partition's folder below the sink's, with a slash
	temp    string
	file    outFile
	out     *counter
	buf     *bufio.Writer
	pack    io.WriteCloser // nil if not compressed
	enc     encoder[T]
	due     flow.Time // when it is finished for its age; 0 for never
	used    int64
	records int64
}

// counter counts and sums what goes to a file.
type counter struct {
	w     io.Writer
	n     int64
	total *int64
	sum   *xxh3.Hasher
	err   error // of the file, which encoders may hide in errors of their own
}

func (c *counter) Write(p []byte) (int, error) {
	// First the sum: a file may use p as it likes. If it takes less than all of p the
	// part fails.
	_, _ = c.sum.Write(p)
	n, err := c.w.Write(p)
	c.n += int64(n)
	*c.total += int64(n)
	if err != nil {
		c.err = err
	}
	return n, err
}

type closedPart struct {
	dir, temp string
	size      int64
	sum       uint64
	records   int64
}

func newWriter[T any](s *Sink[T], ctx *operator.WriterContext) *writer[T] {
	return &writer[T]{
		sink: s, ctx: ctx, fs: s.set.testing.fs, id: sinkID(ctx.Job, ctx.Operator),
		open: map[string]*part[T]{}, synced: map[string]bool{}, dirs: map[string]bool{},
	}
}

// sinkID is a short name for an operator of a job.
func sinkID(job flow.JobID, op flow.OperatorID) string {
	return fmt.Sprintf("%08x", uint32(xxh3.HashString(strconv.Itoa(len(job))+":"+string(job)+"/"+string(op))))
}

// Write encodes a batch.
func (w *writer[T]) Write(b *flow.Batch[T]) error {
	fn := w.sink.partition
	for i := range b.Values {
		key := ""
		if fn != nil {
			key = fn(b.Values[i])
		}
		p := w.last
		if p == nil || p.key != key {
			var err error
			if p, err = w.part(key); err != nil {
				return err
			}
		}
		if err := p.enc.encode(&b.Values[i]); err != nil {
			return w.refused(p, err)
		}
		p.records++
		if p.out.n+int64(p.buf.Buffered())+p.enc.buffered() >= w.sink.set.rollSize {
			if err := w.finish(p); err != nil {
				return err
			}
		}
	}
	w.count()
	return nil
}

// count reports what went to files since it was last called.
func (w *writer[T]) count() {
	if w.ctx.Metrics != nil {
		w.ctx.Metrics.Bytes.Add(w.bytes)
	}
	w.bytes = 0
}

func (w *writer[T]) failed(p *part[T], what string, err error) error {
	return external(true, fmt.Errorf("file: %s %s: %w", what, p.temp, err))
}

// refused tells a record that the format cannot hold from a file that cannot be
// written: the first stays so however often it is tried.
func (w *writer[T]) refused(p *part[T], err error) error {
	if p.out.err != nil {
		return w.failed(p, "writing to", err)
	}
	return fmt.Errorf("file: record %d of %s cannot be written as %s: %w", p.records+1, p.temp, w.sink.format,
		&flow.Failure{Domain: flow.DomainUser, Cause: err})
}

// part returns the open part of a partition, or opens one.
func (w *writer[T]) part(key string) (*part[T], error) {
	w.use++
	p, ok := w.open[key]
	if !ok {
		if len(w.open) >= w.sink.set.maxOpen {
			if err := w.finish(w.oldest()); err != nil {
				return nil, err
			}
		}
		var err error
		if p, err = w.create(key); err != nil {
			return nil, err
		}
		w.open[p.key] = p
	}
	p.used = w.use
	w.last = p
	return p, nil
}

func (w *writer[T]) oldest() *part[T] {
	var old *part[T]
	for _, p := range w.open {
		if old == nil || p.used < old.used {
			old = p
		}
	}
	return old
}

// tempName names a part while it is written; parseTemp reads it.
func tempName(subtask, number int, id string, attempt flow.Attempt) string {
	return fmt.Sprintf(".part-%d-%d.%s-%d.inprogress", subtask, number, id, attempt)
}

// finalName names a part that was committed, but for its suffix; parseFinal reads it.
func finalName(prefix, id string, subtask int, epoch flow.Epoch, number int) string {
	return fmt.Sprintf("%s-%s-%d-%d-%d", prefix, id, subtask, epoch, number)
}

func (w *writer[T]) create(key string) (*part[T], error) {
	dir, err := cleanPartition(key)
	if err != nil {
		return nil, err
	}
	p := &part[T]{key: key, dir: dir}
	folder := filepath.Join(w.sink.dir, filepath.FromSlash(dir))
	if !w.dirs[folder] {
		if err := w.fs.MkdirAll(folder); err != nil {
			return nil, external(true, fmt.Errorf("file: making the folder %s: %w", folder, err))
		}
		if len(w.dirs) >= maxDirs {
			clear(w.dirs)
		}
		w.dirs[folder] = true
	}
	p.temp = filepath.Join(folder, tempName(w.ctx.Subtask, w.number, w.id, w.ctx.Attempt))
	w.number++
	if p.file, err = w.fs.Create(p.temp); err != nil {
		return nil, w.failed(p, "creating", err)
	}
	p.out = &counter{w: p.file, total: &w.bytes, sum: xxh3.New()}
	p.buf = bufio.NewWriterSize(p.out, 64<<10)
	var under io.Writer = p.buf
	if p.pack, err = packer(p.buf, w.sink); err == nil && p.pack != nil {
		under = p.pack
	}
	if err == nil {
		p.enc, err = w.sink.encoder(under)
	}
	if err != nil {
		return nil, errors.Join(w.failed(p, "beginning", err), p.file.Close(), w.fs.Remove(p.temp))
	}
	if every := w.sink.set.rollEvery; every > 0 {
		p.due = w.ctx.Now().Add(every)
		w.ctx.WakeAt(p.due)
	}
	return p, nil
}

// maxDirs bounds what is remembered of folders that were made.
const maxDirs = 4096

// packer compresses the formats that do not do it themselves.
func packer[T any](under io.Writer, s *Sink[T]) (io.WriteCloser, error) {
	if s.format == "avro" || s.format == "parquet" {
		return nil, nil
	}
	switch s.set.codec {
	case Gzip:
		return gzip.NewWriterLevel(under, gzip.BestSpeed)
	case Zstd:
		return zstd.NewWriter(under, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(1<<20))
	}
	return nil, nil
}

// finish makes a part complete and safe.
func (w *writer[T]) finish(p *part[T]) error {
	if err := p.enc.finish(); err != nil {
		return w.failed(p, "finishing", err)
	}
	if p.pack != nil {
		if err := p.pack.Close(); err != nil {
			return w.failed(p, "finishing", err)
		}
	}
	if err := p.buf.Flush(); err != nil {
		return w.failed(p, "writing to", err)
	}
	if err := p.file.Sync(); err != nil {
		return w.failed(p, "syncing", err)
	}
	delete(w.open, p.key)
	if w.last == p {
		w.last = nil
	}
	w.closed = append(w.closed, closedPart{dir: p.dir, temp: p.temp, size: p.out.n, sum: p.out.sum.Sum64(), records: p.records})
	if err := p.file.Close(); err != nil {
		return w.failed(p, "closing", err)
	}
	return nil
}

// Idle does nothing: what is written shows only after a commit.
func (w *writer[T]) Idle() error { return nil }

// Tick finishes the parts that are old enough.
func (w *writer[T]) Tick(now flow.Time) error {
	next := flow.MaxTime
	for _, p := range w.open {
		switch {
		case p.due == 0:
		case p.due <= now:
			if err := w.finish(p); err != nil {
				return err
			}
		default:
			next = min(next, p.due)
		}
	}
	if next != flow.MaxTime {
		w.ctx.WakeAt(next)
	}
	return nil
}

// prepared is what a writer hands to the committer: msgpack, see
// docs/format/file.md.
type prepared struct {
	ID      string       `msgpack:"id"`
	Subtask int          `msgpack:"subtask"`
	Attempt flow.Attempt `msgpack:"attempt"`
	Parts   []readyPart  `msgpack:"parts"`
}

// readyPart is a file to rename. The names are relative to the sink's folder.
type readyPart struct {
	Temp    string `msgpack:"temp"`
	Final   string `msgpack:"final"`
	Size    int64  `msgpack:"size"`
	Sum     uint64 `msgpack:"xxh3"`
	Records int64  `msgpack:"records"`
}

// Prepare finishes the parts and makes their temporary names safe too: a part that
// a power cut makes nameless could not be committed.
func (w *writer[T]) Prepare(b flow.Barrier) ([]byte, error) {
	for _, p := range w.open {
		if err := w.finish(p); err != nil {
			return nil, err
		}
	}
	w.count()
	if len(w.closed) == 0 {
		return nil, nil
	}
	pr := prepared{ID: w.id, Subtask: w.ctx.Subtask, Attempt: w.ctx.Attempt, Parts: make([]readyPart, 0, len(w.closed))}
	for dir := range w.synced {
		if len(dir) >= len(w.sink.dir) { // those above have got no new names
			delete(w.synced, dir)
		}
	}
	for i, c := range w.closed {
		folder := filepath.Dir(c.temp)
		if err := syncUp(w.fs, folder, w.sink.dir, w.synced); err != nil {
			return nil, external(true, fmt.Errorf("file: syncing the folder %s: %w", folder, err))
		}
		pr.Parts = append(pr.Parts, readyPart{
			Temp:  c.dir + filepath.Base(c.temp),
			Final: c.dir + finalName(w.sink.set.prefix, w.id, w.ctx.Subtask, b.Epoch, i) + w.sink.suffix,
			Size:  c.size, Sum: c.sum, Records: c.records,
		})
	}
	data, err := msgpack.Marshal(&pr)
	if err != nil {
		return nil, fmt.Errorf("file: encoding what is to be committed to %s: %w", w.sink.dir, err)
	}
	w.closed = nil
	return data, nil
}

// Close removes what no epoch will commit.
func (w *writer[T]) Close() error {
	var err error
	for _, p := range w.open {
		if p.pack != nil {
			_ = p.pack.Close() // its output is thrown away
		}
		err = errors.Join(err, p.file.Close(), w.remove(p.temp))
	}
	for _, c := range w.closed {
		err = errors.Join(err, w.remove(c.temp))
	}
	w.open, w.closed, w.last = nil, nil, nil
	if err != nil {
		return external(true, fmt.Errorf("file: removing unfinished files of %s: %w", w.sink.dir, err))
	}
	return nil
}

// remove removes a part, which a newer attempt may have done already.
func (w *writer[T]) remove(temp string) error {
	if err := w.fs.Remove(temp); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
