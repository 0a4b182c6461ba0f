package graph

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/weirflow/weir/flow"
)

// FormVersion is the version of the serial form that this release writes. It
// rises when an older reader would misread a newer graph. A field that a reader
// may ignore needs no new version.
const FormVersion = 1

const (
	// MaxFormBytes bounds a serialised graph. An operator takes some hundred bytes.
	MaxFormBytes = 16 << 20
	// maxFormValues bounds the msgpack values in it: an operator in memory is
	// much larger than the one byte of the shortest value.
	maxFormValues = 1 << 20
	// maxFormDepth bounds how deep values nest; the form itself needs nine.
	maxFormDepth = 32
)

// ErrForm is in the chain of every error that is about bytes that are not a
// serialised graph.
var ErrForm = errors.New("graph: not a serialised graph")

// form is the outermost map. docs/format/graph.md describes it.
type form struct {
	Version int    `msgpack:"version"`
	Graph   *Graph `msgpack:"graph"`
}

// Marshal writes the serial form of g: equal graphs give equal bytes. Handles
// (the fields called Impl) are left out. A graph need not be valid.
func Marshal(g *Graph) ([]byte, error) {
	if g == nil {
		return nil, errors.New("graph: marshal: the graph is nil")
	}
	for i, o := range g.Operators {
		if o == nil {
			return nil, fmt.Errorf("graph: marshal: operator number %d is nil: leave it out", i+1)
		}
	}
	var buf bytes.Buffer
	e := msgpack.NewEncoder(&buf)
	e.UseCompactInts(true)
	if err := e.Encode(&form{FormVersion, g}); err != nil {
		return nil, fmt.Errorf("graph: marshal %.200q: %w", g.Name, err)
	}
	if err := checkForm(buf.Bytes()); err != nil {
		return nil, fmt.Errorf("graph: marshal %.200q: it is too large to be read again: %w", g.Name, err)
	}
	return buf.Bytes(), nil
}

// Unmarshal reads what [Marshal] wrote, in this release or another one. Fields
// that it does not know are ignored. It checks the form only; what the graph
// says is for [Graph.Validate].
func Unmarshal(data []byte) (*Graph, error) {
	if err := checkForm(data); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForm, err)
	}
	// The version comes first, alone: a newer form may not even fit the types.
	var head struct {
		Version int `msgpack:"version"`
	}
	if err := msgpack.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("%w: version: %w", ErrForm, err)
	}
	if head.Version < 1 || head.Version > FormVersion {
		return nil, fmt.Errorf("%w: version %d, and this release reads 1 to %d: use a newer release of weir",
			ErrForm, head.Version, FormVersion)
	}
	var f form
	if err := msgpack.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForm, err)
	}
	if f.Graph == nil {
		return nil, fmt.Errorf("%w: field graph is missing", ErrForm)
	}
	for i, o := range f.Graph.Operators {
		if o == nil {
			return nil, fmt.Errorf("%w: operator number %d is nil", ErrForm, i+1)
		}
	}
	return f.Graph, nil
}

// EncodeMsgpack writes the kind by its name.
func (k ExchangeKind) EncodeMsgpack(e *msgpack.Encoder) error {
	if int(k) >= len(exchangeNames) {
		return fmt.Errorf("graph: exchange kind %d is unknown", uint8(k))
	}
	return e.EncodeString(exchangeNames[k])
}

// DecodeMsgpack refuses an edge whose exchange kind is missing or unknown: to
// guess where records go would give wrong results, and the zero value of a kind
// is a guess.
func (e *Edge) DecodeMsgpack(d *msgpack.Decoder) error {
	var f struct {
		From     flow.OperatorID `msgpack:"from"`
		Output   flow.Outlet     `msgpack:"output"`
		Exchange struct {
			Kind string `msgpack:"kind"`
			Key  string `msgpack:"key"`
		} `msgpack:"exchange"`
	}
	if err := d.Decode(&f); err != nil {
		return err
	}
	kind, err := ParseExchangeKind(f.Exchange.Kind)
	if err != nil {
		return fmt.Errorf("edge from %.200q: %w", string(f.From), err)
	}
	*e = Edge{From: f.From, Output: f.Output, Exchange: Exchange{Kind: kind, Key: f.Exchange.Key}}
	return nil
}

// Fingerprint is the SHA-256, in hex, of the graph's canonical form: the serial
// form with the operators in the order of their ids. An executor that builds the
// pipeline anew compares it with that of the graph it was given; [Diff] says why
// they differ. It covers all that the serial form has, so also names and
// attributes.
func (g *Graph) Fingerprint() (string, error) {
	canonical := *g
	canonical.MaxParallelism = g.KeyGroups()
	canonical.Operators = slices.Clone(g.Operators)
	slices.SortStableFunc(canonical.Operators, func(a, b *Operator) int {
		if a == nil || b == nil {
			return 0 // Marshal refuses it
		}
		return cmp.Compare(a.ID, b.ID)
	})
	data, err := Marshal(&canonical)
	if err != nil {
		return "", fmt.Errorf("graph: fingerprint: %w", err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}
