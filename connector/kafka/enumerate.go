package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
)

// firstContact is how long a look for partitions waits for an answer: an address
// that is wrong should be told soon.
const firstContact = 15 * time.Second

// enumerator finds partitions and where in them to start and end. The ends are
// set at the first discovery, so a bounded source has one discovery.
type enumerator struct {
	*sourceOptions
	client *kgo.Client
	admin  *kadm.Client
	known  map[Partition]bool
	ids    map[string]kadm.TopicID // of the last look
	first  bool                    // nothing was discovered in this job yet
	silent time.Time               // since when no broker answers
}

func newEnumerator(o *sourceOptions) *enumerator {
	return &enumerator{sourceOptions: o, known: map[Partition]bool{}, ids: map[string]kadm.TopicID{}, first: true}
}

func (e *enumerator) Discover(ctx context.Context) (operator.Discovery, error) {
	bounded := e.end.kind != boundNone
	if !e.first && (bounded || e.discovery <= 0) {
		return operator.Discovery{Done: true}, nil
	}
	d := operator.Discovery{Done: bounded || e.discovery <= 0, After: e.discovery}
	splits, err := e.look(ctx)
	switch {
	case err == nil:
		e.first, e.silent = false, time.Time{}
		d.Splits = splits
		if d.Done {
			d.After = 0
		}
		return d, nil
	case e.first || ctx.Err() != nil || !passing(err):
		return operator.Discovery{}, err
	case e.silent.IsZero():
		e.silent = time.Now()
	case time.Since(e.silent) > e.outage:
		return operator.Discovery{}, fmt.Errorf("kafka: looking for partitions for %v: %w", e.outage, err)
	}
	// The readers go on with what they have; whether they can is for them to say.
	d.After = min(e.discovery, 5*time.Second)
	return d, nil
}

// passing reports whether err may go away by itself.
func passing(err error) bool {
	f, ok := errors.AsType[*flow.Failure](err)
	return ok && f.Retryable
}

// contact is how long a look may take.
func (o *clientOptions) contact() time.Duration { return min(o.outage, firstContact) }

// failure classifies an error of a client's call.
func (o *clientOptions) failure(doing string, err error) error {
	if errors.Is(err, kgo.ErrClientClosed) || errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w within %v", context.DeadlineExceeded, o.contact())
	}
	f := &flow.Failure{Domain: flow.DomainExternal, Cause: err, Retryable: true}
	if _, ok := errors.AsType[*kerr.Error](err); ok {
		f.Retryable = kerr.IsRetriable(err)
	}
	if errors.Is(err, kerr.SaslAuthenticationFailed) || errors.Is(err, kerr.TopicAuthorizationFailed) || errors.Is(err, kerr.GroupAuthorizationFailed) {
		return fmt.Errorf("kafka: %s: the brokers %q refuse it, check user, password and access rights: %w", doing, o.brokers, f)
	}
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("kafka: %s: the brokers %q close the connection; do they want TLS or a login, or are user and password wrong? %w", doing, o.brokers, f)
	}
	if f.Retryable {
		return fmt.Errorf("kafka: %s: no answer from the brokers %q, check that they run and can be reached: %w", doing, o.brokers, f)
	}
	return fmt.Errorf("kafka: %s: %w", doing, f)
}

func (e *enumerator) look(ctx context.Context) ([]operator.Split, error) {
	if e.client == nil {
		var err error
		if e.client, err = e.sourceOptions.client(); err != nil {
			return nil, err
		}
		e.admin = kadm.NewClient(e.client)
	}
	ctx, cancel := context.WithTimeout(ctx, e.contact())
	defer cancel()
	// A request to a broker that takes connections and says nothing heeds no
	// context until the connection is made; closing the client ends it.
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		e.client.Close()
	})
	defer func() {
		if !stop() {
			<-closed
			e.client, e.admin = nil, nil // the next look makes new ones
		}
	}()
	found, err := e.partitions(ctx)
	if err != nil {
		return nil, err
	}
	fresh := slices.DeleteFunc(found, func(p Partition) bool { return e.known[p] })
	if e.end.kind == boundOffsets {
		fresh = slices.DeleteFunc(fresh, func(p Partition) bool { _, ok := e.end.offsets[p]; return !ok })
	}
	if len(fresh) == 0 {
		return nil, nil
	}
	start := e.start
	if !e.first && start.kind != boundOffsets {
		start = bound{} // all that is in a new partition is new
	}
	starts, err := e.offsets(ctx, fresh, start, e.admin.ListStartOffsets)
	if err != nil {
		return nil, err
	}
	ends := map[Partition]int64{}
	if e.end.kind != boundNone {
		if ends, err = e.offsets(ctx, fresh, e.end, e.latest()); err != nil {
			return nil, err
		}
	}
	earliest := start.kind == boundNone
	var splits []operator.Split
	for _, p := range fresh {
		pos := position{Topic: p.Topic, Partition: p.Partition, ID: e.ids[p.Topic], Next: starts[p], End: -1, Earliest: earliest && e.end.kind == boundNone}
		if end, ok := ends[p]; ok {
			if end <= pos.Next {
				continue // nothing to read
			}
			pos.End = end
		}
		s, err := pos.split()
		if err != nil {
			return nil, err
		}
		splits = append(splits, s)
	}
	for _, p := range fresh {
		e.known[p] = true
	}
	return splits, nil
}

