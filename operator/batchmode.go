package operator

import (
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
)

// Batch says what an operator of batch mode may use. The zero value works.
type Batch struct {
	// Memory is the budget in bytes of one operator that sorts or groups. Default that
	// of package batch.
	Memory int
	// FS and Dir are where it writes what does not fit. Default: the file system, its
	// directory for temporary files.
	FS  vfs.FS
	Dir string
}

// BatchImpl is how an operator is run in batch mode: all of its input comes before any
// of its results is wanted, and the watermark stands still until then.
type BatchImpl struct {
	// New takes the place of Impl.New.
	New func() Operator
	// Combine, where set, is what stands in front of the exchange at port 0. New's operator
	// then takes what it gives.
	Combine *Combine
}

// Combine makes less of records before they go through a hash exchange.
type Combine struct {
	// New makes an instance, in the chain of the producer.
	New func() Operator
	// Type and Edge are of the records that it sends, Hash the hashes of their keys:
	// a HashFunc of their type.
	Type string
	Edge Edge
	Hash any
}

// NewCombine describes an operator that sends what it has of each key of type K as an A.
// It refuses a key without a hash.
func NewCombine[K comparable, A any](make func() Operator) (*Combine, error) {
	k, err := NewKey(func(kv KeyValue[K, A]) K { return kv.Key })
	if err != nil {
		return nil, err
	}
	return &Combine{New: make, Type: typeName[KeyValue[K, A]](), Edge: EdgeOf[KeyValue[K, A]](), Hash: k.Hash}, nil
}

// InBatch is graph.Batcher: what runs in the operator's place, and in front of its
// exchange.
func (i *Impl) InBatch(o *graph.Operator) (at, before *graph.Operator) {
	if i.Batch == nil {
		return o, nil
	}
	own := *i
	own.New, own.Batch = i.Batch.New, nil
	c := *o
	c.Impl = &own
	if i.Batch.Combine == nil || len(o.Inputs) != 1 {
		return &c, nil
	}
	b := i.Batch.Combine
	in := o.Inputs[0]
	before = &graph.Operator{Name: o.Name, Kind: "combine", Inputs: []graph.Input{{Name: in.Name, Type: in.Type}},
		Outputs: []graph.Output{{Type: b.Type, Impl: b.Edge}}, Impl: &Impl{New: b.New}}
	in.Type = b.Type
	in.Edges = make([]graph.Edge, len(o.Inputs[0].Edges))
	for j, e := range o.Inputs[0].Edges {
		in.Edges[j] = graph.Edge{From: e.From, Output: e.Output, Exchange: graph.Exchange{Kind: graph.Hash, Key: e.Exchange.Key, Impl: b.Hash}}
	}
	c.Inputs = []graph.Input{in}
	return &c, before
}

var _ graph.Batcher = (*Impl)(nil)

// HashesOf are the hashes of the keys of a batch: those that came with it from an
// exchange, or else new ones, which are appended to buf.
func HashesOf[T any](b *flow.Batch[T], hash HashFunc[T], buf []flow.Hash) []flow.Hash {
	if len(b.Hashes) == len(b.Values) {
		return b.Hashes
	}
	return hash(b.Values, buf)
}
