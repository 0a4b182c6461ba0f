package spill

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
	"github.com/weirflow/weir/shuffle"
)

// Host is where an output is written: a [Store], or in another process what asks the
// agent's store.
type Host interface {
	// Begin admits an output and says where its file goes.
	Begin(id ID) (path string, err error)
	// Reserve admits so many bytes more. The error says what the budget is.
	Reserve(id ID, bytes int64) error
	// Done is told of a finished output: from now on it may be read.
	Done(s Summary) error
	// Drop is told that an output was given up and that its file is gone.
	Drop(id ID)
}

// Written is an [Output] for whoever does not know its type.
type Written interface {
	Finish() (Summary, error)
	Abort()
}

// Options configure an Output; the zero value works.
type Options struct {
	// Partitions is the number of sub-partitions. Default 128, as many as a job has
	// key groups.
	Partitions int
	// Memory is the number of bytes that are collected before they are written.
	// Default 32 MB.
	Memory int
	// Compression of the blocks. Default none.
	Compression Compression
	// Sums makes the books have sums of hashes. Default: counts only.
	Sums bool
	// NoSync leaves out what protects against a loss of power: for files that nobody
	// reads after a restart.
	NoSync bool
}

// DefaultPartitions and DefaultMemory are those of Options.
const (
	DefaultPartitions = flow.DefaultMaxParallelism
	DefaultMemory     = 32 << 20
)

// EnsureDefaults fills what is not set.
func (o *Options) EnsureDefaults() {
	if o.Partitions <= 0 {
		o.Partitions = DefaultPartitions
	}
	if o.Memory <= 0 {
		o.Memory = DefaultMemory
	}
}

// BatchBytes is the size of batches, for shuffle.RouterOptions, with which what a
// router collects for the sub-partitions takes as much memory as the output at most.
func (o Options) BatchBytes() int {
	o.EnsureDefaults()
	return min(max(o.Memory/o.Partitions, 1<<10), shuffle.DefaultBatchBytes)
}

// Output is what a producing task writes to. Its senders are used by one writer of
// package shuffle; when that has sent the end of input, Finish makes the file.
type Output[T any] struct {
	id     ID
	opt    Options
	fs     vfs.FS
	host   Host
	path   string
	file   vfs.File
	offset int64
	codec  *codec.Codec[T]
	summer *shuffle.Summer[T]
	parts  []part
	index  index
	// A chunk is what the memory is divided into; used of them are filled.
	chunk  int
	used   int
	free   [][]byte
	blocks BlockWriter
	frame  []byte
	block  []byte
	spare  []*flow.Batch[T]
	ended  int
	err    error // the first; nothing is written behind it
	over   bool
}

// part is what is collected for a sub-partition.
type part struct {
	chunks [][]byte
	bytes  int
	ended  bool
}

// NewOutput begins an output. The error may be the host's, or name the part of T that
// cannot be encoded.
func NewOutput[T any](fs vfs.FS, host Host, id ID, opt Options) (*Output[T], error) {
	opt.EnsureDefaults()
	if opt.Partitions > flow.MaxMaxParallelism {
		return nil, fmt.Errorf("shuffle/spill: %d sub-partitions; there may be %d", opt.Partitions, flow.MaxMaxParallelism)
	}
	c, err := codec.For[T]()
	if err != nil {
		return nil, fmt.Errorf("shuffle/spill: %w", err)
	}
	o := &Output[T]{id: id, opt: opt, fs: fs, host: host, codec: c, parts: make([]part, opt.Partitions),
		chunk: min(max(opt.Memory/(4*opt.Partitions), 4<<10), 64<<10), blocks: BlockWriter{Compression: opt.Compression}}
	o.index.parts = make([]Size, opt.Partitions)
	if opt.Sums {
		if o.summer, err = shuffle.NewSummer[T](); err != nil {
			return nil, err
		}
	}
	if o.path, err = host.Begin(id); err != nil {
		return nil, err
	}
	if err := o.create(); err != nil {
		o.Abort()
		return nil, err
	}
	return o, nil
}

const unfinished = ".tmp"

// create makes the file and writes its header.
func (o *Output[T]) create() (err error) {
	schemas, err := codec.For[header]()
	if err != nil {
		return fmt.Errorf("shuffle/spill: header: %w", err)
	}
	head := schemas.AppendNamed(nil, &header{ID: o.id, Partitions: o.opt.Partitions, Schema: o.codec.Schema()})
	plain := BlockWriter{}
	start, err := plain.Append([]byte(magic), head)
	if err != nil {
		return err
	}
	if err := o.host.Reserve(o.id, int64(len(start))); err != nil {
		return err
	}
	if o.file, err = o.fs.Create(o.path+unfinished, vfs.WriteCategoryUnspecified); err != nil {
		return o.wrap("creating the file", err)
	}
	err = o.write(start)
	o.index.start = o.offset
	return err
}

