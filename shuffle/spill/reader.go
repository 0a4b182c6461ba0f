package spill

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
	"github.com/weirflow/weir/shuffle"
	"github.com/weirflow/weir/shuffle/local"
)

// LostError says that an output cannot be read: its producer has to run again. What is
// behind it is what was found; callers may use errors.As and errors.Is.
type LostError struct {
	ID  ID
	Err error
}

// Error names the output and what was found.
func (e *LostError) Error() string {
	return fmt.Sprintf("shuffle/spill: output of %s: %v", e.ID, e.Err)
}

// Unwrap is what was found.
func (e *LostError) Unwrap() error { return e.Err }

// ErrUnreachable says that the agent that has an output does not answer: what else it has
// cannot be read either. Callers may use errors.Is.
var ErrUnreachable = errors.New("shuffle/spill: the agent cannot be reached")

// ErrInterrupted says that an output could not be read to its end just now, and may be there
// nevertheless. Callers may use errors.Is.
var ErrInterrupted = errors.New("shuffle/spill: reading was interrupted")

// Opener opens a range of an output as a stream: a [Store], or what asks the agent
// that has it. The stream checks itself: it need not be carried by anything that does.
type Opener interface {
	OpenRange(ctx context.Context, id ID, r Range) (io.ReadCloser, error)
}

// Scanner decodes the stream of a range.
type Scanner[T any] struct {
	blocks *BlockReader
	codec  *codec.Codec[T]
	parts  int
	id     ID
	want   Range
	read   int64
	ended  bool
}

// NewScanner reads the beginning of a stream, which must be of output id and have the
// sub-partitions of r. The errors are [ErrCorrupt], those of the stream, and those of
// codec.Codec.Reading where T cannot hold what was written.
func NewScanner[T any](stream io.Reader, id ID, r Range) (*Scanner[T], error) {
	c, err := codec.For[T]()
	if err != nil {
		return nil, fmt.Errorf("shuffle/spill: %w", err)
	}
	blocks, head, err := readHeader(bufio.NewReaderSize(stream, 64<<10))
	if err != nil {
		return nil, err
	}
	if head.ID != id {
		return nil, fmt.Errorf("%w: it is of %s", ErrCorrupt, head.ID)
	}
	s := &Scanner[T]{blocks: blocks, parts: head.Partitions, id: id, want: r}
	if s.codec, err = c.Reading(head.Schema); err != nil {
		return nil, fmt.Errorf("shuffle/spill: records of %s: %w", id, err)
	}
	return s, nil
}

// readHeader reads what begins files and streams.
func readHeader(r io.Reader) (*BlockReader, *header, error) {
	blocks := NewBlockReader(r)
	var begin [len(magic)]byte
	if err := blocks.read(begin[:]); err != nil {
		return nil, nil, err
	}
	if string(begin[:]) != magic {
		return nil, nil, fmt.Errorf("%w: it begins with %q and not with %q", ErrCorrupt, begin, magic)
	}
	body, _, err := blocks.Next()
	if err != nil {
		return nil, nil, err
	}
	headers, err := codec.For[header]()
	if err != nil {
		return nil, nil, fmt.Errorf("shuffle/spill: header: %w", err)
	}
	var head header
	if rest, err := headers.Decode(body, &head); err != nil {
		return nil, nil, fmt.Errorf("%w: the header: %w", ErrCorrupt, err)
	} else if len(rest) > 0 || head.Partitions < 1 || head.Partitions > flow.MaxMaxParallelism {
		return nil, nil, fmt.Errorf("%w: the header: %d sub-partitions, %d bytes behind it", ErrCorrupt, head.Partitions, len(rest))
	}
	return blocks, &head, nil
}

