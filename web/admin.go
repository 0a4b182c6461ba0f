package web

import (
	"context"
	"crypto/sha256"
	"encoding/hex"

	"github.com/weirflow/weir/api"
)

func (s *Server) readAudit(c *call) (any, error) {
	p, err := c.page()
	if err != nil {
		return nil, err
	}
	return s.backend.Audit(c.ctx, p.Limit)
}

func (s *Server) gossipKeys(c *call) (any, error) { return s.backend.GossipKeys(c.ctx) }

// addGossipKey writes down the name of the key, and never the key.
func (s *Server) addGossipKey(c *call) (any, error) {
	var r api.GossipKeyRequest
	if err := c.body(&r); err != nil {
		return nil, err
	}
	if r.Name != "" || len(r.Key) == 0 {
		return nil, invalid("a key is added by itself, in base64, and not by a name")
	}
	sum := sha256.Sum256(r.Key)
	c.about = hex.EncodeToString(sum[:8]) // as gossip.KeyName has it
	return s.backend.AddGossipKey(c.ctx, r.Key)
}

// changeKey is a handler that only names the key.
func changeKey(do func(Backend, context.Context, string) (api.GossipKeyList, error)) func(*Server, *call) (any, error) {
	return func(s *Server, c *call) (any, error) {
		var r api.GossipKeyRequest
		if err := c.body(&r); err != nil {
			return nil, err
		}
		c.about = r.Name
		if err := checkName("key", r.Name); err != nil {
			return nil, err
		}
		if len(r.Key) != 0 {
			return nil, invalid("a key that is there is called by its name")
		}
		return do(s.backend, c.ctx, r.Name)
	}
}
