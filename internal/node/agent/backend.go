package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/cluster/gossip"
	"github.com/weirflow/weir/cluster/raft"
	"github.com/weirflow/weir/cluster/registry"
	"github.com/weirflow/weir/web"
)

// backend is a server as the HTTP API asks it. What it reads is what this server knows; the
// API sends what changes something to the leader.
type backend struct{ a *Agent }

var _ web.Backend = (*backend)(nil)

func (b *backend) view() *registry.View { return b.a.raft.Registry().View() }

// Health says whether somebody leads.
func (b *backend) Health() api.Health {
	h := api.Health{Status: "ok", Version: b.a.o.Version}
	switch id, _ := b.a.raft.Leader(); {
	case !b.a.raft.Started():
		h.Status = "starting"
	case id == "":
		h.Status = "no_leader"
	}
	return h
}

// Leader is who leads, with the URL that its agent tells.
func (b *backend) Leader() (api.LeaderInfo, bool) {
	id, _ := b.a.raft.Leader()
	if id == "" {
		return api.LeaderInfo{}, false
	}
	l := api.LeaderInfo{ID: api.NodeID(id), Self: api.NodeID(id) == b.a.node.ID, HTTP: b.a.node.HTTP}
	if !l.Self {
		m, ok := b.a.member(id)
		l.HTTP = m.Node.HTTP
		return l, ok
	}
	// It answers once it has caught up.
	_, ok := b.a.raft.Leading()
	return l, ok
}

// Index is that of the registry.
func (b *backend) Index() uint64 { return b.a.raft.Registry().Index() }

