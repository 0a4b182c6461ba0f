package batch

import (
	"context"
	"errors"
	"fmt"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/shuffle/spill"
)

// files is the host of a grouper's one file.
type files struct {
	path string
	done spill.Summary
}

// Begin says where the file goes.
func (f *files) Begin(spill.ID) (string, error) { return f.path, nil }

// Reserve admits everything: how much disk a job may use is not decided here.
func (f *files) Reserve(spill.ID, int64) error { return nil }

// Done keeps the summary.
func (f *files) Done(s spill.Summary) error { f.done = s; return nil }

// Drop does nothing.
func (f *files) Drop(spill.ID) {}

// Emit ends the input and hands all groups to emit, with the hashes of their keys, in
// batches that are lent. After it the Grouper is of use to Close and Stats only.
func (g *Grouper[K, A]) Emit(ctx context.Context, emit func(b *flow.Batch[operator.KeyValue[K, A]]) error) error {
	if g.err == nil {
		if g.err = g.emit(ctx, emit); g.err == nil {
			g.err = errors.New("operator/batch: the groups were emitted already")
			return nil
		}
	}
	return g.err
}

func (g *Grouper[K, A]) emit(ctx context.Context, emit func(b *flow.Batch[operator.KeyValue[K, A]]) error) error {
	g.stats.Memory = max(g.stats.Memory, g.size())
	g.batch = flow.Batch[operator.KeyValue[K, A]]{}
	for p := range g.parts {
		if g.spilled[p] {
			continue
		}
		if err := g.emitTable(ctx, &g.parts[p], emit); err != nil {
			return err
		}
	}
	if g.out == nil {
		return g.flush(emit)
	}
	for p := range g.parts {
		if g.spilled[p] {
			if err := g.evict(ctx, p); err != nil {
				return err
			}
		}
	}
	g.mem.trim()
	for _, s := range g.senders {
		s.Control(flow.Control{Kind: flow.ControlEnd})
	}
	sum, err := g.out.Finish()
	if err != nil {
		return fmt.Errorf("operator/batch: writing groups: %w", err)
	}
	g.stats.SpilledBytes += sum.FileBytes
	for p := range g.parts {
		if sum.Partitions[p].Records == 0 {
			continue
		}
		if err := g.again(ctx, p, sum, emit); err != nil {
			return err
		}
	}
	return g.flush(emit)
}

func (g *Grouper[K, A]) emitTable(ctx context.Context, t *table[K, A], emit func(b *flow.Batch[operator.KeyValue[K, A]]) error) error {
	for _, c := range t.chunks {
		if err := ctx.Err(); err != nil {
			return err
		}
		for i := range c {
			if err := g.put(c[i].hash, operator.KeyValue[K, A]{Key: c[i].key, Value: c[i].acc}, emit); err != nil {
				return err
			}
		}
	}
	g.besides -= t.besides()
	t.reset(false)
	g.mem.trim()
	return nil
}

// put adds a group to the batch that is emitted when it is full.
func (g *Grouper[K, A]) put(h flow.Hash, kv operator.KeyValue[K, A], emit func(b *flow.Batch[operator.KeyValue[K, A]]) error) error {
	g.batch.Values, g.batch.Hashes = append(g.batch.Values, kv), append(g.batch.Hashes, h)
	if len(g.batch.Values) < emitBatch {
		return nil
	}
	return g.flush(emit)
}

const emitBatch = 1024

func (g *Grouper[K, A]) flush(emit func(b *flow.Batch[operator.KeyValue[K, A]]) error) error {
	if len(g.batch.Values) == 0 {
		return nil
	}
	g.stats.Groups += int64(len(g.batch.Values))
	err := emit(&g.batch)
	g.batch.Reset()
	return err
}

