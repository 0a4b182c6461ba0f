package rig

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/weirflow/weir/cluster/certs"
	"github.com/weirflow/weir/cluster/gossip"
	"github.com/weirflow/weir/web/token"
)

// write makes nodes, with all files that they need.
func (c *Cluster) write() error {
	for i := range c.o.Servers + c.o.Workers {
		n := &Node{Name: "server" + strconv.Itoa(i+1), Server: i < c.o.Servers, c: c, index: i}
		if !n.Server {
			n.Name = "worker" + strconv.Itoa(i+1-c.o.Servers)
		}
		n.dir = filepath.Join(c.dir, n.Name)
		if err := os.MkdirAll(n.dir, 0o700); err != nil {
			return fmt.Errorf("rig: %w", err)
		}
		if err := n.place(); err != nil {
			return err
		}
		c.nodes = append(c.nodes, n)
	}
	if err := os.MkdirAll(c.Secrets(), 0o700); err != nil {
		return fmt.Errorf("rig: %w", err)
	}
	if c.o.Secure {
		c.say("making a CA, certificates, tokens and a key for gossip")
		if err := errors.Join(c.writeCertificates(), c.writeTokens(),
			os.WriteFile(c.gossipKey(), []byte(base64.StdEncoding.EncodeToString(gossip.NewKey())+"\n"), 0o600)); err != nil {
			return fmt.Errorf("rig: %w", err)
		}
	}
	for _, n := range c.nodes {
		if err := n.writeConfig(); err != nil {
			return err
		}
	}
	return c.writeContexts()
}

// Secrets is the directory of what jobs may name: a file each, for its owner only.
func (c *Cluster) Secrets() string { return filepath.Join(c.dir, "secrets") }

func (c *Cluster) gossipKey() string  { return filepath.Join(c.dir, "gossip.key") }
func (c *Cluster) tokensFile() string { return filepath.Join(c.dir, "tokens.json") }

// Ports of a node that is alone on its address: those of every agent.
const ownPort = 7470

// Ports of nodes that share one come from here: below those that systems give to outgoing
// connections, so that none is taken while a node is down.
const (
	firstPort, lastPort = 10_000, 32_000
	// perNode is the ports of a node: one that only this process holds, HTTP, gossip, RPC, raft.
	perNode = 5
	tries   = 1000
)

// place gives the node its addresses.
func (n *Node) place() error {
	n.Host = "127.0.0.1"
	port := ownPort
	if n.c.o.Host != nil {
		n.Host = n.c.o.Host(n.index)
	} else {
		var err error
		if port, err = n.c.freePorts(n.Host); err != nil {
			return err
		}
	}
	at := func(i int) string { return net.JoinHostPort(n.Host, strconv.Itoa(port+i)) }
	n.HTTP, n.Gossip, n.RPC = "http://"+at(0), at(1), at(2)
	if n.c.o.Secure {
		n.HTTP = "https://" + at(0)
	}
	if n.Server {
		n.Raft = at(3)
	}
	return nil
}

