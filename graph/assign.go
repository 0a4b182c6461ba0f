package graph

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/weirflow/weir/flow"
)

// AssignIDs gives every operator without a user's id an id that is derived from
// what the operator is, and rewrites the edges.
//
// While a pipeline is built each operator needs some id that edges can name. A
// builder takes any that is unique, a counter say, and AssignIDs replaces these
// provisional ids and the From of each edge in one go. The alternative, edges by
// pointer until ids are known, would need a second form of graph, with its own
// checks, for the sake of one moment in its life.
//
// A derived id looks like "map-parse-3f2a91c4": kind, name, and a hash over kind,
// name and the final ids of the operators upstream, port by port. So:
//
//   - what is beside an operator or downstream of it does not matter, nor do
//     parallelism, attributes, chaining and the kind of exchange;
//   - to rename or insert an operator changes the ids of all that are downstream
//     of it, up to the next one with a user's id, which stops the change;
//   - the order of the edges of a union does not matter, the order of ports does.
//
// Operators that are alike in all of this are numbered in the order in which
// they were added: to add another one after them changes nothing, to put one
// before them shifts their ids. Stateful operators should have user ids.
//
// AssignIDs on its own result changes nothing. On a graph whose ids or edges are
// not sound it changes nothing and returns those problems, which Validate would
// report as well.
func (g *Graph) AssignIDs() error {
	v := newValidator(g)
	v.structure()
	if err := v.join(); err != nil {
		return err
	}
	final := make([]flow.OperatorID, len(g.Operators))
	taken := make(map[flow.OperatorID]bool, len(g.Operators))
	for i, o := range g.Operators {
		if o.UserID {
			final[i] = o.ID
			taken[o.ID] = true
		}
	}
	alike := map[[sha256.Size]byte]uint64{}
	for _, i := range v.t.order {
		if o := g.Operators[i]; !o.UserID {
			final[i] = derive(o, v.t.in[i], final, alike, taken)
		}
	}
	for i, o := range g.Operators {
		o.ID = final[i]
		for _, e := range v.t.in[i] {
			e.edge.From = final[e.from]
		}
	}
	return nil
}

// derive makes the id of o from those of its producers. alike counts the
// operators so far with the same content; without it many twins would each have
// to try the ids of all those before.
func derive(o *Operator, in []edgeEnd, final []flow.OperatorID, alike map[[sha256.Size]byte]uint64, taken map[flow.OperatorID]bool) flow.OperatorID {
	var content []byte
	add := func(s string) {
		// The length goes first, so that no two lists of strings look the same.
		content = binary.AppendUvarint(content, uint64(len(s)))
		content = append(content, s...)
	}
	add(o.Kind)
	add(o.Name)
	content = binary.AppendUvarint(content, uint64(len(o.Inputs)))
	for len(in) > 0 {
		port := in[0].id.Port
		n := 1
		for n < len(in) && in[n].id.Port == port {
			n++
		}
		union := slices.Clone(in[:n])
		slices.SortFunc(union, func(a, b edgeEnd) int {
			if c := strings.Compare(string(final[a.from]), string(final[b.from])); c != 0 {
				return c
			}
			return int(a.edge.Output) - int(b.edge.Output)
		})
		content = binary.AppendUvarint(content, uint64(n))
		for _, e := range union {
			add(string(final[e.from]))
			content = binary.AppendUvarint(content, uint64(e.edge.Output))
		}
		in = in[n:]
	}
	key := sha256.Sum256(content)
	for {
		sum := sha256.Sum256(binary.AppendUvarint(key[:], alike[key]))
		alike[key]++
		id := flow.OperatorID(prefix(o) + hex.EncodeToString(sum[:4]))
		if !taken[id] {
			taken[id] = true
			return id
		}
	}
}

// maxPrefixPart bounds what of a kind or name goes into an id.
const maxPrefixPart = 32

// prefix is "kind-name-" in small letters, digits and single hyphens.
func prefix(o *Operator) string {
	var b strings.Builder
	for _, part := range []string{o.Kind, o.Name} {
		n := 0
		hyphen := false
		for _, r := range strings.ToLower(part) {
			if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
				if hyphen && n > 0 {
					b.WriteByte('-')
				}
				b.WriteRune(r)
				hyphen = false
				if n++; n == maxPrefixPart {
					break
				}
			} else {
				hyphen = true
			}
		}
		if n > 0 {
			b.WriteByte('-')
		}
	}
	return b.String()
}
