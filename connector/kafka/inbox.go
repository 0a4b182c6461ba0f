package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirflow/weir/flow"
)

// pollRecords bounds what one poll takes out of the client, so that the inbox is
// not filled beyond its bound by much.
const pollRecords = 8192

// troubleGap is how long a partition must be without errors to count as well
// again: errors of one trouble come more often than this, even those of a broker
// that takes requests and does not answer.
const troubleGap = 30 * time.Second

// inbox holds what the poller fetched and the reader has not read. The poller
// stops fetching while it holds its bound of bytes; one poll may go beyond.
type inbox struct {
	limit   int
	patient time.Duration // for errors that may pass
	brokers []string
	wake    func()
	room    chan struct{} // 1 deep: something was taken
	mu      struct {
		sync.Mutex
		queues map[Partition]*queue
		bytes  int        // in queues that are not paused
		fresh  []position // that nobody has looked at
		err    error
	}
}

// queue is what is held of one partition.
type queue struct {
	chunks []chunk
	bytes  int // in chunks, and in the one that the reader has in hand
	paused bool
	// since and last are the first and the last error of a trouble that may pass.
	since, last time.Time
}

// chunk is a run of records of one partition.
type chunk struct {
	records []*kgo.Record
	bytes   int
}

func newInbox(o *clientOptions, wake func()) *inbox {
	in := &inbox{limit: o.buffer, patient: o.outage, brokers: o.brokers, wake: wake, room: make(chan struct{}, 1)}
	in.mu.queues = map[Partition]*queue{}
	return in
}

// poll fills the inbox until ctx ends. Partitions that are new are looked at by check
// before anything of them is put.
func (in *inbox) poll(ctx context.Context, client *kgo.Client, check func(context.Context, []position) error) {
	known := func() bool {
		if fresh := in.unseen(); len(fresh) > 0 {
			if err := check(ctx, fresh); err != nil {
				in.fail(err)
				return false
			}
		}
		return ctx.Err() == nil
	}
	for in.wait(ctx) && known() {
		fetches := client.PollRecords(ctx, pollRecords)
		if ctx.Err() != nil || fetches.IsClientClosed() {
			return
		}
		if !known() { // some may have been added meanwhile
			return
		}
		fetches.EachPartition(in.put)
		in.wake()
	}
}

// wait waits until there is room. It reports false when ctx has ended.
func (in *inbox) wait(ctx context.Context) bool {
	for {
		in.mu.Lock()
		full := in.mu.bytes >= in.limit
		in.mu.Unlock()
		if !full {
			return ctx.Err() == nil
		}
		select {
		case <-in.room:
		case <-ctx.Done():
			return false
		}
	}
}

func (in *inbox) put(f kgo.FetchTopicPartition) {
	p := Partition{f.Topic, f.Partition}
	c := chunk{records: f.Records}
	for _, r := range f.Records {
		c.bytes += recordBytes(r)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	q := in.mu.queues[p]
	if f.Err != nil && in.mu.err == nil {
		in.mu.err = in.troubleLocked(p, q, f.Err)
	}
	if q == nil || len(f.Records) == 0 {
		return // of a split that is at its end
	}
	q.since = time.Time{}
	q.chunks = append(q.chunks, c)
	q.bytes += c.bytes
	if !q.paused {
		in.mu.bytes += c.bytes
	}
}

// recordBytes is about the memory that a record holds.
func recordBytes(r *kgo.Record) int { return len(r.Key) + len(r.Value) + 160 }

// troubleLocked decides on a partition's error: nil means to try on.
func (in *inbox) troubleLocked(p Partition, q *queue, err error) error {
	f := &flow.Failure{Domain: flow.DomainExternal, Cause: err}
	if _, ok := errors.AsType[*kgo.ErrDataLoss](err); ok || errors.Is(err, kerr.OffsetOutOfRange) {
		return lostPosition(p, f)
	}
	if q == nil {
		return nil
	}
	if _, ok := errors.AsType[*kerr.Error](err); ok && !kerr.IsRetriable(err) {
		return fmt.Errorf("kafka: reading %s from the brokers %q: %w", p, in.brokers, f)
	}
	now := time.Now()
	if q.since.IsZero() || now.Sub(q.last) > troubleGap {
		q.since = now
	}
	q.last = now
	if now.Sub(q.since) < in.patient {
		return nil
	}
	f.Retryable = true
	if errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.UnknownTopicID) {
		return fmt.Errorf("kafka: %s does not exist any more on the brokers %q; was the topic deleted, or deleted and created again? %w", p, in.brokers, f)
	}
	return fmt.Errorf("kafka: reading %s from the brokers %q fails for %v: %w", p, in.brokers, in.patient, f)
}

// unseen takes the partitions that are to be looked at.
func (in *inbox) unseen() []position {
	in.mu.Lock()
	defer in.mu.Unlock()
	fresh := in.mu.fresh
	in.mu.fresh = nil
	return fresh
}

// fail ends reading.
func (in *inbox) fail(err error) {
	in.mu.Lock()
	if in.mu.err == nil {
		in.mu.err = err
	}
	in.mu.Unlock()
	in.wake()
}

// open makes room for a partition.
func (in *inbox) open(p position) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.mu.queues[p.partition()] = &queue{}
	in.mu.fresh = append(in.mu.fresh, p)
}

// drop forgets a partition; what is fetched of it later is dropped too.
func (in *inbox) drop(p Partition) {
	in.mu.Lock()
	q := in.mu.queues[p]
	if q != nil && !q.paused {
		in.mu.bytes -= q.bytes
	}
	delete(in.mu.queues, p)
	in.mu.Unlock()
	in.freed()
}

// pause takes a partition out of the bound, or puts it back: what was fetched of
// it must not keep others from being fetched.
func (in *inbox) pause(p Partition, paused bool) {
	in.mu.Lock()
	if q := in.mu.queues[p]; q != nil && q.paused != paused {
		q.paused = paused
		if paused {
			in.mu.bytes -= q.bytes
		} else {
			in.mu.bytes += q.bytes
		}
	}
	in.mu.Unlock()
	in.freed()
}

// take gives the partition's next chunk. It stays counted until done.
func (in *inbox) take(p Partition) (chunk, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	q := in.mu.queues[p]
	if in.mu.err != nil || q == nil || len(q.chunks) == 0 {
		return chunk{}, in.mu.err
	}
	c := q.chunks[0]
	q.chunks[0] = chunk{}
	q.chunks = q.chunks[1:]
	return c, nil
}

// done tells that a chunk's records have been read.
func (in *inbox) done(p Partition, c chunk) {
	in.mu.Lock()
	if q := in.mu.queues[p]; q != nil {
		q.bytes -= c.bytes
		if !q.paused {
			in.mu.bytes -= c.bytes
		}
	}
	in.mu.Unlock()
	in.freed()
}

// failure is the error that ends reading, if there is one.
func (in *inbox) failure() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.mu.err
}

func (in *inbox) freed() {
	select {
	case in.room <- struct{}{}:
	default:
	}
}