// freePorts finds ports in a row, and holds the one before them as long as the cluster lives.
func (c *Cluster) freePorts(host string) (int, error) {
	at := func(port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
	var last error
	for range tries {
		first := firstPort + perNode*rand.IntN((lastPort-firstPort)/perNode)
		held, err := net.Listen("tcp", at(first))
		if err != nil {
			last = err
			continue
		}
		if last = free(at, first+1, perNode-1); last == nil {
			c.held = append(c.held, held)
			return first + 1, nil
		}
		if err := held.Close(); err != nil {
			return 0, fmt.Errorf("rig: %w", err)
		}
	}
	return 0, fmt.Errorf("rig: there are no free ports on %s: %w", host, last)
}

// free says whether nobody has these ports, for TCP and UDP.
func free(at func(int) string, first, count int) error {
	for port := first; port < first+count; port++ {
		l, err := net.Listen("tcp", at(port))
		if err != nil {
			return err
		}
		u, err := net.ListenPacket("udp", at(port))
		if err == nil {
			err = u.Close()
		}
		if err := errors.Join(err, l.Close()); err != nil {
			return err
		}
	}
	return nil
}

// goodFor is longer than any test.
const goodFor = 30 * 24 * time.Hour

func (c *Cluster) writeCertificates() error {
	pki := filepath.Join(c.dir, "pki")
	if err := os.MkdirAll(pki, 0o700); err != nil {
		return err
	}
	now := time.Now()
	ca, pair, err := certs.NewAuthority("weir", now, goodFor)
	if err == nil {
		err = pair.Write(c.Files("ca").CA, c.Files("ca").Key)
	}
	if err != nil {
		return err
	}
	wanted := []certs.Wanted{{Role: certs.Client, Name: "user", TTL: goodFor}}
	for _, n := range c.nodes {
		w := certs.Wanted{Role: certs.Agent, Name: n.Name, Hosts: []string{n.Host}, TTL: goodFor}
		if n.Server {
			w.Role = certs.Server
		}
		wanted = append(wanted, w)
	}
	for _, w := range wanted {
		pair, err := ca.Issue(w, now)
		if err == nil {
			err = pair.Write(c.Files(w.Name).Cert, c.Files(w.Name).Key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Roles are those of tokens.
var Roles = []token.Role{token.Admin, token.Submit, token.Read}

func (c *Cluster) writeTokens() error {
	for _, role := range Roles {
		text, err := token.Create(c.tokensFile(), string(role), role, time.Now())
		if err == nil {
			err = os.WriteFile(c.TokenFile(role), []byte(text+"\n"), 0o600)
		}
		if err != nil {
			return err
		}
		c.tokens[role] = text
	}
	return nil
}

// writeConfig writes what the node is told.
func (n *Node) writeConfig() error {
	o := &n.c.o
	var join []string
	for _, s := range n.c.nodes[:n.c.servers] {
		if s != n {
			join = append(join, s.Gossip)
		}
	}
	at := func(url string) string { return url[len("http://"):] }
	if o.Secure {
		at = func(url string) string { return url[len("https://"):] }
	}
	slots := o.Slots
	if n.Server {
		slots = o.ServerSlots
	}
	m := map[string]any{
		"name":        n.Name,
		"data_dir":    n.Data(),
		"listen":      map[string]any{"http": at(n.HTTP), "gossip": n.Gossip, "rpc": n.RPC, "executors": n.Host},
		"join":        join,
		"slots":       slots,
		"secrets_dir": n.c.Secrets(),
	}
	if n.Server {
		m["server"] = map[string]any{"enabled": true, "bootstrap_expect": o.Servers}
	}
	if o.Secure {
		f := n.c.Files(n.Name)
		m["tls"] = map[string]any{"ca": f.CA, "cert": f.Cert, "key": f.Key}
		m["gossip"] = map[string]any{"key_file": n.c.gossipKey()}
		m["token_file"] = n.c.tokensFile()
	}
	if o.Configure != nil {
		o.Configure(n.index, m)
	}
	data, err := yaml.Marshal(m)
	if err == nil {
		err = os.WriteFile(n.ConfigPath(), data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("rig: %w", err)
	}
	return nil
}

// writeContexts writes the file that the command line finds the cluster by.
func (c *Cluster) writeContexts() error {
	var urls []string
	for _, n := range c.Servers() {
		urls = append(urls, n.HTTP)
	}
	var all []map[string]any
	for _, role := range Roles {
		x := map[string]any{"name": string(role), "addresses": urls}
		if c.o.Secure {
			f := c.Files("user")
			x["ca"], x["cert"], x["key"], x["token_file"] = f.CA, f.Cert, f.Key, c.TokenFile(role)
		}
		all = append(all, x)
	}
	data, err := yaml.Marshal(map[string]any{"current": string(token.Admin), "contexts": all})
	if err == nil {
		err = os.WriteFile(c.Contexts(), data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("rig: %w", err)
	}
	return nil
}
