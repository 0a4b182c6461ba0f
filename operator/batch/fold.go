package batch

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/shuffle/spill"
)

// FolderOptions configure a Folder. Key and Add are needed.
type FolderOptions[K comparable, In, A any] struct {
	// Key finds the key of a record.
	Key func(In) K
	// Add takes a record into an accumulator, which is zero where fresh is true.
	Add func(acc *A, fresh bool, v *In, t flow.Time)
	// Memory is the budget in bytes. Default 64 MB, at least 512 kB. One group must fit.
	Memory int
	// FS and Dir say where records are written to. Default: the file system, its
	// directory for temporary files.
	FS  vfs.FS
	Dir string
	// Compression of what is written. Default none.
	Compression spill.Compression
}

// FolderStats says what folding has cost.
type FolderStats struct {
	Records int64
	Groups  int64 // that were emitted
	// Sorted is the number of records, and of groups, that went through a sort.
	Sorted int64
	// Memory is the most that was held.
	Memory int
}

// Folder folds the records of each key from the first to the last, for accumulators that
// cannot be merged. Half of the memory is a table, which takes keys until it is
// full; records of keys that are not in it are sorted by hash, and folded when all are
// there. So all records of a key are in one of the two places, in order. If the
// accumulators in the table grow too large, they become the first of what is sorted.
type Folder[K comparable, In, A any] struct {
	opt    FolderOptions[K, In, A]
	table  table[K, A]
	mem    *chunks[K, A]
	limit  int
	full   bool // the table takes no more keys
	moved  bool // the table was given up
	check  int
	sorter *Sorter[folded[K, In, A]]
	in     flow.Batch[folded[K, In, A]]
	out    flow.Batch[operator.KeyValue[K, A]]
	stats  FolderStats
	err    error
}

// folded is a record that is sorted, or a group that came before all of them.
type folded[K comparable, In, A any] struct {
	Group *operator.KeyValue[K, A]
	In    In
}

// NewFolder makes a Folder. The error names the part of K, In or A that cannot be encoded.
func NewFolder[K comparable, In, A any](opt FolderOptions[K, In, A]) (*Folder[K, In, A], error) {
	if opt.Key == nil || opt.Add == nil {
		return nil, errors.New("operator/batch: a folder needs a key and what to do with records")
	}
	if opt.Memory == 0 {
		opt.Memory = DefaultMemory
	}
	opt.Memory = max(opt.Memory, minGroupMemory)
	keys, err := codec.For[K]()
	if err != nil {
		return nil, fmt.Errorf("operator/batch: groups: %w", err)
	}
	accs, err := codec.For[A]()
	if err != nil {
		return nil, fmt.Errorf("operator/batch: groups: %w", err)
	}
	if _, err := codec.For[In](); err != nil {
		return nil, fmt.Errorf("operator/batch: records: %w", err)
	}
	f := &Folder[K, In, A]{opt: opt, limit: opt.Memory / 2, check: minCheck}
	f.mem = newChunks(keys, accs, opt.Memory)
	f.table.mem = f.mem
	return f, nil
}

// Add takes a record, whose key's hash is h. It is read and not kept, but for what the
// accumulator keeps of it.
func (f *Folder[K, In, A]) Add(ctx context.Context, h flow.Hash, v *In, t flow.Time) error {
	if f.err == nil {
		f.err = f.add(ctx, h, v, t)
	}
	return f.err
}

func (f *Folder[K, In, A]) add(ctx context.Context, h flow.Hash, v *In, t flow.Time) error {
	f.stats.Records++
	if !f.moved {
		if f.check--; f.check <= 0 {
			if err := f.measure(ctx); err != nil {
				return err
			}
		}
	}
	if !f.moved {
		key := f.opt.Key(*v)
		g, fresh := f.place(h, key)
		if g != nil {
			f.opt.Add(&g.acc, fresh, v, t)
			return nil
		}
	}
	return f.sort(ctx, h, folded[K, In, A]{In: *v}, t)
}

// place finds the group of a key, or makes it while there is room.
func (f *Folder[K, In, A]) place(h flow.Hash, key K) (g *group[K, A], fresh bool) {
	if !f.full && f.mem.size()+f.table.besides()+f.table.growth()+f.mem.bytes > f.limit {
		f.full = true
	}
	if f.full {
		return f.table.look(h, key), false
	}
	return f.table.find(h, key)
}

// measure adds up what accumulators hold, and gives the table up if that is too much.
func (f *Folder[K, In, A]) measure(ctx context.Context) error {
	f.table.measure()
	if f.check = max(minCheck, f.table.n/4); f.mem.fixedAcc {
		f.check = 1 << 30
	}
	f.stats.Memory = max(f.stats.Memory, f.size())
	if f.mem.size()+f.table.besides() <= f.limit {
		return nil
	}
	// New keys would come too late in the table by now.
	f.full = true
	if f.mem.size()+f.table.besides() <= f.limit/4*5 {
		return nil
	}
	f.moved = true
	for _, c := range f.table.chunks {
		for i := range c {
			item := folded[K, In, A]{Group: &operator.KeyValue[K, A]{Key: c[i].key, Value: c[i].acc}}
			if err := f.sort(ctx, c[i].hash, item, flow.MinTime); err != nil {
				return err
			}
		}
	}
	f.table.reset(false)
	f.mem.trim()
	return nil
}

