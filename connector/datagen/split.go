package datagen

import (
	"context"
	"fmt"
	"math"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/weirflow/weir/operator"
)

// part is a split: the blocks b of the index space with b mod Parts = Part. The
// layout is in it, and not taken from the options, so that a job that is resumed
// with another rate or count still reads each index once.
type part struct {
	Part  int64 `msgpack:"part"`
	Parts int64 `msgpack:"parts"`
	Block int64 `msgpack:"block"`
	// Next is the index of the next record, an index of the part's.
	Next int64 `msgpack:"next"`
	// End is the number of records of the source, math.MaxInt64 if it has no end.
	End int64 `msgpack:"end"`
	// Base is the index that is due when the reader starts.
	Base int64 `msgpack:"base,omitempty"`
}

func newPart(i, parts, block, end int64) part {
	return part{Part: i, Parts: parts, Block: block, Next: i * block, End: end}
}

func (p *part) check() error {
	switch {
	case p.Parts < 1 || p.Parts > maxParts || p.Part < 0 || p.Part >= p.Parts:
		return fmt.Errorf("part %d of %d", p.Part, p.Parts)
	case p.Block < 1 || p.Block > maxBlock:
		return fmt.Errorf("blocks of %d", p.Block)
	case p.Next < 0 || p.End < 0 || p.Base < 0:
		return fmt.Errorf("next %d, end %d, base %d", p.Next, p.End, p.Base)
	case p.Next/p.Block%p.Parts != p.Part:
		return fmt.Errorf("index %d is not of part %d", p.Next, p.Part)
	}
	return nil
}

func (p *part) done() bool { return p.Next >= p.End }

// blockEnd is the index after the last one of the block that Next is in.
func (p *part) blockEnd() int64 {
	b := p.Next - p.Next%p.Block
	if b > p.End-p.Block { // also where the addition would overflow
		return p.End
	}
	return b + p.Block
}

// skip moves Next on by n records, which must not reach beyond the block's end.
// At the block's end it goes on with the part's next block.
func (p *part) skip(n int64) {
	p.Next += n
	if p.Next%p.Block != 0 || n == 0 {
		return
	}
	gap := (p.Parts - 1) * p.Block
	if p.Next > math.MaxInt64-gap {
		p.Next, p.End = math.MaxInt64, math.MaxInt64
		return
	}
	p.Next += gap
}

// left counts the part's records from Next on; 0 if there is no end.
func (p *part) left() int64 {
	if p.End == math.MaxInt64 || p.done() {
		return 0
	}
	// below counts the part's indexes under n.
	below := func(n int64) int64 {
		round := p.Block * p.Parts
		return n/round*p.Block + min(max(n%round-p.Part*p.Block, 0), p.Block)
	}
	return below(p.End) - below(p.Next)
}

func (p *part) id() string { return fmt.Sprintf("%d/%d", p.Part, p.Parts) }

func (p *part) split() (operator.Split, error) {
	data, err := msgpack.Marshal(p)
	if err != nil {
		return operator.Split{}, fmt.Errorf("datagen: encoding split %s: %w", p.id(), err)
	}
	return operator.Split{ID: p.id(), Data: data, Size: p.left()}, nil
}

func parsePart(s operator.Split) (part, error) {
	var p part
	if err := msgpack.Unmarshal(s.Data, &p); err != nil {
		return part{}, fmt.Errorf("datagen: decoding split %q: %w", s.ID, err)
	}
	if err := p.check(); err != nil {
		return part{}, fmt.Errorf("datagen: split %q can't be read: %w", s.ID, err)
	}
	return p, nil
}

// enumerator returns all parts at once.
type enumerator struct {
	*options
	discovered bool
}

func (e *enumerator) Discover(context.Context) (operator.Discovery, error) {
	d := operator.Discovery{Done: true}
	if e.discovered {
		return d, nil
	}
	e.discovered = true
	end := int64(math.MaxInt64)
	if e.count >= 0 {
		end = e.count
	}
	block := e.blockSize()
	for i := range int64(e.parts) {
		p := newPart(i, int64(e.parts), block, end)
		if p.done() {
			break
		}
		s, err := p.split()
		if err != nil {
			return operator.Discovery{}, err
		}
		d.Splits = append(d.Splits, s)
	}
	return d, nil
}

func (*enumerator) Finished([]string) {}

func (e *enumerator) Snapshot() ([]byte, error) { return msgpack.Marshal(e.discovered) }

func (e *enumerator) Restore(data []byte) error {
	if err := msgpack.Unmarshal(data, &e.discovered); err != nil {
		return fmt.Errorf("datagen: restoring the enumerator: %w", err)
	}
	return nil
}

func (*enumerator) Close() error { return nil }
