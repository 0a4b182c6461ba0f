package shuffle

import (
	"context"

	"github.com/weirflow/weir/flow"
)

// Router is the typed writer of an exchange: it divides the batches of one
// producing task among its partitions, collects them there to full batches, and
// sends these. One constructor for each kind of exchange: [NewForward], [NewHash],
// [NewRebalance], [NewBroadcast].
type Router[T any] struct {
	ctx     context.Context
	opt     RouterOptions[T]
	senders []Sender[T]
	bufs    []*flow.Batch[T] // one for each sender, nil until used
	route   func(b *flow.Batch[T]) error

	// for hash
	targets []int32 // key group → sender
	hash    func(vals []T, dst []flow.Hash) []flow.Hash
	hashes  []flow.Hash
	// for rebalance
	next int
}

// RouterOptions configure a Router; the zero value works.
type RouterOptions[T any] struct {
	// BatchSize is the number of records of a full batch. Default
	// DefaultBatchSize.
	BatchSize int
	// BatchBytes is the number of bytes of a full batch. Default DefaultBatchBytes.
	BatchBytes int
	// Bytes is the size of values in memory. Default: 64 bytes a record.
	Bytes func(vals []T) int
}

// EnsureDefaults fills what is not set.
func (o *RouterOptions[T]) EnsureDefaults() {
	if o.BatchSize <= 0 {
		o.BatchSize = DefaultBatchSize
	}
	if o.BatchBytes <= 0 {
		o.BatchBytes = DefaultBatchBytes
	}
	if o.Bytes == nil {
		o.Bytes = func(vals []T) int { return 64 * len(vals) }
	}
}

func newRouter[T any](ctx context.Context, senders []Sender[T], opt RouterOptions[T]) *Router[T] {
	opt.EnsureDefaults()
	return &Router[T]{ctx: ctx, opt: opt, senders: senders, bufs: make([]*flow.Batch[T], len(senders))}
}

// NewForward writes to the one partition of the consumer with the same subtask
// number.
func NewForward[T any](ctx context.Context, sender Sender[T], opt RouterOptions[T]) *Router[T] {
	r := newRouter(ctx, []Sender[T]{sender}, opt)
	r.route = func(b *flow.Batch[T]) error { return r.copyTo(0, b, 0, len(b.Values)) }
	return r
}

// NewBroadcast writes everything to all partitions.
func NewBroadcast[T any](ctx context.Context, senders []Sender[T], opt RouterOptions[T]) *Router[T] {
	r := newRouter(ctx, senders, opt)
	r.route = func(b *flow.Batch[T]) error {
		for i := range r.senders {
			if err := r.copyTo(i, b, 0, len(b.Values)); err != nil {
				return err
			}
		}
		return nil
	}
	return r
}

// NewRebalance divides each batch into equal runs, one for each partition, and
// begins the next batch where this one stopped. first is the partition to begin
// with: producers that begin with different ones spread short inputs as well.
func NewRebalance[T any](ctx context.Context, senders []Sender[T], first int, opt RouterOptions[T]) *Router[T] {
	r := newRouter(ctx, senders, opt)
	r.next = first % len(senders)
	r.route = r.rebalance
	return r
}

// NewHash writes a record to the partition that owns its key's key group among
// maxParallelism groups. hash computes the hashes of a column of records.
func NewHash[T any](ctx context.Context, senders []Sender[T], maxParallelism int,
	hash func(vals []T, dst []flow.Hash) []flow.Hash, opt RouterOptions[T]) *Router[T] {
	r := newRouter(ctx, senders, opt)
	r.hash = hash
	r.targets = make([]int32, maxParallelism)
	for g := range r.targets {
		r.targets[g] = int32(flow.SubtaskOf(flow.KeyGroup(g), maxParallelism, len(senders)))
	}
	r.route = r.hashed
	return r
}

// Receive routes a lent batch: its records are copied. It blocks when a partition
// has no credit.
func (r *Router[T]) Receive(b *flow.Batch[T]) error { return r.route(b) }

func (r *Router[T]) rebalance(b *flow.Batch[T]) error {
	n, p := len(b.Values), len(r.senders)
	share, more := n/p, n%p
	for from := 0; from < n; {
		to := from + share
		if more > 0 {
			to++
			more--
		}
		if err := r.copyTo(r.next, b, from, to); err != nil {
			return err
		}
		from = to
		r.next = (r.next + 1) % p
	}
	return nil
}

// copyTo adds records [from, to) of b to the buffer of sender i.
func (r *Router[T]) copyTo(i int, b *flow.Batch[T], from, to int) error {
	for from < to {
		buf := r.buffer(i)
		n := min(to-from, r.opt.BatchSize-len(buf.Values))
		if (len(b.Times) == 0) != (len(buf.Times) == 0) && len(buf.Values) > 0 {
			// Within one batch all records have a time or none has.
			if err := r.send(i); err != nil {
				return err
			}
			continue
		}
		buf.Values = append(buf.Values, b.Values[from:from+n]...)
		if len(b.Times) > 0 {
			buf.Times = append(buf.Times, b.Times[from:from+n]...)
		}
		from += n
		if len(buf.Values) >= r.opt.BatchSize {
			if err := r.send(i); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *Router[T]) hashed(b *flow.Batch[T]) error {
	// The hashes that a batch brings are of the key of the exchange before it: of
	// another key, for all that is known here.
	r.hashes = r.hash(b.Values, r.hashes[:0])
	hs := r.hashes
	timed := len(b.Times) > 0
	max, limit := uint32(len(r.targets)), r.opt.BatchSize
	for i := range hs {
		t := int(r.targets[uint32(hs[i]>>32)%max])
		buf := r.bufs[t]
		if buf == nil {
			buf = r.buffer(t)
		}
		if n := len(buf.Values); n > 0 && timed != (len(buf.Times) > 0) {
			if err := r.send(t); err != nil {
				return err
			}
			buf = r.buffer(t)
		}
		buf.Values = append(buf.Values, b.Values[i])
		buf.Hashes = append(buf.Hashes, hs[i])
		if timed {
			buf.Times = append(buf.Times, b.Times[i])
		}
		if len(buf.Values) >= limit {
			if err := r.send(t); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *Router[T]) buffer(i int) *flow.Batch[T] {
	if r.bufs[i] == nil {
		r.bufs[i] = r.senders[i].Buffer()
	}
	return r.bufs[i]
}

// send sends the buffer of sender i.
func (r *Router[T]) send(i int) error {
	buf := r.bufs[i]
	r.bufs[i] = nil
	return r.senders[i].Send(r.ctx, buf, r.opt.Bytes(buf.Values))
}

// Flush sends what is collected.
func (r *Router[T]) Flush() error {
	for i, buf := range r.bufs {
		if buf != nil && len(buf.Values) > 0 {
			if err := r.send(i); err != nil {
				return err
			}
		}
	}
	return nil
}

// Control sends what is collected and then c on all partitions.
func (r *Router[T]) Control(c flow.Control) error {
	if err := r.Flush(); err != nil {
		return err
	}
	for _, s := range r.senders {
		s.Control(c)
	}
	return nil
}

// Available reports whether all partitions have credit.
func (r *Router[T]) Available() bool {
	for _, s := range r.senders {
		if !s.Available() {
			return false
		}
	}
	return true
}

// Notify sets what is called when a partition's credit comes back.
func (r *Router[T]) Notify(f func()) {
	for _, s := range r.senders {
		s.Notify(f)
	}
}