// Next reads the next batch into b, which is empty. ok is false at the end, which comes
// only if there were as many records as were written.
func (s *Scanner[T]) Next(b *flow.Batch[T]) (ok bool, err error) {
	if s.ended {
		return false, nil
	}
	body, records, err := s.blocks.Next()
	if err != nil {
		return false, err
	}
	if body == nil {
		if records != s.read {
			return false, fmt.Errorf("%w: %d records were written and there are %d", ErrCorrupt, records, s.read)
		}
		s.ended = true
		return false, nil
	}
	p, err := parseFrame(body, s.codec, b)
	if err != nil {
		return false, err
	}
	if p < s.want.First || p >= s.want.End {
		return false, fmt.Errorf("%w: a block of sub-partition %d where those of %s should be", ErrCorrupt, p, s.want)
	}
	s.read += int64(len(b.Values))
	return true, nil
}

// ReaderOptions configure a Reader; the zero value works.
type ReaderOptions struct {
	// Gate are those of the gate: credit, batch size, sums.
	Gate local.Options
	// Parallel is the number of outputs that are read at once. Default 2: one is
	// waited for while another is decoded.
	Parallel int
}

// Feed is a [Reader] for whoever does not know its type.
type Feed interface {
	Gate() shuffle.Gate
	Run(ctx context.Context, barriers ...flow.Barrier) error
}

// Reader feeds a gate with a range of the outputs of all producers.
type Reader[T any] struct {
	from    Opener
	inputs  []ID
	of      Range
	opt     ReaderOptions
	gate    *local.Gate[T]
	senders []shuffle.Sender[T]
	codec   *codec.Codec[T]
}

// NewReader makes a reader and its gate, whose channel i is inputs[i]: the outputs of
// all producers in order of their subtasks.
func NewReader[T any](from Opener, inputs []ID, of Range, opt ReaderOptions) (*Reader[T], error) {
	c, err := codec.For[T]()
	if err != nil {
		return nil, fmt.Errorf("shuffle/spill: %w", err)
	}
	if opt.Parallel <= 0 {
		opt.Parallel = 2
	}
	opt.Gate.Pointers = !c.Pointerless()
	r := &Reader[T]{from: from, inputs: inputs, of: of, opt: opt, codec: c}
	r.gate, r.senders = local.NewGate[T](len(inputs), opt.Gate)
	return r, nil
}

// Gate is what the consuming task reads.
func (r *Reader[T]) Gate() shuffle.Gate { return r.gate }

// Run reads all outputs into the gate. Each channel has the end of time and the end of
// input behind its last record; barriers, where given, follow. It returns when all is
// handed to the gate, when ctx ends or the gate is closed (then with
// shuffle.ErrClosed), or with a [LostError]: then the channel has no end, and the
// task has to be ended.
func (r *Reader[T]) Run(ctx context.Context, barriers ...flow.Barrier) error {
	g, reading := errgroup.WithContext(ctx)
	g.SetLimit(r.opt.Parallel)
	for i := range r.inputs {
		if reading.Err() != nil {
			break
		}
		g.Go(func() error { return r.feed(reading, i, barriers) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// feed reads one output.
func (r *Reader[T]) feed(ctx context.Context, i int, barriers []flow.Barrier) error {
	id, to := r.inputs[i], r.senders[i]
	lost := func(err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &LostError{ID: id, Err: err}
	}
	stream, err := r.from.OpenRange(ctx, id, r.of)
	if err != nil {
		return lost(err)
	}
	// What was read is good by its own sums, so that closing has nothing to tell.
	defer func() { _ = stream.Close() }()
	s, err := NewScanner[T](stream, id, r.of)
	if err != nil {
		return lost(err)
	}
	for {
		b := to.Buffer()
		ok, err := s.Next(b)
		if err != nil {
			return lost(err)
		}
		if !ok {
			break
		}
		if err := to.Send(ctx, b, r.codec.MemSize(b.Values)); err != nil {
			return err
		}
	}
	to.Control(flow.Watermark(flow.MaxTime))
	to.Control(flow.Control{Kind: flow.ControlEnd})
	for _, b := range barriers {
		to.Control(flow.BarrierControl(b))
	}
	return nil
}

// IsLost finds the output that an error says is lost.
func IsLost(err error) (ID, bool) {
	var e *LostError
	if errors.As(err, &e) {
		return e.ID, true
	}
	return ID{}, false
}
