package batch

import (
	"errors"
	"fmt"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
	"github.com/weirflow/weir/operator"
)

// PartialOptions configure a Partial. Emit is needed.
type PartialOptions[K comparable, A any] struct {
	// New makes an empty accumulator. Default: the zero value.
	New func() A
	// Emit takes groups, with the hashes of their keys, in batches that are lent. A key
	// may come in many of them.
	Emit func(b *flow.Batch[operator.KeyValue[K, A]]) error
	// Memory is the budget in bytes. Default 4 MB: the table is to stay in the
	// processor's cache.
	Memory int
	// Gain is what share of the records has to go away for the table to be used.
	// Default 0.25.
	Gain float64
}

// PartialStats says what it has brought.
type PartialStats struct {
	Records int64 // in
	Groups  int64 // out
	// Passed is how many of the records went by the table.
	Passed int64
}

// Partial aggregates in front of an exchange. It is a table that is emitted when it is full.
// Where it does not make enough less of the records, for their keys hardly repeat, it
// lets records pass, each as a group of its own, and tries again later: after as many
// as it took to find out, then twice as many, up to 64 times.
type Partial[K comparable, A any] struct {
	opt   PartialOptions[K, A]
	mem   *chunks[K, A]
	table table[K, A]
	out   flow.Batch[operator.KeyValue[K, A]]
	// round is what went into the table since it was empty, pass how many records are
	// still to go by it, factor how many rounds go by it next time.
	round, pass, factor int64
	check               int
	stats               PartialStats
}

// NewPartial makes a Partial. The error names the part of K or A that has no size.
func NewPartial[K comparable, A any](opt PartialOptions[K, A]) (*Partial[K, A], error) {
	if opt.Emit == nil {
		return nil, errors.New("operator/batch: a partial aggregation needs to emit")
	}
	if opt.New == nil {
		opt.New = func() (a A) { return a }
	}
	if opt.Memory <= 0 {
		opt.Memory = 4 << 20
	}
	opt.Memory = max(opt.Memory, 16<<10)
	if opt.Gain <= 0 {
		opt.Gain = 0.25
	}
	keys, err := codec.For[K]()
	if err != nil {
		return nil, fmt.Errorf("operator/batch: groups: %w", err)
	}
	accs, err := codec.For[A]()
	if err != nil {
		return nil, fmt.Errorf("operator/batch: groups: %w", err)
	}
	p := &Partial[K, A]{opt: opt, mem: newChunks(keys, accs, opt.Memory), factor: 1, check: minCheck}
	p.table.mem = p.mem
	return p, nil
}

// Upsert finds the accumulator of a key, whose hash is h, or makes it. It is to be
// changed before the next call.
func (p *Partial[K, A]) Upsert(h flow.Hash, key K) (*A, error) {
	p.stats.Records++
	if p.pass > 0 {
		return p.passBy(h, key)
	}
	p.round++
	if p.check--; p.check <= 0 {
		p.table.measure()
		p.check = max(minCheck, p.table.n/4)
	}
	e, isNew := p.table.find(h, key)
	if !isNew {
		return &e.acc, nil
	}
	if p.table.size() > p.opt.Memory && p.table.n > 1 {
		if err := p.full(); err != nil {
			return nil, err
		}
		p.round = 1
		e, _ = p.table.find(h, key)
	}
	e.acc = p.opt.New()
	return &e.acc, nil
}

func (p *Partial[K, A]) passBy(h flow.Hash, key K) (*A, error) {
	if len(p.out.Values) >= emitBatch {
		if err := p.emit(); err != nil {
			return nil, err
		}
	}
	p.pass--
	p.stats.Passed++
	p.out.Values = append(p.out.Values, operator.KeyValue[K, A]{Key: key, Value: p.opt.New()})
	p.out.Hashes = append(p.out.Hashes, h)
	return &p.out.Values[len(p.out.Values)-1].Value, nil
}

// full empties the table, and decides whether the next records go by it. The group that
// was made last is left out: it has nothing in it yet.
func (p *Partial[K, A]) full() error {
	groups := int64(p.table.n - 1)
	if err := p.empty(p.table.n - 1); err != nil {
		return err
	}
	if in := p.round - 1; float64(in-groups) < p.opt.Gain*float64(in) {
		p.pass = in * p.factor
		p.factor = min(2*p.factor, 64)
	} else {
		p.factor = 1
	}
	return nil
}

// empty emits the first n groups of the table, and empties it.
func (p *Partial[K, A]) empty(n int) error {
	for _, c := range p.table.chunks {
		for i := range c[:min(len(c), n)] {
			if len(p.out.Values) >= emitBatch {
				if err := p.emit(); err != nil {
					return err
				}
			}
			p.out.Values = append(p.out.Values, operator.KeyValue[K, A]{Key: c[i].key, Value: c[i].acc})
			p.out.Hashes = append(p.out.Hashes, c[i].hash)
		}
		n -= min(len(c), n)
	}
	p.table.reset(true)
	return p.emit()
}

func (p *Partial[K, A]) emit() error {
	if len(p.out.Values) == 0 {
		return nil
	}
	p.stats.Groups += int64(len(p.out.Values))
	err := p.opt.Emit(&p.out)
	p.out.Reset()
	return err
}

// Flush emits all groups: at the end of the input, and when there is nothing else to do.
func (p *Partial[K, A]) Flush() error {
	p.round = 0
	return p.empty(p.table.n)
}

// Stats says what it has brought so far.
func (p *Partial[K, A]) Stats() PartialStats { return p.stats }
