package shuffle

import (
	"context"
	"fmt"
	"slices"

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
	sent    []Count // by each sender
	// limit is how many records make a full batch: BatchSize, or as many as have
	// BatchBytes if all are as large as those sent last. It is 0 until the first is
	// seen. To add up the sizes of single records would cost more than it brings.
	limit int

	// for hash
	targets []int32 // key group → sender
	keying  int     // records whose keys are being computed
	hash    func(vals []T, dst []flow.Hash) []flow.Hash
	hashes  []flow.Hash
	// for rebalance
	next int
	// for broadcast: the senders for which batches are encoded once, see routeShared
	shared []int
	// faulty are the senders that can fail without being called.
	faulty []Faulty
}

// RouterOptions configure a Router; the zero value works.
type RouterOptions[T any] struct {
	// BatchSize is the number of records of a full batch. Default
	// DefaultBatchSize.
	BatchSize int
	// BatchBytes is about the number of bytes after which a batch of fewer records
	// is full too. Default DefaultBatchBytes.
	BatchBytes int
	// Bytes is the size of values in memory. Default: 64 bytes a record.
	Bytes func(vals []T) int
	// Summer, where set, makes Counts have sums. Default: none.
	Summer *Summer[T]
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
	r := &Router[T]{ctx: ctx, opt: opt, senders: senders, bufs: make([]*flow.Batch[T], len(senders)),
		sent: make([]Count, len(senders))}
	for _, s := range senders {
		if f, ok := s.(Faulty); ok {
			r.faulty = append(r.faulty, f)
		}
	}
	return r
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
	own := r.share()
	r.route = func(b *flow.Batch[T]) error {
		for _, i := range own {
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
func (r *Router[T]) Receive(b *flow.Batch[T]) error {
	if r.limit == 0 && len(b.Values) > 0 {
		r.measure(1, r.opt.Bytes(b.Values[:1]))
	}
	return r.route(b)
}

// measure sets the limit from the size of n records.
func (r *Router[T]) measure(n, bytes int) {
	r.limit = r.opt.BatchSize
	if bytes > 0 {
		r.limit = min(r.limit, max(1, r.opt.BatchBytes*n/bytes))
	}
}

// Failing says, after a panic, that it was the key function's; "" where it was not.
func (r *Router[T]) Failing() string {
	if r.keying == 0 {
		return ""
	}
	return fmt.Sprintf("the key of one of the %d records that it sent last", r.keying)
}

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
		// One at least: the limit may have sunk below what is collected.
		n := max(1, min(to-from, r.limit-len(buf.Values)))
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
		if len(buf.Values) >= r.limit {
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
	r.keying = len(b.Values)
	r.hashes = r.hash(b.Values, r.hashes[:0])
	r.keying = 0
	hs := r.hashes[:len(b.Values)]
	if len(b.Times) > 0 {
		return r.hashedTimed(b, hs)
	}
	targets, bufs, limit := r.targets, r.bufs, r.limit
	max := uint32(len(targets))
	for i, h := range hs {
		t := targets[uint32(h>>32)%max]
		buf := bufs[t]
		if buf == nil || len(buf.Times) > 0 {
			var err error
			if buf, err = r.fresh(int(t), false); err != nil {
				return err
			}
			limit = r.limit
		}
		n := len(buf.Values)
		if n == cap(buf.Values) || n == cap(buf.Hashes) {
			r.grow(buf)
		}
		buf.Values, buf.Hashes = buf.Values[:n+1], buf.Hashes[:n+1]
		buf.Values[n], buf.Hashes[n] = b.Values[i], h
		if n+1 >= limit {
			if err := r.send(int(t)); err != nil {
				return err
			}
			limit = r.limit
		}
	}
	return nil
}

// hashedTimed is hashed for records with times.
func (r *Router[T]) hashedTimed(b *flow.Batch[T], hs []flow.Hash) error {
	targets, bufs, limit := r.targets, r.bufs, r.limit
	max, times := uint32(len(targets)), b.Times[:len(hs)]
	for i, h := range hs {
		t := targets[uint32(h>>32)%max]
		buf := bufs[t]
		if buf == nil || len(buf.Times) != len(buf.Values) {
			var err error
			if buf, err = r.fresh(int(t), true); err != nil {
				return err
			}
			limit = r.limit
		}
		n := len(buf.Values)
		if n == cap(buf.Values) || n == cap(buf.Hashes) || n == cap(buf.Times) {
			r.grow(buf)
			buf.Times = slices.Grow(buf.Times, cap(buf.Values)-n)
		}
		buf.Values, buf.Hashes, buf.Times = buf.Values[:n+1], buf.Hashes[:n+1], buf.Times[:n+1]
		buf.Values[n], buf.Hashes[n], buf.Times[n] = b.Values[i], h, times[i]
		if n+1 >= limit {
			if err := r.send(int(t)); err != nil {
				return err
			}
			limit = r.limit
		}
	}
	return nil
}

// fresh returns the buffer of sender t for records with times, or without: what
// was collected of the other kind is sent first, since within one batch all
// records have a time or none has.
func (r *Router[T]) fresh(t int, timed bool) (*flow.Batch[T], error) {
	if buf := r.bufs[t]; buf != nil && len(buf.Values) > 0 && timed != (len(buf.Times) > 0) {
		if err := r.send(t); err != nil {
			return nil, err
		}
	}
	return r.buffer(t), nil
}

// grow makes room for records and their hashes, up to a full batch at once.
func (r *Router[T]) grow(buf *flow.Batch[T]) {
	n := len(buf.Values)
	room := min(r.opt.BatchSize, max(2*n, minRoom))
	buf.Values = slices.Grow(buf.Values, room-n)
	buf.Hashes = slices.Grow(buf.Hashes, cap(buf.Values)-n)
}

// minRoom is the number of records that a buffer is first made for.
const minRoom = 64

func (r *Router[T]) buffer(i int) *flow.Batch[T] {
	if r.bufs[i] == nil {
		r.bufs[i] = r.senders[i].Buffer()
	}
	return r.bufs[i]
}

// send sends the buffer of sender i, and waits for credit if it has none.
func (r *Router[T]) send(i int) error {
	if r.isShared(i) {
		return r.sendShared()
	}
	buf, bytes, err := r.take(i)
	if err != nil {
		return err
	}
	return r.senders[i].Send(r.ctx, buf, bytes)
}

// push is send that does not wait.
func (r *Router[T]) push(i int) error {
	if r.isShared(i) {
		return r.pushShared()
	}
	buf, bytes, err := r.take(i)
	if err != nil {
		return err
	}
	return r.senders[i].Push(buf, bytes)
}

// take takes the buffer of sender i for sending, and counts it.
func (r *Router[T]) take(i int) (buf *flow.Batch[T], bytes int, err error) {
	buf = r.bufs[i]
	r.bufs[i] = nil
	bytes = r.opt.Bytes(buf.Values)
	r.measure(len(buf.Values), bytes)
	c := Count{Records: int64(len(buf.Values))}
	if r.opt.Summer != nil {
		if c, err = r.opt.Summer.Batch(buf); err != nil {
			return nil, 0, err
		}
	}
	r.sent[i].Add(c)
	return buf, bytes, nil
}

// Counts appends what was sent so far.
func (r *Router[T]) Counts(dst []Count) []Count { return append(dst, r.sent...) }

// Flush sends what is collected for partitions that have credit. It does not
// block: a task that waits for credit stays within reach of its mail.
func (r *Router[T]) Flush() error {
	for _, f := range r.faulty {
		if err := f.Fault(); err != nil {
			return err
		}
	}
	for i, buf := range r.bufs {
		if buf != nil && len(buf.Values) > 0 && r.senders[i].Available() && (!r.isShared(i) || r.sharedAvailable()) {
			if err := r.send(i); err != nil {
				return err
			}
		}
	}
	return nil
}

// Control sends what is collected and then c on all partitions. It does not block:
// what is collected goes beyond the credit where there is none. A task that waits
// here would not be in reach of an epoch that is to overtake what it waits for. It is
// bounded, for a task that finds no credit takes no more input, and then has nothing
// to send in front of the next control record.
func (r *Router[T]) Control(c flow.Control) error {
	for i, buf := range r.bufs {
		if buf != nil && len(buf.Values) > 0 {
			if err := r.push(i); err != nil {
				return err
			}
		}
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
