package kafka

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"regexp"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/weirflow/weir/flow"
)

// Defaults.
const (
	// DefaultBuffer is the bound in bytes of what a reader has fetched, or a
	// writer has not yet seen acknowledged.
	DefaultBuffer = 32 << 20
	// DefaultOutage is how long an outage may last before the task fails.
	DefaultOutage = 2 * time.Minute
	// DefaultDiscovery is how often an unbounded source looks for new partitions.
	DefaultDiscovery = time.Minute
	// DefaultMaxMessage is the largest batch that a sink sends, and so the largest
	// message, in bytes: the default of Kafka's max.message.bytes.
	DefaultMaxMessage = 1_000_012
	// DefaultTransaction is how long the brokers wait for the end of a transaction.
	DefaultTransaction = 5 * time.Minute
	// DefaultPrefix begins the names of transactions and of the groups that record
	// epochs.
	DefaultPrefix = "weir-"
)

// SourceOption is a setting of a source, SinkOption one of a sink, and Option one
// of both.
type (
	SourceOption interface{ applySource(*sourceOptions) }
	SinkOption   interface{ applySink(*sinkOptions) }
	Option       interface {
		SourceOption
		SinkOption
	}
)

type clientOptions struct {
	brokers []string
	kgo     []kgo.Opt
	outage  time.Duration
	buffer  int
	err     error // of an option that can't be right
}

func (o *clientOptions) refuse(format string, args ...any) {
	if o.err == nil {
		o.err = &flow.Failure{Domain: flow.DomainUser, Cause: fmt.Errorf("kafka: "+format, args...)}
	}
}

type sourceOptions struct {
	clientOptions
	topics      []string
	pattern     *regexp.Regexp
	start, end  bound
	discovery   time.Duration
	uncommitted bool
	lost        Lost
	group       string // whose offsets are kept up to date, "" for none
}

type sinkOptions struct {
	clientOptions
	topic       string
	atLeastOnce bool
	maxMessage  int32
	transaction time.Duration
	prefix      string
	unknown     Unknown

	testing struct {
		step func(step string) error // called between the steps of a commit
	}
}

// bound is a place in each partition.
type bound struct {
	kind    boundKind
	time    time.Time
	offsets map[Partition]int64
	group   string
}

type boundKind uint8

const (
	boundNone boundKind = iota // earliest as a start, none as an end
	boundLatest
	boundTime
	boundOffsets
	boundGroup
)

func (b bound) String() string {
	switch b.kind {
	case boundLatest:
		return "latest"
	case boundTime:
		return b.time.UTC().Format(time.RFC3339Nano)
	case boundOffsets:
		return fmt.Sprintf("offsets of %d partitions", len(b.offsets))
	case boundGroup:
		return fmt.Sprintf("offsets of group %q", b.group)
	}
	return "earliest"
}

type (
	sourceOption func(*sourceOptions)
	clientOption func(*clientOptions)
	sinkOption   func(*sinkOptions)
)

func (o sourceOption) applySource(opts *sourceOptions) { o(opts) }
func (o sinkOption) applySink(opts *sinkOptions)       { o(opts) }
func (o clientOption) applySource(opts *sourceOptions) { o(&opts.clientOptions) }
func (o clientOption) applySink(opts *sinkOptions)     { o(&opts.clientOptions) }

// StartEarliest reads from the first record that there is. The default.
func StartEarliest() SourceOption { return startAt(bound{}) }

// StartLatest reads what is written after the job's start. Partitions that are
// found later are read from their first record.
func StartLatest() SourceOption { return startAt(bound{kind: boundLatest}) }

// StartAt reads from the first record on whose timestamp is t or later.
func StartAt(t time.Time) SourceOption { return startAt(bound{kind: boundTime, time: t}) }

// StartOffsets reads the named partitions from these offsets on, and others from
// their first record.
func StartOffsets(offsets map[Partition]int64) SourceOption {
	return startAt(bound{kind: boundOffsets, offsets: maps.Clone(offsets)})
}

