package certs

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Files are where a process has its part of the cluster's trust. All three are needed.
type Files struct{ CA, Cert, Key string }

// Given reports whether any file is named.
func (f Files) Given() bool { return f != Files{} }

// Check refuses files that are named only in part.
func (f Files) Check() error {
	if !f.Given() || f.CA != "" && f.Cert != "" && f.Key != "" {
		return nil
	}
	return errors.New("certs: a CA, a certificate and a key go together: name all three, or none")
}

// Options of an Identity.
type Options struct {
	// Now is the clock; default time.Now.
	Now func() time.Time
	// Recheck is how often at most files are looked at; default 1 s.
	Recheck time.Duration
	// Reloaded is called after files were read again; with an error if they are of no use, and
	// the old ones stay. It is called from handshakes and must not block.
	Reloaded func(error)
}

// Identity is who a process is, and whom it trusts.
type Identity struct {
	files Files
	fixed bool // made from PEM: there are no files to look at
	opts  Options
	mu    struct {
		sync.Mutex
		trust   *trust
		looked  time.Time
		changed [3]stamp
	}
}

// trust is what was read at one time.
type trust struct {
	roots *x509.CertPool
	ca    []byte // PEM of roots
	own   tls.Certificate
	role  Role
	job   string // of an executor
}

type stamp struct {
	mod  time.Time
	size int64
}

// Load reads the files and checks that they belong together.
func Load(files Files, o Options) (*Identity, error) {
	if files.CA == "" || files.Cert == "" || files.Key == "" {
		return nil, errors.New("certs: name the files of a CA, a certificate and a key")
	}
	id := newIdentity(files, o)
	id.mu.changed = id.stamps()
	t, err := id.read()
	if err != nil {
		return nil, err
	}
	id.mu.trust, id.mu.looked = t, id.opts.Now()
	return id, nil
}

// FromPEM is an identity that was handed over and does not change, such as an executor's.
func FromPEM(ca, cert, key []byte, o Options) (*Identity, error) {
	id := newIdentity(Files{"the CA", "the certificate", "the key"}, o)
	id.fixed = true
	t, err := id.parse(ca, cert, key)
	if err != nil {
		return nil, err
	}
	id.mu.trust = t
	return id, nil
}

func newIdentity(files Files, o Options) *Identity {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Recheck <= 0 {
		o.Recheck = time.Second
	}
	if o.Reloaded == nil {
		o.Reloaded = func(error) {}
	}
	return &Identity{files: files, opts: o}
}

// Role is the own one.
func (id *Identity) Role() Role { return id.now().role }

// Expires is when the own certificate does.
func (id *Identity) Expires() time.Time { return id.now().own.Leaf.NotAfter }

// ServerConfig is for a listener that lets in peers of the roles.
func (id *Identity) ServerConfig(allowed ...Role) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true, // each connection is checked by the files as they are
		ClientAuth:             tls.RequireAnyClientCert,
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &id.now().own, nil },
		VerifyConnection: func(cs tls.ConnectionState) error {
			return id.verify(cs, x509.ExtKeyUsageClientAuth, allowed)
		},
	}
}

// ClientConfig is for dialling peers of the roles.
func (id *Identity) ClientConfig(allowed ...Role) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		// The library would compare host names, which say nothing here; verify checks all
		// the rest.
		InsecureSkipVerify:   true,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &id.now().own, nil },
		VerifyConnection: func(cs tls.ConnectionState) error {
			return id.verify(cs, x509.ExtKeyUsageServerAuth, allowed)
		},
	}
}

// PeerOf is the role and name in a peer's certificate, on a connection that was let in.
func PeerOf(cs *tls.ConnectionState) (Role, string, error) {
	if cs == nil || len(cs.PeerCertificates) == 0 {
		return "", "", errors.New("certs: the peer has shown no certificate")
	}
	role, err := RoleOf(cs.PeerCertificates[0])
	return role, cs.PeerCertificates[0].Subject.CommonName, err
}

// JobOf is the job that a peer's certificate names, on a connection that was let in: that of
// an executor.
func JobOf(cs *tls.ConnectionState) (string, error) {
	if cs == nil || len(cs.PeerCertificates) == 0 {
		return "", errors.New("certs: the peer has shown no certificate")
	}
	_, job, err := roleAndJob(cs.PeerCertificates[0])
	return job, err
}

func (id *Identity) verify(cs tls.ConnectionState, usage x509.ExtKeyUsage, allowed []Role) error {
	if len(cs.PeerCertificates) == 0 {
		return errors.New("certs: the peer has shown no certificate")
	}
	own, leaf := id.now(), cs.PeerCertificates[0]
	role, job, err := own.check(cs.PeerCertificates, usage, id.opts.Now())
	if err != nil {
		return err
	}
	if !slices.Contains(allowed, role) {
		return fmt.Errorf("certs: %q has the role %s, and %s is wanted", leaf.Subject.CommonName, role, either(allowed))
	}
	if own.role == Executor && role == Executor && own.job != job {
		return fmt.Errorf("certs: %q is an executor of the job %q, and this one is of %q", leaf.Subject.CommonName, job, own.job)
	}
	return nil
}