func (f *Folder[K, In, A]) size() int {
	n := f.mem.size() + f.table.besides()
	if f.sorter != nil {
		n += f.sorter.Stats().Memory
	}
	return n
}

// sort puts a record or group among those that are folded later.
func (f *Folder[K, In, A]) sort(ctx context.Context, h flow.Hash, v folded[K, In, A], t flow.Time) (err error) {
	if f.sorter == nil {
		f.sorter, err = NewSorter(SorterOptions[folded[K, In, A]]{ByHash: true, Memory: f.opt.Memory - f.limit,
			FS: f.opt.FS, Dir: f.opt.Dir, Compression: f.opt.Compression})
		if err != nil {
			return err
		}
	}
	f.stats.Sorted++
	f.in.Values, f.in.Hashes, f.in.Times = append(f.in.Values[:0], v), append(f.in.Hashes[:0], h), append(f.in.Times[:0], t)
	err = f.sorter.Add(ctx, &f.in)
	clear(f.in.Values)
	return err
}

// Emit ends the input and hands all groups to emit, with the hashes of their keys, in
// batches that are lent. After it the Folder is of use to Close and Stats only.
func (f *Folder[K, In, A]) Emit(ctx context.Context, emit func(b *flow.Batch[operator.KeyValue[K, A]]) error) error {
	if f.err == nil {
		if f.err = f.emit(ctx, emit); f.err == nil {
			f.err = errors.New("operator/batch: the groups were emitted already")
			return nil
		}
	}
	return f.err
}

func (f *Folder[K, In, A]) emit(ctx context.Context, emit func(b *flow.Batch[operator.KeyValue[K, A]]) error) error {
	f.stats.Memory = max(f.stats.Memory, f.size())
	for _, c := range f.table.chunks {
		if err := ctx.Err(); err != nil {
			return err
		}
		for i := range c {
			if err := f.put(c[i].hash, &operator.KeyValue[K, A]{Key: c[i].key, Value: c[i].acc}, emit); err != nil {
				return err
			}
		}
	}
	f.table.reset(false)
	f.mem.trim()
	if f.sorter != nil {
		if err := f.emitSorted(ctx, emit); err != nil {
			return err
		}
	}
	return f.flush(emit)
}

// emitSorted folds what was sorted: the groups of one hash at a time.
func (f *Folder[K, In, A]) emitSorted(ctx context.Context, emit func(b *flow.Batch[operator.KeyValue[K, A]]) error) (err error) {
	sorted, err := f.sorter.Sort(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sorted.Close()) }()
	var (
		same []operator.KeyValue[K, A]
		hash flow.Hash
	)
	release := func() error {
		for i := range same {
			if err := f.put(hash, &same[i], emit); err != nil {
				return err
			}
		}
		clear(same)
		same = same[:0]
		return nil
	}
	for {
		if err := sorted.Next(ctx, &f.in, emitBatch); err != nil {
			return err
		}
		if len(f.in.Values) == 0 {
			return release()
		}
		for i := range f.in.Values {
			if f.in.Hashes[i] != hash {
				if err := release(); err != nil {
					return err
				}
				hash = f.in.Hashes[i]
			}
			v := &f.in.Values[i]
			if v.Group != nil {
				same = append(same, *v.Group)
				continue
			}
			key, at := f.opt.Key(v.In), 0
			for at < len(same) && same[at].Key != key {
				at++
			}
			if at == len(same) {
				same = append(same, operator.KeyValue[K, A]{Key: key})
				f.opt.Add(&same[at].Value, true, &v.In, f.in.Time(i))
				continue
			}
			f.opt.Add(&same[at].Value, false, &v.In, f.in.Time(i))
		}
	}
}

func (f *Folder[K, In, A]) put(h flow.Hash, kv *operator.KeyValue[K, A], emit func(b *flow.Batch[operator.KeyValue[K, A]]) error) error {
	f.out.Values, f.out.Hashes = append(f.out.Values, *kv), append(f.out.Hashes, h)
	if len(f.out.Values) < emitBatch {
		return nil
	}
	return f.flush(emit)
}

func (f *Folder[K, In, A]) flush(emit func(b *flow.Batch[operator.KeyValue[K, A]]) error) error {
	if len(f.out.Values) == 0 {
		return nil
	}
	f.stats.Groups += int64(len(f.out.Values))
	err := emit(&f.out)
	f.out.Reset()
	return err
}

// Stats says what it has cost so far.
func (f *Folder[K, In, A]) Stats() FolderStats { return f.stats }

// Close removes the files.
func (f *Folder[K, In, A]) Close() error {
	if f.err == nil {
		f.err = errors.New("operator/batch: the folder is closed")
	}
	f.table = table[K, A]{mem: f.mem}
	f.mem.made = 0
	f.mem.trim()
	if f.sorter == nil {
		return nil
	}
	return f.sorter.Close()
}
