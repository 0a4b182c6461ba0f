package raft

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	hraft "github.com/hashicorp/raft"
)

// Server is one that takes part, or might.
type Server struct {
	ID   string `json:"id"`
	Addr string `json:"addr"`
}

// Seen is what gossip says of an agent that is a server.
type Seen struct {
	ID, Name, Addr string
	// State is whether it is here.
	State Presence
	// Expect is how many servers it expects; Started says that it has a configuration.
	Expect  int
	Started bool
}

// Presence of a server.
type Presence uint8

// Presences. A server that has failed may be back; one that has left says it will not.
const (
	Alive Presence = iota + 1
	Failed
	Left
)

// Servers are those of the newest configuration this server knows, by id.
func (n *Node) Servers() (list []Server) {
	f := n.raft.GetConfiguration()
	if f.Error() != nil {
		return nil
	}
	for _, s := range f.Configuration().Servers {
		list = append(list, Server{string(s.ID), string(s.Address)})
	}
	slices.SortFunc(list, func(x, y Server) int { return cmp.Compare(x.ID, y.ID) })
	return list
}

// Started reports whether the server has a configuration: it has been part of a cluster.
func (n *Node) Started() bool { return len(n.Servers()) > 0 }

// Bootstrap makes the first configuration if it is time: this server has nothing stored, and
// what gossip sees are exactly the expected servers, none of which has started. Of these the
// one with the least id does it. It returns nil where there is nothing to do, and
// says of what stays wrong. seen includes this server itself; where one server is
// expected it may be empty.
func (n *Node) Bootstrap(ctx context.Context, seen []Seen) error {
	if n.Started() {
		return nil
	}
	self := Seen{ID: n.o.ID, Addr: n.o.Advertise, State: Alive, Expect: n.o.Expect}
	first, err := firstServers(self, seen)
	if err != nil || first == nil {
		return err
	}
	var config hraft.Configuration
	for _, s := range first {
		config.Servers = append(config.Servers, hraft.Server{ID: hraft.ServerID(s.ID), Address: hraft.ServerAddress(s.Addr)})
	}
	err = n.do(ctx, func() error { return n.raft.BootstrapCluster(config).Error() })
	if errors.Is(err, hraft.ErrCantBootstrap) {
		return nil // another server's word came in between
	}
	return err
}

// firstServers decides whether self makes the first configuration, and of whom.
func firstServers(self Seen, seen []Seen) ([]Server, error) {
	servers := []Server{{self.ID, self.Addr}}
	for _, s := range seen {
		if s.ID == self.ID || s.State != Alive {
			continue
		}
		if s.Started {
			return nil, nil // the leader there will take this one in
		}
		if s.Expect != self.Expect {
			return nil, fmt.Errorf("raft: server %s expects %d servers and this one %d: give all the same number", s.ID, s.Expect, self.Expect)
		}
		servers = append(servers, Server{s.ID, s.Addr})
	}
	if len(servers) > self.Expect {
		return nil, fmt.Errorf("raft: %d servers are here, and %d are expected: start the cluster with these, and add the others then",
			len(servers), self.Expect)
	}
	slices.SortFunc(servers, func(x, y Server) int { return cmp.Compare(x.ID, y.ID) })
	if len(servers) < self.Expect || servers[0].ID != self.ID {
		return nil, nil
	}
	return servers, nil
}

// Join takes a server in, or follows it to another address. Only the leader can.
func (n *Node) Join(ctx context.Context, s Server) error {
	if slices.Contains(n.Servers(), s) {
		return nil
	}
	return n.do(ctx, func() error {
		return n.raft.AddVoter(hraft.ServerID(s.ID), hraft.ServerAddress(s.Addr), 0, rpcTime).Error()
	})
}

// Remove takes a server out. Only the leader can, also itself: it then ends to lead.
func (n *Node) Remove(ctx context.Context, id string) error {
	if !slices.ContainsFunc(n.Servers(), func(s Server) bool { return s.ID == id }) {
		return nil
	}
	return n.do(ctx, func() error { return n.raft.RemoveServer(hraft.ServerID(id), 0, rpcTime).Error() })
}

// Repair makes the next change that brings the configuration to what gossip sees, if there is
// one. The leader calls it from time to time; it returns nil where there is nothing to do.
func (n *Node) Repair(ctx context.Context, seen []Seen) error {
	c := nextChange(n.o.ID, n.Servers(), seen)
	switch c.Kind {
	case addServer:
		return n.Join(ctx, c.Server)
	case removeServer:
		return n.Remove(ctx, c.Server.ID)
	}
	return nil
}

type changeKind string

const (
	noChange     changeKind = "nothing"
	addServer    changeKind = "add"
	removeServer changeKind = "remove"
)

// change is one step from a configuration to the next.
type change struct {
	Kind   changeKind
	Server Server
	Why    string
}

// nextChange decides on one step. A server that only failed stays, since it may be back with
// its log, unless another with its name is here to take its place.
func nextChange(self string, have []Server, seen []Seen) change {
	byID := map[string]Seen{}
	for _, s := range seen {
		byID[s.ID] = s
	}
	byID[self] = Seen{ID: self, Name: byID[self].Name, State: Alive}
	alive := 0
	for _, s := range have {
		if byID[s.ID].State == Alive {
			alive++
		}
	}
	seen = slices.SortedFunc(slices.Values(seen), func(x, y Seen) int { return cmp.Compare(x.ID, y.ID) })

	for _, s := range have {
		is := byID[s.ID]
		switch {
		case is.State == Left && majority(alive, len(have)-1):
			return change{removeServer, s, "it has left"}
		case is.State == Failed && is.Name != "" && majority(alive, len(have)-1) &&
			slices.ContainsFunc(seen, func(o Seen) bool { return o.State == Alive && o.Name == is.Name && o.ID != is.ID }):
			return change{removeServer, s, "another has taken its name"}
		}
	}
	for _, s := range seen {
		if s.State != Alive || s.ID == self {
			continue
		}
		at := slices.IndexFunc(have, func(h Server) bool { return h.ID == s.ID })
		switch {
		case at < 0 && majority(alive+1, len(have)+1):
			return change{addServer, Server{s.ID, s.Addr}, "it is new"}
		case at >= 0 && have[at].Addr != s.Addr:
			return change{addServer, Server{s.ID, s.Addr}, "it has moved from " + have[at].Addr}
		}
	}
	return change{Kind: noChange}
}

// majority reports whether n of all servers can decide.
func majority(n, all int) bool { return all > 0 && n > all/2 }
