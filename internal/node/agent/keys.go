package agent

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/api/rpc"
	"github.com/weirflow/weir/cluster/certs"
	"github.com/weirflow/weir/cluster/gossip"
)

// fromServer refuses what only servers may ask of an agent.
func (a *Agent) fromServer(ctx context.Context) error {
	if a.id == nil {
		return nil // loopback
	}
	if p, ok := peer.FromContext(ctx); ok {
		if t, ok := p.AuthInfo.(credentials.TLSInfo); ok {
			if role, _, err := certs.PeerOf(&t.State); err == nil && role == certs.Server {
				return nil
			}
		}
	}
	return errors.New("only servers may ask for that")
}

// changeKeys does to the keys of gossip what a server wants, and answers with their names, the
// one in use first. The file is changed with them, so that the agent starts with what it has.
func (a *Agent) changeKeys(c *rpc.KeyChange) (io.ReadCloser, error) {
	ring := a.gossip.Load().Keys()
	if ring == nil && c.Do != rpc.KeysList {
		return nil, errors.New("gossip has no key here: name a file of keys as gossip.key_file, and start the agent again")
	}
	var err error
	switch c.Do {
	case rpc.KeysList:
	case rpc.KeysAdd:
		err = ring.Add(c.Key)
	case rpc.KeysUse, rpc.KeysRemove:
		key, ok := ring.Find(c.Name)
		switch {
		case !ok && c.Do == rpc.KeysRemove: // as it was before, perhaps
		case !ok:
			err = fmt.Errorf("there is no key %q here", c.Name)
		case c.Do == rpc.KeysUse:
			err = ring.Use(key)
		default:
			err = ring.Remove(key)
		}
	default:
		err = fmt.Errorf("nobody here knows how to %.20q keys", c.Do)
	}
	if err == nil && c.Do != rpc.KeysList {
		if err = a.writeKeys(ring); err != nil {
			err = fmt.Errorf("done, but a restart would undo it: %w", err)
		}
	}
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(ring.List())
	return io.NopCloser(strings.NewReader(string(data))), err
}

// writeKeys puts the keys into the place of the file that they came from.
func (a *Agent) writeKeys(ring *gossip.Keys) (err error) {
	name := a.o.Config.Gossip.KeyFile
	f, err := os.CreateTemp(filepath.Dir(name), ".gossip-") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	for _, key := range ring.All() {
		if _, err = fmt.Fprintln(f, base64.StdEncoding.EncodeToString(key)); err != nil {
			break
		}
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// GossipKeys lists the keys of all agents that are here.
func (b *backend) GossipKeys(ctx context.Context) (api.GossipKeyList, error) {
	return b.onAll(ctx, &rpc.KeyChange{Do: rpc.KeysList}), nil
}

// AddGossipKey has all agents open what is sealed with the key.
func (b *backend) AddGossipKey(ctx context.Context, key []byte) (api.GossipKeyList, error) {
	if len(key) != gossip.KeySize {
		return api.GossipKeyList{}, api.Errorf(api.CodeInvalid, "a key of gossip has %d bytes, not %d", gossip.KeySize, len(key)).WithHint("weir gossip keys create makes one")
	}
	return b.changed(ctx, &rpc.KeyChange{Do: rpc.KeysAdd, Key: key})
}

// UseGossipKey has all agents seal with the key, if all have it.
func (b *backend) UseGossipKey(ctx context.Context, name string) (api.GossipKeyList, error) {
	now, k, err := b.key(ctx, name)
	if err != nil {
		return now, err
	}
	if lacking := len(b.here()) - len(k.Agents); lacking > 0 {
		return now, api.Errorf(api.CodeConflict, "%d agents have no key %s, and would not hear the others", lacking, name).WithHint("add it first; weir gossip keys list -o wide shows who has it")
	}
	return b.changed(ctx, &rpc.KeyChange{Do: rpc.KeysUse, Name: name})
}

// RemoveGossipKey has all agents forget a key that none uses.
func (b *backend) RemoveGossipKey(ctx context.Context, name string) (api.GossipKeyList, error) {
	now, k, err := b.key(ctx, name)
	if err != nil {
		return now, err
	}
	if len(k.Users) > 0 {
		return now, api.Errorf(api.CodeConflict, "the key %s is in use by %s", name, strings.Join(k.Users, ", ")).WithHint("use another one first")
	}
	return b.changed(ctx, &rpc.KeyChange{Do: rpc.KeysRemove, Name: name})
}

// key finds one. All agents must have answered: one that is not heard may need it.
func (b *backend) key(ctx context.Context, name string) (now api.GossipKeyList, k api.GossipKey, err error) {
	now = b.onAll(ctx, &rpc.KeyChange{Do: rpc.KeysList})
	if len(now.Problems) > 0 {
		p := now.Problems[0]
		return now, k, api.Errorf(api.CodeUnavailable, "the keys of %s are not known: %s", p.Agent, p.Error)
	}
	i := slices.IndexFunc(now.Items, func(k api.GossipKey) bool { return k.Name == name })
	if i < 0 {
		return now, k, api.Errorf(api.CodeNotFound, "no agent has a key %q", name).WithHint("weir gossip keys list shows them")
	}
	return now, now.Items[i], nil
}

// changed changes the keys of all agents, and says how they are then.
func (b *backend) changed(ctx context.Context, c *rpc.KeyChange) (api.GossipKeyList, error) {
	done := b.onAll(ctx, c)
	now := b.onAll(ctx, &rpc.KeyChange{Do: rpc.KeysList})
	now.Problems = done.Problems
	return now, nil
}

// here are the members that may be asked.
func (b *backend) here() []gossip.Member {
	return slices.DeleteFunc(b.a.members(), func(m gossip.Member) bool { return m.Status != gossip.Alive })
}

// onAll asks all agents that are here, side by side.
func (b *backend) onAll(ctx context.Context, c *rpc.KeyChange) api.GossipKeyList {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	type part struct {
		of    string
		names []string
		err   error
	}
	parts := make(chan part)
	all := b.here()
	for _, m := range all {
		go func() {
			p := part{of: m.Node.Name}
			r, err := b.a.openNode(ctx, m.Node.ID, m.Node.RPC, &rpc.Read{Keys: c})
			if err == nil {
				err = errors.Join(json.NewDecoder(io.LimitReader(r, 64<<10)).Decode(&p.names), r.Close())
			}
			p.err = err
			parts <- p
		}()
	}
	l := api.GossipKeyList{Items: []api.GossipKey{}}
	for range all {
		p := <-parts
		if p.err != nil {
			l.Problems = append(l.Problems, api.AgentProblem{Agent: p.of, Error: p.err.Error()})
		}
		for i, name := range p.names {
			at := slices.IndexFunc(l.Items, func(k api.GossipKey) bool { return k.Name == name })
			if at < 0 {
				at = len(l.Items)
				l.Items = append(l.Items, api.GossipKey{Name: name, Users: []string{}})
			}
			k := &l.Items[at]
			k.Agents = append(k.Agents, p.of)
			if i == 0 {
				k.Users = append(k.Users, p.of)
			}
		}
	}
	for i := range l.Items {
		slices.Sort(l.Items[i].Agents)
		slices.Sort(l.Items[i].Users)
	}
	slices.SortFunc(l.Items, func(x, y api.GossipKey) int { return strings.Compare(x.Name, y.Name) })
	slices.SortFunc(l.Problems, func(x, y api.AgentProblem) int { return cmp.Compare(x.Agent, y.Agent) })
	return l
}