func (o *Output[T]) wrap(what string, err error) error {
	return fmt.Errorf("shuffle/spill: %s of %s at %s: %w", what, o.id, o.path, err)
}

// Senders makes the senders, one for each sub-partition. They never wait for a
// consumer: a Send may write to disk.
func (o *Output[T]) Senders() []shuffle.Sender[T] {
	out := make([]shuffle.Sender[T], len(o.parts))
	for i := range out {
		out[i] = &sender[T]{o, i}
	}
	return out
}

// add encodes a batch into the memory of a sub-partition.
func (o *Output[T]) add(ctx context.Context, p int, b *flow.Batch[T]) error {
	if o.err == nil && len(b.Values) > 0 {
		switch {
		case o.over:
			o.err = shuffle.ErrClosed
		case o.parts[p].ended:
			o.err = fmt.Errorf("shuffle/spill: %s: records behind the end of sub-partition %d", o.id, p)
		default:
			o.err = o.take(ctx, p, b, 0, len(b.Values))
		}
	}
	b.Reset()
	if len(o.spare) < 2*len(o.parts) {
		o.spare = append(o.spare, b)
	}
	return o.err
}

func (o *Output[T]) take(ctx context.Context, p int, b *flow.Batch[T], from, to int) (err error) {
	defer encodeError(&err)
	o.frame = appendFrame(o.frame[:0], o.codec, p, b, from, to)
	if len(o.frame) > MaxBlock-16 {
		if to-from == 1 {
			return fmt.Errorf("shuffle/spill: %s: a record of %d bytes; an exchange on disk carries records of up to %d", o.id, len(o.frame), MaxBlock-16)
		}
		middle := (from + to) / 2
		if err := o.take(ctx, p, b, from, middle); err != nil {
			return err
		}
		return o.take(ctx, p, b, middle, to)
	}
	n := shuffle.Count{Records: int64(to - from)}
	if o.summer != nil {
		part := flow.Batch[T]{Values: b.Values[from:to]}
		if len(b.Times) > 0 {
			part.Times = b.Times[from:to]
		}
		if n, err = o.summer.Batch(&part); err != nil {
			return err
		}
	}
	if o.block, err = o.blocks.Append(o.block[:0], o.frame); err != nil {
		return err
	}
	o.keep(p, o.block)
	s := &o.index.parts[p]
	s.Add(n)
	s.Raw += int64(len(o.frame))
	if o.used*o.chunk < o.opt.Memory {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return o.flush()
}

// keep copies a block into chunks of the sub-partition.
func (o *Output[T]) keep(p int, block []byte) {
	q := &o.parts[p]
	q.bytes += len(block)
	for len(block) > 0 {
		last := len(q.chunks) - 1
		if last < 0 || len(q.chunks[last]) == o.chunk {
			q.chunks = append(q.chunks, o.fresh())
			last++
		}
		n := min(len(block), o.chunk-len(q.chunks[last]))
		q.chunks[last] = append(q.chunks[last], block[:n]...)
		block = block[n:]
	}
}

func (o *Output[T]) fresh() []byte {
	o.used++
	if n := len(o.free); n > 0 {
		c := o.free[n-1]
		o.free = o.free[:n-1]
		return c
	}
	return make([]byte, 0, o.chunk)
}

// flush writes what is collected as a region.
func (o *Output[T]) flush() error {
	var total int64
	for p := range o.parts {
		total += int64(o.parts[p].bytes)
		o.index.lengths = append(o.index.lengths, int64(o.parts[p].bytes))
	}
	if err := o.host.Reserve(o.id, total); err != nil {
		return err
	}
	for p := range o.parts {
		q := &o.parts[p]
		for i, c := range q.chunks {
			if err := o.write(c); err != nil {
				return err
			}
			o.free = append(o.free, c[:0])
			q.chunks[i] = nil
		}
		o.index.parts[p].Bytes += int64(q.bytes)
		q.chunks, q.bytes = q.chunks[:0], 0
	}
	o.used = 0
	// A batch may have been larger than the budget: its memory is not kept.
	if most := o.opt.Memory/o.chunk + 1; len(o.free) > most {
		clear(o.free[most:])
		o.free = o.free[:most]
	}
	return nil
}

func (o *Output[T]) write(p []byte) error {
	n, err := o.file.Write(p)
	o.offset += int64(n)
	if err != nil {
		return o.wrap(fmt.Sprintf("writing %d bytes", len(p)), err)
	}
	return nil
}