// StartCommitted reads from where a consumer group has come to: to take over from
// another consumer. Partitions that the group has no offset of are read from
// their first record. The group's offsets are not changed.
func StartCommitted(group string) SourceOption {
	return startAt(bound{kind: boundGroup, group: group})
}

func startAt(b bound) SourceOption { return sourceOption(func(o *sourceOptions) { o.start = b }) }

// EndLatest ends the source at the last record that there was when the job
// started.
func EndLatest() SourceOption { return endAt(bound{kind: boundLatest}) }

// EndAt ends the source before the first record whose timestamp is t or later, or
// where there was none when the job started, as EndLatest does.
func EndAt(t time.Time) SourceOption { return endAt(bound{kind: boundTime, time: t}) }

// EndOffsets reads the named partitions up to these offsets, without them, and no
// others. It waits for records that are not there yet.
func EndOffsets(offsets map[Partition]int64) SourceOption {
	return endAt(bound{kind: boundOffsets, offsets: maps.Clone(offsets)})
}

func endAt(b bound) SourceOption { return sourceOption(func(o *sourceOptions) { o.end = b }) }

// Pattern reads all topics whose whole name matches the regular expression, beside
// those named. Topics that appear later are read too.
func Pattern(expr string) SourceOption {
	return sourceOption(func(o *sourceOptions) {
		re, err := regexp.Compile("^(?:" + expr + ")$")
		if err != nil {
			o.refuse("Pattern(%q): %w", expr, err)
		}
		o.pattern = re
	})
}

// Discover sets how often a source without end looks for new partitions and
// topics; 0 means never. The default is a minute.
func Discover(every time.Duration) SourceOption {
	return sourceOption(func(o *sourceOptions) { o.discovery = every })
}

// ReadUncommitted also reads the records of transactions that are open or were
// aborted.
func ReadUncommitted() SourceOption {
	return sourceOption(func(o *sourceOptions) { o.uncommitted = true })
}

// Buffer sets how many bytes a reader may have fetched and not yet handed on, or
// a writer have handed over without acknowledgement. The default is 32 MiB. One
// record may be larger.
func Buffer(bytes int) Option {
	return clientOption(func(o *clientOptions) {
		if bytes < 1 {
			o.refuse("Buffer(%d): it must be positive", bytes)
		}
		o.buffer = bytes
	})
}

// Outage sets how long no broker may answer before the task fails; the failure
// says that a retry may help. The default is two minutes.
func Outage(d time.Duration) Option {
	return clientOption(func(o *clientOptions) {
		if d <= 0 {
			o.refuse("Outage(%v): it must be positive", d)
		}
		o.outage = d
	})
}

// TLS encrypts connections; nil means the system's certificates.
func TLS(config *tls.Config) Option {
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return with(kgo.DialTLSConfig(config))
}

// Dialer makes connections by dial, through a proxy say. It can't be combined
// with TLS, which dial then has to do.
func Dialer(dial func(ctx context.Context, network, address string) (net.Conn, error)) Option {
	return with(kgo.Dialer(dial))
}

// ClientID is the name that brokers see in their logs and quotas. The default is
// "weir".
func ClientID(id string) Option { return with(kgo.ClientID(id)) }

// SASLPlain logs in by the mechanism PLAIN; use it over TLS only.
func SASLPlain(user, password string) Option {
	return with(kgo.SASL(plain.Auth{User: user, Pass: password}.AsMechanism()))
}

// SASLScram256 logs in by the mechanism SCRAM-SHA-256.
func SASLScram256(user, password string) Option {
	return with(kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha256Mechanism()))
}

// SASLScram512 logs in by the mechanism SCRAM-SHA-512.
func SASLScram512(user, password string) Option {
	return with(kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha512Mechanism()))
}

