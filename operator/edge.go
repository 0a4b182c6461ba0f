package operator

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/shuffle"
	"github.com/weirflow/weir/shuffle/local"
	"github.com/weirflow/weir/shuffle/spill"
	"github.com/weirflow/weir/shuffle/wire"
)

// Edge makes the typed ends of exchanges for whoever does not know the type. It
// sits in graph.Output.Impl.
type Edge interface {
	// Check reports why records of the type could not be sent to another process,
	// naming the field and its type; nil when they can.
	Check() error
	// NewOutput makes an Output of the type.
	NewOutput() Attacher
	// NewGate makes the consumer's end of a local exchange with n producers, and
	// the senders that feed it: each a shuffle.Sender of the type.
	NewGate(n int, opt EdgeOptions) (shuffle.Gate, []any, error)
	// NewReplay reads records of the type that an unaligned epoch has overtaken, for a
	// receiver that no gate feeds, since it is in one chain with the producer by now.
	// data and keep are as with shuffle.Overtaken's Replay.
	NewReplay(receiver any, data []byte, keep func(flow.Hash) bool, opt EdgeOptions) (shuffle.Replayer, error)
	// NewWriter makes the producer's end. senders has one for each consumer, or
	// for a forward exchange the one of the same subtask. The result is a
	// Receiver of the type as well.
	NewWriter(ctx context.Context, x graph.Exchange, senders []any, opt EdgeOptions) (shuffle.Writer, error)
	// NewRemoteSender makes a sender for a consumer in another process, whose endpoint is
	// at peer: one of NewWriter's senders. It is to be closed when its task has ended.
	NewRemoteSender(e *wire.Endpoint, peer string, id wire.PartitionID, opt EdgeOptions) (RemoteSender, error)
	// AttachRemote makes what a producer in another process sends go to sender, one of
	// NewGate's. detach ends that.
	AttachRemote(e *wire.Endpoint, id wire.PartitionID, sender any, opt EdgeOptions) (detach func(), err error)
	// NewSpilled makes the producer's end of a blocking exchange: its ends are NewWriter's
	// senders.
	NewSpilled(fs vfs.FS, host spill.Host, id spill.ID, opt spill.Options) (Spilled, error)
	// NewFeed makes the consumer's end of a blocking exchange: it has a gate, and fills it
	// while it runs.
	NewFeed(from spill.Opener, inputs []spill.ID, of spill.Range, opt spill.ReaderOptions) (spill.Feed, error)
}

// EdgeOptions configure an exchange; the zero value works.
type EdgeOptions struct {
	BatchSize      int // records; default shuffle.DefaultBatchSize
	Credit         int // bytes for each partition; default shuffle.DefaultCredit
	MaxParallelism int // default flow.DefaultMaxParallelism
	// Subtask is the producer's number; rebalancing begins with a different
	// partition for each.
	Subtask int
	// Hashes makes the books of the exchange keep sums of hashes beside counts.
	Hashes bool
	// BatchBytes is the size after which a batch is sent. Default: that of the router.
	BatchBytes int
	// Rand makes tests choose among ready channels at random.
	Rand *rand.Rand
}

// HashFunc computes the hashes of the keys of a column of records, appending to
// dst. It sits in graph.Exchange.Impl of hash exchanges.
type HashFunc[T any] func(vals []T, dst []flow.Hash) []flow.Hash

// EdgeOf makes the handle of type T.
func EdgeOf[T any]() Edge { return edge[T]{} }

type edge[T any] struct{}

func (edge[T]) Check() error {
	_, err := codec.For[T]()
	return err
}

func (edge[T]) NewOutput() Attacher { return &Output[T]{} }

func (edge[T]) NewGate(n int, opt EdgeOptions) (shuffle.Gate, []any, error) {
	c, err := codec.For[T]()
	if err != nil {
		return nil, nil, err
	}
	g, senders := local.NewGate[T](n, local.Options{Credit: opt.Credit, BatchSize: opt.BatchSize, Pointers: !c.Pointerless(), Hashes: opt.Hashes, Rand: opt.Rand})
	erased := make([]any, n)
	for i, s := range senders {
		erased[i] = s
	}
	return g, erased, nil
}

func (edge[T]) NewReplay(receiver any, data []byte, keep func(flow.Hash) bool, opt EdgeOptions) (shuffle.Replayer, error) {
	to, ok := receiver.(Receiver[T])
	if !ok {
		return nil, fmt.Errorf("operator: records of %T cannot be given to %T", *new(T), receiver)
	}
	r, err := shuffle.NewReplay(data, to, keep, opt.Hashes)
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (edge[T]) NewWriter(ctx context.Context, x graph.Exchange, senders []any, opt EdgeOptions) (shuffle.Writer, error) {
	typed := make([]shuffle.Sender[T], len(senders))
	for i, s := range senders {
		t, ok := s.(shuffle.Sender[T])
		if !ok {
			return nil, fmt.Errorf("operator: exchange of %T cannot send by %T", *new(T), s)
		}
		typed[i] = t
	}
	c, err := codec.For[T]()
	if err != nil {
		return nil, err
	}
	ro := shuffle.RouterOptions[T]{BatchSize: opt.BatchSize, BatchBytes: opt.BatchBytes, Bytes: c.MemSize}
	if opt.Hashes {
		if ro.Summer, err = shuffle.NewSummer[T](); err != nil {
			return nil, err
		}
	}
	switch x.Kind {
	case graph.Forward:
		return shuffle.NewForward(ctx, typed[0], ro), nil
	case graph.Broadcast:
		return shuffle.NewBroadcast(ctx, typed, ro), nil
	case graph.Rebalance:
		return shuffle.NewRebalance(ctx, typed, opt.Subtask, ro), nil
	case graph.Hash:
		hash, ok := x.Impl.(HashFunc[T])
		if !ok {
			return nil, fmt.Errorf("operator: hash exchange of %T has a key of type %T", *new(T), x.Impl)
		}
		groups := opt.MaxParallelism
		if groups == 0 {
			groups = flow.DefaultMaxParallelism
		}
		return shuffle.NewHash(ctx, typed, groups, hash, ro), nil
	}
	return nil, fmt.Errorf("operator: exchange of unknown kind %s", x.Kind)
}
