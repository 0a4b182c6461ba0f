package webtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/weirflow/weir/api"
)

// Audit is that of the state.
func (c *Cluster) Audit(_ context.Context, limit int) (api.AuditList, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := slices.Clone(c.mu.State.Audit)
	return api.AuditList{Items: append([]api.AuditEntry{}, all[max(0, len(all)-limit):]...)}, nil
}

// GossipKeys are on all agents.
func (c *Cluster) GossipKeys(context.Context) (l api.GossipKeyList, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.Items = []api.GossipKey{}
	for i, name := range c.mu.Keys {
		k := api.GossipKey{Name: name, Users: []string{}}
		for _, m := range c.mu.Members {
			k.Agents = append(k.Agents, m.Name)
		}
		if i == 0 {
			k.Users = k.Agents
		}
		l.Items = append(l.Items, k)
	}
	return l, nil
}

// AddGossipKey puts the key's name behind the others.
func (c *Cluster) AddGossipKey(ctx context.Context, key []byte) (api.GossipKeyList, error) {
	sum := sha256.Sum256(key)
	c.Update(func(s *State, _ uint64) { s.Keys = append(s.Keys, hex.EncodeToString(sum[:8])) })
	return c.GossipKeys(ctx)
}

// UseGossipKey puts a key in front.
func (c *Cluster) UseGossipKey(ctx context.Context, name string) (api.GossipKeyList, error) {
	return c.withKey(ctx, name, func(s *State, at int) {
		s.Keys = append([]string{name}, slices.Delete(s.Keys, at, at+1)...)
	})
}

// RemoveGossipKey takes a key away that is not in front.
func (c *Cluster) RemoveGossipKey(ctx context.Context, name string) (l api.GossipKeyList, err error) {
	inUse := false
	l, err = c.withKey(ctx, name, func(s *State, at int) {
		if inUse = at == 0; !inUse {
			s.Keys = slices.Delete(s.Keys, at, at+1)
		}
	})
	if inUse {
		return l, api.Errorf(api.CodeConflict, "the key %s is in use", name)
	}
	return l, err
}

func (c *Cluster) withKey(ctx context.Context, name string, do func(*State, int)) (api.GossipKeyList, error) {
	found := false
	c.Update(func(s *State, _ uint64) {
		if at := slices.Index(s.Keys, name); at >= 0 {
			found = true
			do(s, at)
		}
	})
	if !found {
		return api.GossipKeyList{}, api.Errorf(api.CodeNotFound, "no agent has a key %q", name)
	}
	return c.GossipKeys(ctx)
}