// Partitioner chooses the partition, from 0 to n-1, of each message.
func Partitioner(choose func(topic string, key, value []byte, n int) int) SinkOption {
	return sinkOption(func(o *sinkOptions) {
		o.kgo = append(o.kgo, kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(func(topic string) func(*kgo.Record, int) int {
			return func(r *kgo.Record, n int) int { return choose(topic, r.Key, r.Value, n) }
		})))
	})
}

// AtLeastOnce writes records as they come, not when their epoch is committed. They
// arrive sooner; after a failure those of the last epoch are written again.
func AtLeastOnce() SinkOption { return sinkOption(func(o *sinkOptions) { o.atLeastOnce = true }) }

// MaxMessage sets the largest message that is written, in bytes. The default is
// 1,000,012, the brokers' own; a topic with a larger max.message.bytes takes more.
func MaxMessage(bytes int) SinkOption {
	return sinkOption(func(o *sinkOptions) {
		if bytes < 512 || bytes > 64<<20 {
			o.refuse("MaxMessage(%d): it must be between 512 bytes and 64 MiB", bytes)
			return
		}
		o.maxMessage = int32(bytes)
	})
}

// TransactionTimeout sets how long the brokers wait for the end of an exactly-once
// sink's transaction before they abort it. All of an epoch is written in one: with
// large epochs it has to be long enough for that, and it is how long readers are held
// up at most when the job's host is lost in the middle of one and the job is not
// started again. The brokers' transaction.max.timeout.ms (15 minutes) bounds it. The
// default is 5 minutes.
func TransactionTimeout(d time.Duration) SinkOption {
	return sinkOption(func(o *sinkOptions) {
		if d < time.Second || d > 24*time.Hour {
			o.refuse("TransactionTimeout(%v): it must be between a second and a day", d)
		}
		o.transaction = d
	})
}

// TransactionPrefix sets what the names of an exactly-once sink's transactional id
// and of the group that records its epochs begin with, where access rules ask for
// it. The job's and the operator's id follow. The default is "weir-". A job that goes
// on must keep it.
func TransactionPrefix(prefix string) SinkOption {
	return sinkOption(func(o *sinkOptions) { o.prefix = prefix })
}

// Unknown says what an exactly-once sink does with the epoch that a job goes on from
// when nothing tells whether it was written; see [IfUnknown].
type Unknown uint8

const (
	// UnknownFails asks a person. The default.
	UnknownFails Unknown = iota
	// UnknownWrites writes the epoch: what was written before comes twice.
	UnknownWrites
	// UnknownSkips does not: what was not written is missing.
	UnknownSkips
)

// IfUnknown sets what is done when the record of the last written epoch is gone: the
// topic or the group was deleted, or the job stood still for longer than the brokers
// keep offsets (offsets.retention.minutes, a week).
func IfUnknown(u Unknown) SinkOption {
	return sinkOption(func(o *sinkOptions) { o.unknown = u })
}

func with(opts ...kgo.Opt) Option {
	return clientOption(func(o *clientOptions) { o.kgo = append(o.kgo, opts...) })
}

func (o *clientOptions) ensureDefaults(brokers []string) {
	o.brokers = brokers
	o.outage, o.buffer = DefaultOutage, DefaultBuffer
	if len(brokers) == 0 {
		o.refuse(`no broker is named; give one address at least, "host:9092"`)
	}
	for _, b := range brokers {
		if b == "" {
			o.refuse("one of the brokers' addresses %q is empty", brokers)
		}
	}
}

// client makes a client; more options go before the user's.
func (o *clientOptions) client(more ...kgo.Opt) (*kgo.Client, error) {
	opts := append([]kgo.Opt{kgo.SeedBrokers(o.brokers...), kgo.ClientID("weir"), kgo.MetadataMinAge(250 * time.Millisecond)}, more...)
	cl, err := kgo.NewClient(append(opts, o.kgo...)...)
	if err != nil {
		return nil, fmt.Errorf("kafka: a client of the brokers %q: %w", o.brokers, err)
	}
	return cl, nil
}