// Wait waits for a change of the registry.
func (b *backend) Wait(ctx context.Context, after uint64) error {
	select {
	case <-b.a.raft.Registry().Watch(after):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Members are all that gossip knows.
func (b *backend) Members(_ context.Context, p web.Page) (l api.MemberList, err error) {
	leader, _ := b.a.raft.Leader()
	var all []api.Member
	for _, m := range b.a.members() {
		all = append(all, api.Member{ID: m.Node.ID, Name: m.Node.Name, Address: m.Addr, Status: string(m.Status), Server: m.Node.Server,
			Leader: string(m.Node.ID) == leader && m.Status == gossip.Alive, Version: m.Node.Version, Zone: m.Node.Zone, Tags: m.Node.Tags})
	}
	key := func(m *api.Member) string { return m.Name + "\x00" + string(m.ID) }
	slices.SortFunc(all, func(x, y api.Member) int { return strings.Compare(key(&x), key(&y)) })
	l.Items, l.Next = web.PageOf(all, key, p)
	return l, nil
}

// Nodes are the agents that have registered.
func (b *backend) Nodes(_ context.Context, p web.Page) (l api.NodeList, err error) {
	v := b.view()
	var all []api.NodeInfo
	for _, n := range v.Nodes() {
		i := b.node(v, n)
		l.Index = max(l.Index, i.Index)
		all = append(all, i)
	}
	l.Items, l.Next = web.PageOf(all, func(n *api.NodeInfo) string { return string(n.Node.ID) }, p)
	return l, nil
}

// Node is one of them, by its id or its name.
func (b *backend) Node(_ context.Context, id api.NodeID) (api.NodeInfo, error) {
	v := b.view()
	if n := find(v, id); n != nil {
		return b.node(v, n), nil
	}
	return api.NodeInfo{}, noNode(id)
}

func find(v *registry.View, id api.NodeID) *registry.Node {
	if n := v.Node(id); n != nil {
		return n
	}
	var named *registry.Node
	for _, n := range v.Nodes() {
		if n.Info.Name == string(id) && (named == nil || named.Gone()) {
			named = n
		}
	}
	return named
}

func noNode(id api.NodeID) *api.Error {
	return api.Errorf(api.CodeNotFound, "there is no agent %q", id).WithHint("weir node list shows them")
}

func (b *backend) node(v *registry.View, n *registry.Node) api.NodeInfo {
	leader, _ := b.a.raft.Leader()
	i := api.NodeInfo{Node: n.Info, Status: n.Status, Leader: string(n.Info.ID) == leader, SlotsUsed: v.Used(n.Info.ID),
		Allocs: len(v.AllocsOn(n.Info.ID)), Index: n.Index, Seen: n.Since}
	if at := b.a.leader.seen(n.Info.ID); at != 0 {
		i.Seen = at
	}
	return i
}

// Drain has an agent take nothing new, and empties it.
func (b *backend) Drain(ctx context.Context, id api.NodeID) (api.Done, error) {
	return b.setNode(ctx, id, api.NodeDraining, "it takes nothing new, and is being emptied")
}

// Undrain takes that back.
func (b *backend) Undrain(ctx context.Context, id api.NodeID) (api.Done, error) {
	return b.setNode(ctx, id, api.NodeReady, "it takes executors again")
}

func (b *backend) setNode(ctx context.Context, id api.NodeID, to api.NodeStatus, message string) (api.Done, error) {
	n := find(b.view(), id)
	if n == nil {
		return api.Done{}, noNode(id)
	}
	r, err := b.decide(ctx, &registry.SetNodeStatus{Node: n.Info.ID, Status: to, Reason: cmp.Or(web.Caller(ctx), "somebody") + " has asked for it"})
	return api.Done{Message: message, Index: r.Index}, err
}

// decide puts a command into the log, and turns what is refused into what a caller can be
// told.
func (b *backend) decide(ctx context.Context, c registry.Command) (registry.Result, error) {
	r, err := b.a.raft.Apply(ctx, c, web.Caller(ctx))
	var other *raft.NotLeader
	switch {
	case err == nil:
		return r, nil
	case errors.As(err, &other):
		return r, api.Errorf(api.CodeNoLeader, "this server does not lead any more")
	case errors.Is(err, registry.ErrNotFound):
		return r, api.Errorf(api.CodeNotFound, "%s", plain(err))
	case errors.Is(err, registry.ErrConflict):
		return r, api.Errorf(api.CodeConflict, "%s", plain(err))
	case errors.Is(err, registry.ErrLimit):
		return r, api.Errorf(api.CodeTooLarge, "%s", plain(err))
	case errors.Is(err, registry.ErrRefused), errors.Is(err, registry.ErrForm):
		return r, api.Errorf(api.CodeInvalid, "%s", plain(err))
	case errors.Is(err, raft.ErrBusy):
		return r, api.Errorf(api.CodeTooMany, "the server has too much to decide")
	case errors.Is(err, raft.ErrUncertain):
		return r, api.Errorf(api.CodeTimeout, "it is not known whether that was decided").WithHint("look, and ask again")
	}
	return r, err
}

// plain is what was refused, without the words that programs go by.
func plain(err error) string {
	_, text, ok := strings.Cut(err.Error(), "registry: ")
	if !ok {
		return err.Error()
	}
	if _, rest, ok := strings.Cut(text, ": "); ok {
		return rest
	}
	return text
}

// sequence numbers an event: those of one index follow each other.
func sequence(index uint64, nth int) uint64 { return index<<8 | uint64(min(nth, 255)) }

// Events are those that the registry remembers of a job.
func (b *backend) Events(_ context.Context, name string, p web.Page) (l api.JobEventList, err error) {
	j := b.view().Job(name)
	if j == nil {
		return l, noJob(name)
	}
	var all []api.JobEvent
	nth := 0
	for i, e := range j.Events {
		if i > 0 && j.Events[i-1].Index == e.Index {
			nth++
		} else {
			nth = 0
		}
		all = append(all, api.JobEvent{Seq: sequence(e.Index, nth), Time: e.Time, Kind: e.Kind, Message: e.Text, Alloc: e.Alloc, Node: e.Node, By: e.By})
	}
	key := func(n uint64) string { return fmt.Sprintf("%020d", n) }
	if after, err := strconv.ParseUint(cmp.Or(p.Cursor, "0"), 10, 64); err == nil {
		p.Cursor = key(after)
	}
	l.Items, l.Next = web.PageOf(all, func(e *api.JobEvent) string { return key(e.Seq) }, p)
	if l.Next != "" {
		l.Next = strconv.FormatUint(l.Items[len(l.Items)-1].Seq, 10)
	}
	return l, nil
}
