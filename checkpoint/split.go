package checkpoint

import (
	"fmt"

	"github.com/weirflow/weir/flow/codec"
)

// SavedSplit is a source's split as snapshots hold it: in the items of an
// [OperatorState] of mode [Splits] and in [SourceSnapshot.Unassigned]. Its fields are
// those of operator.Split.
type SavedSplit struct {
	ID   string `msgpack:"id" json:"id"`
	Data []byte `msgpack:"data" json:"-"`
	Size int64  `msgpack:"size" json:"size"`
}

var splitCodec = func() *codec.Codec[SavedSplit] {
	c, err := codec.For[SavedSplit]()
	if err != nil {
		panic("checkpoint: " + err.Error()) // the type is ours
	}
	return c
}()

// AppendSplit appends the stored form of a split: a msgpack map by field names.
func AppendSplit(dst []byte, s *SavedSplit) []byte { return splitCodec.AppendNamed(dst, s) }

// DecodeSplit reads what AppendSplit wrote.
func DecodeSplit(b []byte) (SavedSplit, error) {
	var s SavedSplit
	rest, err := splitCodec.Decode(b, &s)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes too many", len(rest))
	}
	if err != nil {
		return SavedSplit{}, fmt.Errorf("checkpoint: a source's split: %w", err)
	}
	return s, nil
}
