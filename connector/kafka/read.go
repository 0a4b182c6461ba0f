package kafka

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
)

// reader reads the partitions of one subtask, in turn, a batch of each.
type reader[T any] struct {
	*source[T]
	ctx     *operator.ReaderContext
	in      *inbox
	outage  *outage
	client  *kgo.Client // made with the first split
	cancel  context.CancelFunc
	running context.Context // of the poller
	told    *progress       // nil until there is something to tell
	poller  sync.WaitGroup
	open    []*open
	turn    int
	last    Record // topic, partition and offset of the last record
}

// open is a partition in reading.
type open struct {
	position
	id     string
	paused bool
	chunk  chunk // in hand
	at     int   // the next record of it
}

func newReader[T any](s *source[T], ctx *operator.ReaderContext) *reader[T] {
	r := &reader[T]{source: s, ctx: ctx, in: newInbox(&s.clientOptions, ctx.Wake), cancel: func() {}}
	r.outage = &outage{limit: s.clientOptions.outage, brokers: s.brokers, log: ctx.Log, metrics: ctx.Metrics, over: ctx.Wake}
	r.last.Offset = -1
	return r
}

func (r *reader[T]) Add(s operator.Split) error {
	p, err := parsePosition(s)
	if err != nil {
		return err
	}
	o := &open{position: p, id: s.ID}
	r.open = append(r.open, o)
	if o.End >= 0 && o.Next >= o.End {
		return nil // Read says that it is done
	}
	r.in.open(p)
	offset := kgo.NewOffset().At(p.Next)
	if p.Earliest {
		offset = kgo.NewOffset().AtStart()
	}
	at := map[string]map[int32]kgo.Offset{p.Topic: {p.Partition: offset}}
	if r.client != nil {
		r.client.AddConsumePartitions(at)
		return nil
	}
	return r.connect(at)
}

// connect makes the client and starts the poller.
func (r *reader[T]) connect(at map[string]map[int32]kgo.Offset) error {
	isolation := kgo.ReadCommitted()
	if r.uncommitted {
		isolation = kgo.ReadUncommitted()
	}
	client, err := r.source.client(
		kgo.ConsumePartitions(at),
		kgo.ConsumeResetOffset(r.lost.reset()),
		kgo.KeepControlRecords(),
		kgo.KeepRetryableFetchErrors(),
		kgo.FetchIsolationLevel(isolation),
		kgo.FetchMaxBytes(int32(min(r.buffer, 64<<20))),
		kgo.FetchMaxPartitionBytes(int32(min(r.buffer, 1<<20))),
		// A broker answers one fetch at a time: a partition that is added or
		// resumed waits for the answer to those that have nothing new.
		kgo.FetchMaxWait(500*time.Millisecond),
		kgo.WithHooks(r.outage),
	)
	if err != nil {
		return err
	}
	r.client = client
	ctx, cancel := context.WithCancel(r.ctx.Context)
	r.cancel, r.running = cancel, ctx
	r.poller.Go(func() { r.in.poll(ctx, client, r.check) })
	return nil
}

func (r *reader[T]) Read(into *operator.Records[T], limit int) (operator.Status, error) {
	if err := r.outage.failure(); err != nil {
		return operator.Status{}, err
	}
	for range r.open {
		r.turn = (r.turn + 1) % len(r.open)
		o := r.open[r.turn]
		if o.paused {
			continue
		}
		if o.at == len(o.chunk.records) && !o.done() {
			c, err := r.in.take(o.partition())
			if err != nil {
				return operator.Status{}, err
			}
			if len(c.records) == 0 {
				continue
			}
			o.chunk, o.at = c, 0
		}
		err := r.read(o, into, limit)
		return operator.More, err
	}
	return operator.WaitForWake, r.in.failure()
}

func (o *open) done() bool { return o.End >= 0 && o.Next >= o.End }

// read reads up to limit records of the chunk in hand.
func (r *reader[T]) read(o *open, into *operator.Records[T], limit int) error {
	before := o.Next
	into.Split = o.id
	for ; limit > 0 && o.at < len(o.chunk.records) && !o.done(); limit-- {
		rec := o.chunk.records[o.at]
		o.chunk.records[o.at] = nil // its memory is freed with the batch
		o.at++
		if o.End >= 0 && rec.Offset >= o.End {
			o.Next = o.End // the records in between are gone, by compaction say
			break
		}
		o.Next, o.Earliest = rec.Offset+1, false
		if rec.Attrs.IsControl() {
			continue
		}
		if err := r.decodeOne(rec, into); err != nil {
			return err
		}
	}
	if o.at == len(o.chunk.records) && o.at > 0 {
		r.in.done(o.partition(), o.chunk)
		o.chunk, o.at = chunk{}, 0
	}
	if o.End >= 0 {
		into.Progress = min(o.Next, o.End) - min(before, o.End)
	}
	if o.done() {
		into.Done = true
		r.in.drop(o.partition())
		if r.client != nil {
			// Not removed: that would throw away what was fetched of others.
			r.client.PauseFetchPartitions(map[string][]int32{o.Topic: {o.position.Partition}})
		}
		r.open = slices.DeleteFunc(r.open, func(p *open) bool { return p == o })
	}
	return nil
}

func (r *reader[T]) decodeOne(rec *kgo.Record, into *operator.Records[T]) error {
	r.last = Record{
		Topic: rec.Topic, Partition: rec.Partition, Offset: rec.Offset,
		Key: rec.Key, Value: rec.Value, Headers: rec.Headers, Time: flow.MinTime,
	}
	if milli := rec.Timestamp.UnixMilli(); milli >= 0 {
		r.last.Time = flow.Time(milli * 1000)
	}
	into.Bytes += int64(len(rec.Key) + len(rec.Value))
	v, err := r.decode(r.last)
	if err != nil {
		return r.ctx.Bad(operator.BadRecord{
			Operator: r.ctx.Name, Where: r.last.Where(), Reason: err.Error(), Time: r.last.Time,
			Raw: slices.Clone(rec.Value[:min(len(rec.Value), operator.MaxBadRaw)]),
		})
	}
	into.Append(v, r.last.Time)
	return nil
}

func (r *reader[T]) Where() string {
	if r.last.Offset < 0 {
		return "before the first record"
	}
	return r.last.Where()
}

func (r *reader[T]) Snapshot() ([]operator.Split, error) {
	splits := make([]operator.Split, 0, len(r.open))
	for _, o := range r.open {
		s, err := o.split()
		if err != nil {
			return nil, err
		}
		splits = append(splits, s)
	}
	return splits, nil
}

func (r *reader[T]) Pause(split string, paused bool) {
	for _, o := range r.open {
		if o.id != split || o.paused == paused {
			continue
		}
		o.paused = paused
		r.in.pause(o.partition(), paused)
		p := map[string][]int32{o.Topic: {o.position.Partition}}
		switch {
		case r.client == nil:
		case paused:
			r.client.PauseFetchPartitions(p)
		default:
			r.client.ResumeFetchPartitions(p)
		}
	}
}

// Close ends the poller and the client, and waits for both.
func (r *reader[T]) Close() error {
	r.outage.close()
	r.cancel()
	if r.client != nil {
		r.client.Close()
	}
	r.poller.Wait()
	return nil
}
