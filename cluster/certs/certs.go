// Package certs makes and checks the certificates by which the processes of a cluster know
// each other.
//
// Its words: an [Authority] is a CA of the cluster's own; a [Role] says what a certificate
// is good for and stands in it as a URI, "weir://role/server"; an [Identity] is the CA,
// certificate and key that a process has in files, and makes TLS configurations. An agent's
// identity also signs the certificates of the executors that it starts.
//
// Invariants:
//
//  1. Both sides of a connection show a certificate, over TLS 1.3. It must be of the
//     cluster's CA, in its time, and of a role that the other side allows.
//  2. Names of hosts are not compared: agents move and have many addresses. What counts
//     is the role, so the key of an agent does not make a server. Certificates carry the hosts
//     all the same, for browsers and other clients.
//  3. What an agent or server has signed is good for executors only. Such a certificate names
//     the job: "weir://role/executor?job=clicks". Executors of different jobs refuse each
//     other, for they run users' code.
//  4. A file with a key has mode 0600, and no file is ever overwritten.
//  5. Files that have changed are read again at a handshake, at most once a second. If they
//     can't be read the old ones stay in use until they expire.
//
// An Identity starts no goroutine, and may be used from any.
package certs

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Role is what the owner of a certificate is in the cluster.
type Role string

// The roles. A server is an agent too.
const (
	Server   Role = "server"
	Agent    Role = "agent"
	Executor Role = "executor"
	Client   Role = "client"
)

// Roles are all of them.
var Roles = []Role{Server, Agent, Executor, Client}

// ParseRole refuses what is no role.
func ParseRole(s string) (Role, error) {
	if r := Role(s); slices.Contains(Roles, r) {
		return r, nil
	}
	return "", fmt.Errorf("certs: %q is no role: it must be one of server, agent, executor, client", s)
}

// uri is how a role stands in a certificate; job is for executors.
func (r Role) uri(job string) *url.URL {
	u := &url.URL{Scheme: "weir", Host: "role", Path: "/" + string(r)}
	if job != "" {
		u.RawQuery = url.Values{"job": {job}}.Encode()
	}
	return u
}

// RoleOf finds the role of a certificate. One with none, or with several, is of no use.
func RoleOf(c *x509.Certificate) (Role, error) {
	role, _, err := roleAndJob(c)
	return role, err
}

// roleAndJob finds the job too, "" where none is named.
func roleAndJob(c *x509.Certificate) (Role, string, error) {
	var found []*url.URL
	for _, u := range c.URIs {
		if u.Scheme == "weir" && u.Host == "role" {
			found = append(found, u)
		}
	}
	if len(found) != 1 {
		return "", "", fmt.Errorf("certs: certificate of %q names %d roles, not one: make it with weir tls cert", c.Subject.CommonName, len(found))
	}
	role, err := ParseRole(strings.TrimPrefix(found[0].Path, "/"))
	return role, found[0].Query().Get("job"), err
}
