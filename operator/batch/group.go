package batch

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/shuffle"
	"github.com/weirflow/weir/shuffle/spill"
)

// GrouperOptions configure a Grouper. Merge is needed.
type GrouperOptions[A any] struct {
	// New makes an empty accumulator. Default: the zero value.
	New func() A
	// Merge takes from into into, as operator.Aggregator's.
	Merge func(into, from *A)
	// Memory is the budget in bytes. Default 64 MB, at least 512 kB.
	//
	// Accumulators that grow, with slices or maps, are measured now and then, and
	// in between may grow beyond it. One group must fit.
	Memory int
	// FS and Dir say where groups are written to. Default: the file system, its
	// directory for temporary files.
	FS  vfs.FS
	Dir string
	// Compression of what is written. Default none.
	Compression spill.Compression
}

// GrouperStats says what grouping has cost.
type GrouperStats struct {
	Records int64 // of Upsert and Merge
	Groups  int64 // that were emitted
	// Spilled is the number of groups written to disk, and SpilledBytes their bytes.
	Spilled, SpilledBytes int64
	// Depth is how often what was written had to be divided again, Sorted how many
	// parts were sorted as even that was not enough.
	Depth, Sorted int
	// Memory is the most that was held.
	Memory int
}

func (s *GrouperStats) add(o GrouperStats) {
	s.Groups += o.Groups
	s.Spilled += o.Spilled
	s.SpilledBytes += o.SpilledBytes
	s.Depth = max(s.Depth, o.Depth)
	s.Sorted += o.Sorted
	s.Memory = max(s.Memory, o.Memory)
}

const (
	fanBits = 5
	fan     = 1 << fanBits // parts
	// maxDepth is how often groups are divided by hash: 20 bits of it. What does not fit
	// then has few hashes, or next to no memory, and is sorted.
	maxDepth = 4
	// minGroupMemory is the smallest budget.
	minGroupMemory = 512 << 10
)

// Grouper groups more keys than memory holds, by hybrid hashing: groups are divided into
// parts by hash, each with a table. When the memory is used up, a part is written
// to disk and its table emptied; parts that never were stay in memory to the end. A
// part that is on disk goes on to collect in its table, so that a key which comes often
// is written once for many records. In the end each part on disk is read back and
// grouped alone, by more bits of the hash.
type Grouper[K comparable, A any] struct {
	opt     GrouperOptions[A]
	codec   *codec.Codec[operator.KeyValue[K, A]]
	scratch *scratch
	own     bool // of the scratch directory
	depth   int
	limit   int // of tables
	mem     *chunks[K, A]
	parts   [fan]table[K, A]
	besides int // of all tables, as of their last change of size
	spilled [fan]bool
	out     *spill.Output[operator.KeyValue[K, A]]
	host    *files
	senders []shuffle.Sender[operator.KeyValue[K, A]]
	batch   flow.Batch[operator.KeyValue[K, A]]
	check   int // calls until accumulators are measured
	stats   GrouperStats
	err     error
}

// NewGrouper makes a Grouper. The error names the part of K or A that cannot be encoded.
func NewGrouper[K comparable, A any](opt GrouperOptions[A]) (*Grouper[K, A], error) {
	if opt.Merge == nil {
		return nil, errors.New("operator/batch: a grouper needs to merge accumulators")
	}
	if opt.New == nil {
		opt.New = func() (a A) { return a }
	}
	if opt.Memory == 0 {
		opt.Memory = DefaultMemory
	}
	opt.Memory = max(opt.Memory, minGroupMemory)
	s := newScratch(opt.FS, opt.Dir, "group")
	g, err := newGrouper[K](opt, &s, 0)
	if err != nil {
		return nil, err
	}
	g.own = true
	return g, nil
}

func newGrouper[K comparable, A any](opt GrouperOptions[A], s *scratch, depth int) (*Grouper[K, A], error) {
	c, err := codec.For[operator.KeyValue[K, A]]()
	if err != nil {
		return nil, fmt.Errorf("operator/batch: groups: %w", err)
	}
	keys, err := codec.For[K]()
	if err != nil {
		return nil, fmt.Errorf("operator/batch: groups: %w", err)
	}
	accs, err := codec.For[A]()
	if err != nil {
		return nil, fmt.Errorf("operator/batch: groups: %w", err)
	}
	// An eighth is for what is being written.
	g := &Grouper[K, A]{opt: opt, codec: c, scratch: s, depth: depth, limit: opt.Memory / 8 * 7, mem: newChunks(keys, accs, opt.Memory), check: minCheck}
	g.stats.Depth = depth
	for p := range g.parts {
		g.parts[p].mem = g.mem
	}
	return g, nil
}

// minCheck is the least number of calls between two measurements.
const minCheck = 256

// part is the part of a hash at this depth. The multiplication mixes all of its bits into the
// high ones: the hashes of one task are alike in those that chose the key group.
func (g *Grouper[K, A]) part(h flow.Hash) int {
	return int(uint64(h) * 0x9e3779b97f4a7c15 << (fanBits * g.depth) >> (64 - fanBits))
}

// Upsert finds the accumulator of a key, whose hash is h, or makes it. It is to be
// changed before the next call.
func (g *Grouper[K, A]) Upsert(ctx context.Context, h flow.Hash, key K) (*A, error) {
	e, isNew, err := g.find(ctx, h, key)
	if err != nil {
		return nil, err
	}
	if isNew {
		e.acc = g.opt.New()
	}
	return &e.acc, nil
}

