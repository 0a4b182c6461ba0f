package gossip

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/weirflow/weir/api"
)

// MaxMeta is how many bytes a member's meta may take: what the library has room for.
const MaxMeta = 512

// ErrMeta is in the chain of errors about meta.
var ErrMeta = errors.New("gossip: what a member tells of itself")

// Meta is what a member tells of itself.
type Meta struct {
	Node api.Node `json:"node"`
	// Raft is where a server takes part, Expect of how many it expects to be the first,
	// and Started says that it has been part of a cluster.
	Raft    string `json:"raft,omitempty"`
	Expect  int    `json:"expect,omitempty"`
	Started bool   `json:"started,omitempty"`
	// Instance is another number each time the agent starts. Open sets it.
	Instance uint32 `json:"instance,omitempty"`
}

// wireMeta is the form on the wire: docs/format/gossip.md. It has no lists and no maps:
// a decoder would make room for as many elements as they claim to have.
type wireMeta struct {
	Name    string `msgpack:"n"`
	Zone    string `msgpack:"z,omitempty"`
	Server  bool   `msgpack:"s,omitempty"`
	Slots   int    `msgpack:"l,omitempty"`
	RPC     string `msgpack:"r,omitempty"`
	HTTP    string `msgpack:"h,omitempty"`
	Version string `msgpack:"v,omitempty"`
	Tags    string `msgpack:"t,omitempty"` // as in a URL: sorted, escaped
	Raft    string `msgpack:"a,omitempty"`
	Expect  int    `msgpack:"e,omitempty"`
	Started bool   `msgpack:"b,omitempty"`
	// Instance is drawn anew at each start.
	Instance uint32 `msgpack:"i,omitempty"`
}

func (m *Meta) encode() ([]byte, error) {
	tags := url.Values{}
	for k, v := range m.Node.Tags {
		tags.Set(k, v)
	}
	n := &m.Node
	w := wireMeta{n.Name, n.Zone, n.Server, n.Slots, n.RPC, n.HTTP, n.Version, tags.Encode(), m.Raft, m.Expect, m.Started, m.Instance}
	data, err := msgpack.Marshal(&w)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMeta, err)
	}
	if len(data) > MaxMeta {
		return nil, fmt.Errorf("%w takes %d bytes, and there is room for %d: shorten %s", ErrMeta, len(data), MaxMeta, longest(&w))
	}
	return data, nil
}

// longest names the parts that take most, with their lengths.
func longest(w *wireMeta) string {
	parts := map[string]int{
		"the name": len(w.Name), "the zone": len(w.Zone), "the rpc address": len(w.RPC), "the http address": len(w.HTTP),
		"the version": len(w.Version), "the tags": len(w.Tags), "the raft address": len(w.Raft),
	}
	names := slices.SortedFunc(maps.Keys(parts), func(x, y string) int {
		return cmp.Or(cmp.Compare(parts[y], parts[x]), cmp.Compare(x, y))
	})
	return fmt.Sprintf("%s (%d bytes) or %s (%d)", names[0], parts[names[0]], names[1], parts[names[1]])
}

func decodeMeta(id string, data []byte) (m Meta, err error) {
	if id == "" || len(id) > 100 {
		return m, fmt.Errorf("%w: its id has %d bytes, of 1 to 100", ErrMeta, len(id))
	}
	if len(data) > MaxMeta {
		return m, fmt.Errorf("%w takes %d bytes, at most %d are possible", ErrMeta, len(data), MaxMeta)
	}
	var w wireMeta
	if err := msgpack.Unmarshal(data, &w); err != nil {
		return m, fmt.Errorf("%w cannot be read: %w", ErrMeta, err)
	}
	if w.Name == "" || w.Slots < 0 || strings.ContainsFunc(w.Name+w.Zone+w.Version, func(r rune) bool { return r < ' ' }) {
		return m, fmt.Errorf("%w cannot be: name %.100q, zone %.100q, version %.100q, %d slots", ErrMeta, w.Name, w.Zone, w.Version, w.Slots)
	}
	tags, err := url.ParseQuery(w.Tags)
	if err != nil {
		return m, fmt.Errorf("%w: tags: %w", ErrMeta, err)
	}
	m = Meta{
		Node: api.Node{ID: api.NodeID(id), Name: w.Name, Zone: w.Zone, Server: w.Server, Slots: w.Slots, RPC: w.RPC, HTTP: w.HTTP, Version: w.Version},
		Raft: w.Raft, Expect: w.Expect, Started: w.Started, Instance: w.Instance,
	}
	for k, v := range tags {
		if m.Node.Tags == nil {
			m.Node.Tags = map[string]string{}
		}
		m.Node.Tags[k] = v[0]
	}
	return m, nil
}

func (m Meta) clone() Meta {
	m.Node.Tags = maps.Clone(m.Node.Tags)
	return m
}