// again groups a part that is on disk.
func (g *Grouper[K, A]) again(ctx context.Context, p int, sum spill.Summary, emit func(b *flow.Batch[operator.KeyValue[K, A]]) error) error {
	if g.depth+1 >= maxDepth {
		return g.sorted(ctx, p, sum, emit)
	}
	sub, err := newGrouper[K](g.opt, g.scratch, g.depth+1)
	if err != nil {
		return err
	}
	defer sub.release()
	err = g.read(ctx, p, sum, func(b *flow.Batch[operator.KeyValue[K, A]]) error {
		for i := range b.Values {
			e, isNew, err := sub.find(ctx, b.Hashes[i], b.Values[i].Key)
			if err != nil {
				return err
			}
			if isNew {
				// It was an accumulator before: nothing is to be merged.
				e.acc = b.Values[i].Value
				continue
			}
			g.opt.Merge(&e.acc, &b.Values[i].Value)
		}
		return nil
	})
	if err == nil {
		err = sub.emit(ctx, emit)
	}
	g.stats.add(sub.stats)
	return err
}

// read reads a part that is on disk.
func (g *Grouper[K, A]) read(ctx context.Context, p int, sum spill.Summary, take func(b *flow.Batch[operator.KeyValue[K, A]]) error) (err error) {
	stream, err := spill.OpenFile(ctx, g.scratch.fs, g.host.path, sum, spill.Range{First: p, End: p + 1})
	if err != nil {
		return fmt.Errorf("operator/batch: reading groups: %w", err)
	}
	defer func() { err = errors.Join(err, stream.Close()) }()
	s, err := spill.NewScanner[operator.KeyValue[K, A]](stream, sum.ID, spill.Range{First: p, End: p + 1})
	if err != nil {
		return fmt.Errorf("operator/batch: reading groups: %w", err)
	}
	var b flow.Batch[operator.KeyValue[K, A]]
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		b.Reset()
		ok, err := s.Next(&b)
		if err != nil {
			return fmt.Errorf("operator/batch: reading groups: %w", err)
		}
		if !ok {
			return nil
		}
		if err := take(&b); err != nil {
			return err
		}
	}
}

// hashed is a group with the hash that it is sorted by.
type hashed[K comparable, A any] struct {
	Hash flow.Hash
	Key  K
	Acc  A
}

// sorted groups a part that is on disk by sorting it by hash: then only the groups
// with one hash have to be held at once.
func (g *Grouper[K, A]) sorted(ctx context.Context, p int, sum spill.Summary, emit func(b *flow.Batch[operator.KeyValue[K, A]]) error) (err error) {
	g.stats.Sorted++
	s, err := NewSorter(SorterOptions[hashed[K, A]]{
		Key:    func(dst []byte, v *hashed[K, A]) []byte { return AppendUint(dst, uint64(v.Hash)) },
		Memory: g.opt.Memory, FS: g.scratch.fs, Dir: g.scratch.dir, Compression: g.opt.Compression,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	var in flow.Batch[hashed[K, A]]
	err = g.read(ctx, p, sum, func(b *flow.Batch[operator.KeyValue[K, A]]) error {
		in.Reset()
		for i, kv := range b.Values {
			in.Values = append(in.Values, hashed[K, A]{b.Hashes[i], kv.Key, kv.Value})
		}
		return s.Add(ctx, &in)
	})
	if err != nil {
		return err
	}
	out, err := s.Sort(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	var (
		same = map[K]*A{}
		hash flow.Hash
	)
	release := func() error {
		for k, a := range same {
			if err := g.put(hash, operator.KeyValue[K, A]{Key: k, Value: *a}, emit); err != nil {
				return err
			}
		}
		clear(same)
		return nil
	}
	for {
		if err := out.Next(ctx, &in, emitBatch); err != nil {
			return err
		}
		if len(in.Values) == 0 {
			return release()
		}
		for i := range in.Values {
			v := &in.Values[i]
			if v.Hash != hash {
				if err := release(); err != nil {
					return err
				}
				hash = v.Hash
			}
			if a, ok := same[v.Key]; ok {
				g.opt.Merge(a, &v.Acc)
				continue
			}
			acc := v.Acc
			same[v.Key] = &acc
		}
	}
}
