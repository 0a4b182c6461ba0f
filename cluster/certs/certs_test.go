package certs

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var day = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

type authority struct {
	*Authority
	pair Pair
}

func newCA(t *testing.T) authority {
	t.Helper()
	a, pair, err := NewAuthority("test", day, 100*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return authority{a, pair}
}

// identity is one of the role, as of a moment; for 24 hours.
func (a authority) identity(t *testing.T, role Role, made time.Time, now func() time.Time) *Identity {
	t.Helper()
	pair, err := a.Issue(Wanted{Role: role, Name: "test-" + string(role), Hosts: []string{"localhost", "127.0.0.1"}, TTL: 24 * time.Hour}, made)
	if err != nil {
		t.Fatal(err)
	}
	id, err := FromPEM(a.pair.Cert, pair.Cert, pair.Key, Options{Now: func() time.Time { return made }})
	if err != nil {
		t.Fatal(err)
	}
	id.opts.Now = now
	return id
}

// talk has both sides shake hands and pass a byte each way.
func talk(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	s, c := net.Pipe()
	done := make(chan error, 1)
	go func() {
		conn := tls.Server(s, server)
		defer s.Close()
		err := conn.HandshakeContext(t.Context())
		if err == nil {
			_, err = conn.Write([]byte{1})
		}
		done <- err
	}()
	conn := tls.Client(c, client)
	err := conn.HandshakeContext(t.Context())
	if err == nil {
		_, err = conn.Read(make([]byte, 1)) // with TLS 1.3 a refusal comes here
	}
	c.Close()
	return <-done, err
}

func at(t time.Time) func() time.Time { return func() time.Time { return t } }

func TestPeers(t *testing.T) {
	ca, other := newCA(t), newCA(t)
	server := ca.identity(t, Server, day, at(day))
	cases := []struct {
		name   string
		server *tls.Config
		client *tls.Config
		want   string // of either side's error
	}{
		{"all as it should be", server.ServerConfig(Agent, Client), ca.identity(t, Agent, day, at(day)).ClientConfig(Server), ""},
		{"client of another CA", server.ServerConfig(Agent), other.identity(t, Agent, day, at(day)).ClientConfig(Server), "unknown authority"},
		{"server of another CA", other.identity(t, Server, day, at(day)).ServerConfig(Agent), ca.identity(t, Agent, day, at(day)).ClientConfig(Server), "unknown authority"},
		{"wrong role of the client", server.ServerConfig(Server), ca.identity(t, Executor, day, at(day)).ClientConfig(Server), `"test-executor" has the role executor, and server is wanted`},
		{"wrong role of the server", ca.identity(t, Agent, day, at(day)).ServerConfig(Client), ca.identity(t, Client, day, at(day)).ClientConfig(Server), `"test-agent" has the role agent`},
		{"a client's certificate makes no server", ca.identity(t, Client, day, at(day)).ServerConfig(Agent), ca.identity(t, Agent, day, at(day)).ClientConfig(Client, Server), "incompatible key usage"},
		{"expired client", ca.identity(t, Server, day.Add(48*time.Hour), at(day.Add(48*time.Hour))).ServerConfig(Agent),
			ca.identity(t, Agent, day, at(day.Add(48*time.Hour))).ClientConfig(Server), "expired"},
		{"expired server", server.ServerConfig(Agent),
			ca.identity(t, Agent, day.Add(48*time.Hour), at(day.Add(48*time.Hour))).ClientConfig(Server), "expired"},
		{"no certificate", server.ServerConfig(Agent), &tls.Config{InsecureSkipVerify: true}, "didn't provide a certificate"},
		{"old TLS", server.ServerConfig(Agent), func() *tls.Config {
			c := ca.identity(t, Agent, day, at(day)).ClientConfig(Server)
			c.MinVersion, c.MaxVersion = 0, tls.VersionTLS12
			return c
		}(), "unsupported versions"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := errors.Join(talk(t, c.server, c.client))
			switch {
			case c.want == "" && err != nil:
				t.Fatal(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
}

// executor is one that an agent has started.
func (a authority) executor(t *testing.T, agent *Identity, job string) *Identity {
	t.Helper()
	ca, pair, err := agent.Executor(job, job+"-1", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	id, err := FromPEM(ca, pair.Cert, pair.Key, Options{Now: at(day)})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestExecutorsOfAgents(t *testing.T) {
	ca := newCA(t)
	agent := ca.identity(t, Agent, day, at(day))
	clicks, other := ca.executor(t, agent, "clicks"), ca.executor(t, agent, "other")
	again := ca.executor(t, ca.identity(t, Server, day, at(day)), "clicks")
	if err := errors.Join(talk(t, clicks.ServerConfig(Executor, Agent), again.ClientConfig(Executor))); err != nil {
		t.Error(err)
	}
	if err := errors.Join(talk(t, clicks.ServerConfig(Executor, Agent), agent.ClientConfig(Executor))); err != nil {
		t.Error(err)
	}
	err := errors.Join(talk(t, clicks.ServerConfig(Executor, Agent), other.ClientConfig(Executor)))
	if err == nil || !strings.Contains(err.Error(), "is an executor of the job") {
		t.Errorf("executors of two jobs: %v", err)
	}
	if _, _, err := clicks.Executor("clicks", "n", time.Hour); err == nil {
		t.Error("an executor signs")
	}
	// An agent makes no servers, nor executors make anything.
	for _, role := range []Role{Server, Agent, Client} {
		forger := &Authority{agent.now().own.Leaf, agent.now().own.PrivateKey.(crypto.Signer)}
		pair, err := forger.Issue(Wanted{Role: role, Name: "forged", TTL: time.Hour}, day)
		if err != nil {
			t.Fatal(err)
		}
		chain := append(pair.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: forger.cert.Raw})...)
		if _, err := FromPEM(ca.pair.Cert, chain, pair.Key, Options{Now: at(day)}); err == nil || !strings.Contains(err.Error(), "signed by who may not") {
			t.Errorf("role %s: %v", role, err)
		}
		forged, err := tls.X509KeyPair(chain, pair.Key)
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(talk(t, agent.ServerConfig(Roles...), &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{forged}}))
		if err == nil || !strings.Contains(err.Error(), "signed by who may not") {
			t.Errorf("role %s: %v", role, err)
		}
	}
}

func TestFilesAreReadAgain(t *testing.T) {
	dir := t.TempDir()
	files := Files{filepath.Join(dir, "ca.pem"), filepath.Join(dir, "a.pem"), filepath.Join(dir, "a-key.pem")}
	ca := newCA(t)
	put := func(ca authority, name string, now time.Time) {
		t.Helper()
		pair, err := ca.Issue(Wanted{Role: Agent, Name: name, TTL: 24 * time.Hour}, now)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range []string{files.CA, files.Cert, files.Key} {
			os.Remove(f)
		}
		if err := pair.Write(files.Cert, files.Key); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(files.CA, ca.pair.Cert, 0o644); err != nil {
			t.Fatal(err)
		}
		for i, f := range []string{files.CA, files.Cert, files.Key} { // distinct, whatever the file system's clock
			if err := os.Chtimes(f, now, now.Add(time.Duration(i))); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(ca, "first", day)
	now := day
	var told []error
	id, err := Load(files, Options{Now: func() time.Time { return now }, Reloaded: func(err error) { told = append(told, err) }})
	if err != nil {
		t.Fatal(err)
	}
	name := func() string { return id.now().own.Leaf.Subject.CommonName }
	if got := name(); got != "first" {
		t.Fatalf("%q", got)
	}
	put(ca, "second", day.Add(time.Hour))
	if got := name(); got != "first" {
		t.Fatalf("files were looked at within a second: %q", got)
	}
	now = day.Add(time.Hour)
	if got := name(); got != "second" || len(told) != 1 || told[0] != nil {
		t.Fatalf("%q, told %v", got, told)
	}
	// A certificate without its key is of no use, and the old pair stays.
	if err := os.Remove(files.Key); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Minute)
	if got := name(); got != "second" || len(told) != 2 || told[1] == nil {
		t.Fatalf("%q, told %v", got, told)
	}
	put(newCA(t), "third", day.Add(2*time.Hour))
	now = day.Add(2 * time.Hour)
	if got := name(); got != "third" {
		t.Fatalf("%q", got)
	}
	if !id.Expires().Equal(now.Add(24*time.Hour)) || id.Role() != Agent {
		t.Fatalf("%s %s", id.Expires(), id.Role())
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	ca := newCA(t)
	if err := ca.pair.Write(cert, key); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(key)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", info.Mode(), err)
	}
	if err := ca.pair.Write(cert, filepath.Join(dir, "other")); err == nil || !strings.Contains(err.Error(), "not overwritten") {
		t.Fatalf("overwritten: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "other")); err == nil {
		t.Fatal("a key was left behind")
	}
	again, err := LoadAuthority(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := again.Issue(Wanted{Role: Server, Name: "n", Hosts: []string{"::1", "host"}, TTL: 1000 * 24 * time.Hour}, day)
	if err != nil {
		t.Fatal(err)
	}
	cs, err := parseCertificates("x", pair.Cert)
	if err != nil {
		t.Fatal(err)
	}
	if c := cs[0]; !c.NotAfter.Equal(again.cert.NotAfter) || len(c.IPAddresses) != 1 || c.DNSNames[0] != "host" || !c.MaxPathLenZero {
		t.Fatalf("%+v", c)
	}
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(Files{cert, cert, key}, Options{}); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Fatalf("got %v", err)
	}
}

func TestRefused(t *testing.T) {
	ca := newCA(t)
	for _, w := range []Wanted{{Role: "king", Name: "n", TTL: 1}, {Role: Server, TTL: 1}, {Role: Server, Name: "n"}} {
		if _, err := ca.Issue(w, day); err == nil {
			t.Errorf("%+v was made", w)
		}
	}
	if _, err := ca.Issue(Wanted{Role: Server, Name: "n", TTL: 1}, day.Add(101*24*time.Hour)); err == nil {
		t.Error("an expired CA signed")
	}
	if _, err := RoleOf(&x509.Certificate{}); err == nil {
		t.Error("a certificate without a role has one")
	}
	if err := (Files{CA: "x"}).Check(); err == nil {
		t.Error("a CA alone is enough")
	}
}

func FuzzPEM(f *testing.F) {
	a, pair, err := NewAuthority("test", day, time.Hour)
	if err != nil {
		f.Fatal(err)
	}
	own, err := a.Issue(Wanted{Role: Server, Name: "n", TTL: time.Hour}, day)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pair.Cert, own.Cert, own.Key)
	f.Add([]byte("x"), []byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----"), []byte{})
	f.Fuzz(func(t *testing.T, ca, cert, key []byte) {
		if id, err := FromPEM(ca, cert, key, Options{Now: at(day)}); err == nil {
			id.Role()
			id.Expires()
		}
	})
}