// partitions lists those of the topics asked for, by name and number.
func (e *enumerator) partitions(ctx context.Context) ([]Partition, error) {
	var ask []string // all, where there is a pattern
	if e.pattern == nil {
		ask = e.topics
	}
	topics, err := e.admin.ListTopics(ctx, ask...)
	if err != nil {
		return nil, e.failure("listing topics", err)
	}
	for _, name := range e.topics {
		t, ok := topics[name]
		if ok && t.Err == nil {
			continue
		}
		if ok && !errors.Is(t.Err, kerr.UnknownTopicOrPartition) {
			return nil, e.failure(fmt.Sprintf("looking for topic %q", name), t.Err)
		}
		if !e.first {
			// It may be unknown for a moment after a broker's restart. If it was
			// deleted its readers notice.
			continue
		}
		return nil, fmt.Errorf("kafka: topic %q does not exist on the brokers %q; create it first, or correct the name%s: %w",
			name, e.brokers, e.others(ctx), &flow.Failure{Domain: flow.DomainUser, Cause: kerr.UnknownTopicOrPartition})
	}
	var found []Partition
	for name, t := range topics {
		named := slices.Contains(e.topics, name)
		if t.Err != nil || !named && (t.IsInternal || e.pattern == nil || !e.pattern.MatchString(name)) {
			continue
		}
		e.ids[name] = t.ID
		for _, p := range t.Partitions.Numbers() {
			found = append(found, Partition{name, p})
		}
	}
	slices.SortFunc(found, func(a, b Partition) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return found, nil
}

// others names topics that exist, as advice.
func (e *enumerator) others(ctx context.Context) string {
	topics, err := e.admin.ListTopics(ctx)
	if err != nil || len(topics) == 0 {
		return ""
	}
	names, more := topics.Names(), ""
	if len(names) > 10 {
		names, more = names[:10], ", ..."
	}
	return " (there are: " + strings.Join(names, ", ") + more + ")"
}

type lister func(ctx context.Context, topics ...string) (kadm.ListedOffsets, error)

// latest lists ends: those of what may be read.
func (e *enumerator) latest() lister {
	if e.uncommitted {
		return e.admin.ListEndOffsets
	}
	return e.admin.ListCommittedOffsets
}

// offsets finds the offset of a bound in each partition; otherwise lists those of
// partitions of which the bound says nothing.
func (e *enumerator) offsets(ctx context.Context, ps []Partition, b bound, otherwise lister) (map[Partition]int64, error) {
	list := otherwise
	given := map[Partition]int64{}
	switch b.kind {
	case boundLatest:
		list = e.latest()
	case boundTime:
		// Kafka counts milliseconds: the first one that is not before the time.
		milli := b.time.Add(time.Millisecond - 1).UnixMilli()
		list = func(ctx context.Context, topics ...string) (kadm.ListedOffsets, error) {
			return e.admin.ListOffsetsAfterMilli(ctx, milli, topics...)
		}
	case boundOffsets:
		given = b.offsets
	case boundGroup:
		committed, err := e.admin.FetchOffsets(ctx, b.group)
		if err != nil {
			return nil, e.failure(fmt.Sprintf("reading the offsets of group %q", b.group), err)
		}
		committed.Each(func(o kadm.OffsetResponse) {
			if o.Err == nil && o.At >= 0 {
				given[Partition{o.Topic, o.Partition}] = o.At
			}
		})
	}
	offsets := map[Partition]int64{}
	var topics []string
	for _, p := range ps {
		if o, ok := given[p]; ok {
			offsets[p] = o
		} else if !slices.Contains(topics, p.Topic) {
			topics = append(topics, p.Topic)
		}
	}
	if len(topics) == 0 {
		return offsets, nil
	}
	listed, err := list(ctx, topics...)
	if err != nil {
		return nil, e.failure(fmt.Sprintf("listing offsets of %q", topics), err)
	}
	for _, p := range ps {
		if _, ok := offsets[p]; ok {
			continue
		}
		o, ok := listed.Lookup(p.Topic, p.Partition)
		if !ok {
			o.Err = kerr.LeaderNotAvailable
		}
		if o.Err != nil {
			return nil, e.failure(fmt.Sprintf("listing the offset of %s", p), o.Err)
		}
		offsets[p] = max(o.Offset, 0)
	}
	return offsets, nil
}

func (*enumerator) Finished([]string) {}

// discovered is the enumerator's snapshot.
type discovered struct {
	Known map[string][]int32 `msgpack:"known"` // partitions by topic
	First bool               `msgpack:"first"`
}

func (e *enumerator) Snapshot() ([]byte, error) {
	d := discovered{Known: map[string][]int32{}, First: e.first}
	for p := range e.known {
		d.Known[p.Topic] = append(d.Known[p.Topic], p.Partition)
	}
	return msgpack.Marshal(&d)
}

func (e *enumerator) Restore(data []byte) error {
	var d discovered
	if err := msgpack.Unmarshal(data, &d); err != nil {
		return fmt.Errorf("kafka: restoring the enumerator: %w", err)
	}
	e.first = d.First
	for topic, ps := range d.Known {
		for _, p := range ps {
			e.known[Partition{topic, p}] = true
		}
	}
	return nil
}

func (e *enumerator) Close() error {
	if e.client != nil {
		e.client.Close()
	}
	return nil
}