// Merge takes a group in: what a [Partial] has made.
func (g *Grouper[K, A]) Merge(ctx context.Context, h flow.Hash, kv *operator.KeyValue[K, A]) error {
	e, isNew, err := g.find(ctx, h, kv.Key)
	if err != nil {
		return err
	}
	if isNew {
		e.acc = g.opt.New()
	}
	g.opt.Merge(&e.acc, &kv.Value)
	return nil
}

func (g *Grouper[K, A]) find(ctx context.Context, h flow.Hash, key K) (*group[K, A], bool, error) {
	if g.err != nil {
		return nil, false, g.err
	}
	g.stats.Records++
	if g.check--; g.check <= 0 {
		g.measure()
	}
	t := &g.parts[g.part(h)]
	need := t.growth()
	// Before the group is made, as what is written must be whole.
	if g.mem.size()+g.besides+need+g.mem.bytes > g.limit {
		if g.err = g.makeRoom(ctx, need); g.err != nil {
			return nil, false, g.err
		}
	}
	before := t.besides()
	e, isNew := t.find(h, key)
	g.besides += t.besides() - before
	return e, isNew, nil
}

func (g *Grouper[K, A]) size() int { return g.mem.made*g.mem.bytes + g.besides }

// measure adds up what accumulators hold.
func (g *Grouper[K, A]) measure() {
	n := 0
	g.besides = 0
	for p := range g.parts {
		g.parts[p].measure()
		g.besides += g.parts[p].besides()
		n += g.parts[p].n
	}
	if g.check = max(minCheck, n/4); g.mem.fixedAcc {
		g.check = 1 << 30
	}
}

// makeRoom gives free chunks back; where that is not enough, it writes the part whose
// memory is worth most: one that is on disk already is preferred to another up to four
// times as large.
func (g *Grouper[K, A]) makeRoom(ctx context.Context, need int) error {
	need += g.mem.bytes
	g.stats.Memory = max(g.stats.Memory, g.mem.size()+g.besides)
	g.mem.drop(g.mem.size() + g.besides + need - g.limit)
	if g.size()+need <= g.limit {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	for g.size()+need > g.limit/16*15 {
		best, worth := -1, 0
		for p := range g.parts {
			w := g.parts[p].size()
			if g.spilled[p] {
				w *= 4
			}
			if g.parts[p].n > 0 && w > worth {
				best, worth = p, w
			}
		}
		if best < 0 {
			return nil
		}
		g.spilled[best] = true
		if err := g.evict(ctx, best); err != nil {
			return err
		}
	}
	return nil
}

// begin begins the file.
func (g *Grouper[K, A]) begin() (err error) {
	path, err := g.scratch.path()
	if err != nil {
		return err
	}
	g.host = &files{path: path}
	id := spill.ID{Job: "groups", Exchange: flow.EdgeID{To: "groups"}, Attempt: 1}
	g.out, err = spill.NewOutput[operator.KeyValue[K, A]](g.scratch.fs, g.host, id,
		spill.Options{Partitions: fan, Memory: g.opt.Memory / 8, Compression: g.opt.Compression, NoSync: true})
	if err != nil {
		return fmt.Errorf("operator/batch: groups: %w", err)
	}
	g.senders = g.out.Senders()
	return nil
}

// evict writes a part and empties its table.
func (g *Grouper[K, A]) evict(ctx context.Context, p int) error {
	if g.out == nil {
		if err := g.begin(); err != nil {
			return err
		}
	}
	t, to := &g.parts[p], g.senders[p]
	b, bytes := to.Buffer(), 0
	for _, c := range t.chunks {
		for i := range c {
			b.Values = append(b.Values, operator.KeyValue[K, A]{Key: c[i].key, Value: c[i].acc})
			b.Hashes = append(b.Hashes, c[i].hash)
			if !g.mem.fixedAcc || !g.mem.fixedKey {
				bytes += g.codec.MemSize(b.Values[len(b.Values)-1:])
			}
			if len(b.Values) == evictBatch || bytes > g.opt.Memory/16 {
				bytes = 0
				if err := to.Send(ctx, b, 0); err != nil {
					return fmt.Errorf("operator/batch: writing groups: %w", err)
				}
				b = to.Buffer()
			}
		}
	}
	if err := to.Send(ctx, b, 0); err != nil {
		return fmt.Errorf("operator/batch: writing groups: %w", err)
	}
	g.stats.Spilled += int64(t.n)
	g.besides -= t.besides()
	t.reset(false)
	return nil
}

// evictBatch is the number of groups that are written as one block.
const evictBatch = 256

// Stats says what it has cost so far.
func (g *Grouper[K, A]) Stats() GrouperStats { return g.stats }

// Close removes the files.
func (g *Grouper[K, A]) Close() error {
	if g.err == nil {
		g.err = errors.New("operator/batch: the grouper is closed")
	}
	g.release()
	if !g.own {
		return nil
	}
	return g.scratch.remove()
}

// release gives memory and the file of this depth back.
func (g *Grouper[K, A]) release() {
	for p := range g.parts {
		g.parts[p] = table[K, A]{mem: g.mem}
	}
	g.mem.made, g.besides = 0, 0
	g.mem.trim()
	if g.out != nil {
		g.out.Abort()
		// What is left is removed with its directory.
		_ = g.scratch.fs.Remove(g.host.path)
		g.out = nil
	}
}
