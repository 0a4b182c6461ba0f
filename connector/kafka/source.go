package kafka

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
)

// Source reads topics. Records get their Kafka timestamps as event times. It has
// no end unless one is set by [EndLatest], [EndAt] or [EndOffsets]. Records of
// transactions are read when they are committed, see [ReadUncommitted].
func Source[T any](brokers, topics []string, decode Decoder[T], opts ...SourceOption) operator.Source[T] {
	s := &source[T]{decode: decode}
	s.ensureDefaults(brokers)
	s.topics, s.discovery = topics, DefaultDiscovery
	for _, o := range opts {
		o.applySource(&s.sourceOptions)
	}
	if len(topics) == 0 && s.pattern == nil {
		s.refuse("no topic is named; name one, or choose topics by kafka.Pattern")
	}
	if decode == nil {
		s.refuse("the decoder is nil; take kafka.JSON, kafka.String, kafka.Bytes, or a function")
	}
	return s
}

type source[T any] struct {
	sourceOptions
	decode Decoder[T]
}

func (s *source[T]) bounded() bool { return s.end.kind != boundNone }

func (s *source[T]) Info() operator.SourceInfo {
	attrs := []graph.Attr{{Key: "brokers", Value: strings.Join(s.brokers, ",")}}
	if len(s.topics) > 0 {
		attrs = append(attrs, graph.Attr{Key: "topics", Value: strings.Join(s.topics, ",")})
	}
	if s.pattern != nil {
		attrs = append(attrs, graph.Attr{Key: "pattern", Value: s.pattern.String()})
	}
	attrs = append(attrs, graph.Attr{Key: "start", Value: s.start.String()})
	if s.bounded() {
		attrs = append(attrs, graph.Attr{Key: "end", Value: s.end.String()})
	}
	return operator.SourceInfo{Kind: "kafka", Attrs: attrs, Unbounded: !s.bounded(), Assign: operator.AssignSpread}
}

func (s *source[T]) Enumerator() (operator.Enumerator, error) {
	if s.err != nil {
		return nil, s.err
	}
	return newEnumerator(&s.sourceOptions), nil
}

func (s *source[T]) Reader(ctx *operator.ReaderContext) (operator.Reader[T], error) {
	if s.err != nil {
		return nil, s.err
	}
	return newReader(s, ctx), nil
}

// position is a split: a partition and how far it is read.
type position struct {
	Topic     string `msgpack:"topic"`
	Partition int32  `msgpack:"partition"`
	// Next is the offset to go on from.
	Next int64 `msgpack:"next"`
	// End is the offset to stop before, -1 if there is none.
	End int64 `msgpack:"end"`
	// Earliest says that nothing was read and that reading begins at the first
	// record, wherever that is by then: retention moves it.
	Earliest bool `msgpack:"earliest,omitempty"`
	// ID is the topic's, 0 where the brokers have none: another topic may get the name.
	ID [16]byte `msgpack:"id,omitempty"`
}

func (p *position) partition() Partition { return Partition{p.Topic, p.Partition} }

func (p *position) id() string { return p.partition().String() }

func (p *position) split() (operator.Split, error) {
	data, err := msgpack.Marshal(p)
	if err != nil {
		return operator.Split{}, fmt.Errorf("kafka: encoding split %s: %w", p.id(), err)
	}
	s := operator.Split{ID: p.id(), Data: data}
	if p.End >= 0 {
		s.Size = max(p.End-p.Next, 0)
	}
	return s, nil
}

func parsePosition(s operator.Split) (position, error) {
	var p position
	err := msgpack.Unmarshal(s.Data, &p)
	if err == nil && (p.Topic == "" || p.Partition < 0 || p.Next < 0 || p.End < -1) {
		err = errors.New("it names no partition and offset")
	}
	if err != nil {
		return position{}, fmt.Errorf("kafka: decoding split %q: %w", s.ID, err)
	}
	return p, nil
}