// check says whose a chain is, if it is good: signed by a root, or, for an executor, by an
// agent whose certificate is.
func (t *trust) check(chain []*x509.Certificate, usage x509.ExtKeyUsage, now time.Time) (Role, string, error) {
	leaf := chain[0]
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	found, err := leaf.Verify(x509.VerifyOptions{Roots: t.roots, Intermediates: intermediates, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}})
	if err != nil {
		return "", "", fmt.Errorf("certs: the certificate of %q: %w", leaf.Subject.CommonName, err)
	}
	role, job, err := roleAndJob(leaf)
	if err != nil {
		return "", "", err
	}
	for _, c := range found {
		if len(c) == 2 {
			return role, job, nil
		}
		if by, err := RoleOf(c[1]); len(c) == 3 && role == Executor && err == nil && (by == Agent || by == Server) {
			return role, job, nil
		}
	}
	return "", "", fmt.Errorf("certs: the certificate of %q, role %s, is signed by who may not sign it", leaf.Subject.CommonName, role)
}

// Executor makes what an executor of the job needs, as PEM: the CA, and a pair which this
// identity, an agent's or server's, has signed. It ends when the own certificate does, at the latest.
func (id *Identity) Executor(job, name string, ttl time.Duration) (ca []byte, pair Pair, err error) {
	t := id.now()
	key, ok := t.own.PrivateKey.(crypto.Signer)
	if !ok || t.role != Agent && t.role != Server || !t.own.Leaf.IsCA {
		return nil, Pair{}, fmt.Errorf("certs: %s, of the role %s, can't sign for executors: make it anew with weir tls cert", id.files.Cert, t.role)
	}
	if job == "" {
		return nil, Pair{}, errors.New("certs: an executor without a job")
	}
	a := &Authority{t.own.Leaf, key}
	if pair, err = a.Issue(Wanted{Role: Executor, Name: name, Job: job, TTL: ttl}, id.opts.Now()); err != nil {
		return nil, Pair{}, err
	}
	for _, der := range t.own.Certificate {
		pair.Cert = append(pair.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return bytes.Clone(t.ca), pair, nil
}

func either(roles []Role) string {
	names := make([]string, len(roles))
	for i, r := range roles {
		names[i] = string(r)
	}
	return strings.Join(names, " or ")
}

// now is what counts at this moment: files that have changed are read again.
func (id *Identity) now() *trust {
	id.mu.Lock()
	defer id.mu.Unlock()
	at := id.opts.Now()
	if id.fixed || at.Sub(id.mu.looked) < id.opts.Recheck {
		return id.mu.trust
	}
	id.mu.looked = at
	changed := id.stamps()
	if changed == id.mu.changed {
		return id.mu.trust
	}
	t, err := id.read()
	if err == nil {
		// A pair that is half replaced is looked at again.
		id.mu.trust, id.mu.changed = t, changed
	}
	id.opts.Reloaded(err)
	return id.mu.trust
}

func (id *Identity) stamps() (all [3]stamp) {
	if id.fixed {
		return all
	}
	for i, name := range []string{id.files.CA, id.files.Cert, id.files.Key} {
		if info, err := os.Stat(name); err == nil {
			all[i] = stamp{info.ModTime(), info.Size()}
		}
	}
	return all
}

func (id *Identity) read() (*trust, error) {
	if info, err := os.Stat(id.files.Key); err == nil && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("certs: the key %s can be read by others (mode %04o): chmod 600 it", id.files.Key, info.Mode().Perm())
	}
	var parts [3][]byte
	for i, name := range []string{id.files.CA, id.files.Cert, id.files.Key} {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("certs: %w", err)
		}
		parts[i] = data
	}
	return id.parse(parts[0], parts[1], parts[2])
}

func (id *Identity) parse(ca, cert, key []byte) (*trust, error) {
	t := &trust{roots: x509.NewCertPool(), ca: ca}
	roots, err := parseCertificates(id.files.CA, ca)
	if err != nil {
		return nil, err
	}
	for _, c := range roots {
		t.roots.AddCert(c)
	}
	if t.own, err = tls.X509KeyPair(cert, key); err != nil {
		return nil, fmt.Errorf("certs: %s and %s: %w", id.files.Cert, id.files.Key, err)
	}
	chain := []*x509.Certificate{t.own.Leaf}
	for _, der := range t.own.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("certs: %s: %w", id.files.Cert, err)
		}
		chain = append(chain, c)
	}
	if t.role, t.job, err = t.check(chain, x509.ExtKeyUsageAny, id.opts.Now()); err != nil {
		return nil, fmt.Errorf("certs: %s by the CA in %s: %w", id.files.Cert, id.files.CA, err)
	}
	return t, nil
}
