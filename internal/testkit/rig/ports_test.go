package rig

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	crand "crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/api/client"
	"github.com/weirflow/weir/cluster/certs"
	"github.com/weirflow/weir/web/token"
)

// portsTime is how long TestPorts sends garbage: WEIR_FUZZ_TIME, or 2 s.
func portsTime(t *testing.T) time.Duration {
	text := os.Getenv("WEIR_FUZZ_TIME")
	if text == "" {
		return 2 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("WEIR_FUZZ_TIME: %v", err)
	}
	return d
}

// target is a port of a process that runs.
type target struct {
	what, addr string
	// wrong are identities that this port refuses; nil is one without a certificate. known are
	// those that it lets in, as far as the handshake.
	wrong, known []*certs.Identity
	udp          bool
}

// siege is a cluster with a job, and who attacks it.
type siege struct {
	t       *testing.T
	c       *Cluster
	targets []target
	key     []byte // of gossip
	sent    atomic.Int64
}

// TestPorts opens connections to each port of a cluster with a job: without TLS, with certificates that
// are of no use, and then with good ones; and sends what nobody understands, each from an address
// of its own. Afterwards all processes are those that were there, in bounded memory, the job
// has gone on, and a user who comes is served.
func TestPorts(t *testing.T) {
	bin := binary(t)
	within := portsTime(t)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute+2*within)
	defer cancel()
	c, err := Start(ctx, Options{Binary: bin, Dir: t.TempDir(), Servers: 1, Workers: 2, Secure: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			for _, n := range c.Nodes() {
				t.Logf("%s:\n%s", n.Name, n.Tail(60))
			}
		}
	}()
	submitClicks(ctx, t, c)
	s := &siege{t: t, c: c}
	s.find(ctx)
	t.Run("refused", s.refused)
	pids := map[string]int{}
	for _, n := range c.Nodes() {
		pids[n.Name] = n.PID()
	}
	seed := rand.Uint64()
	t.Logf("seed %d, for %s", seed, within)
	s.attack(ctx, seed, within)
	t.Logf("%d connections and packets", s.sent.Load())

	for _, n := range c.Nodes() {
		if !n.Running() || n.PID() != pids[n.Name] {
			t.Fatalf("%s has died:\n%s", n.Name, n.Tail(100))
		}
		checkMemory(t, n)
	}
	now := waitFor(ctx, t, c, func(api.JobInfo) bool { return true })
	after := waitFor(ctx, t, c, func(j api.JobInfo) bool { return j.Status == api.JobRunning && j.Epoch > now.Epoch+1 })
	t.Logf("epoch %d, %d restarts", after.Epoch, after.Restarts)
	if out, err := c.Run(ctx, "node", "list"); err != nil || strings.Count(out, " ready ") != 3 {
		t.Errorf("agents afterwards: %v\n%s", err, out)
	}
	if err := c.Ready(ctx); err != nil {
		t.Error(err)
	}
}

// submitClicks has the cluster run the example clickstream, in an executor on each worker.
func submitClicks(ctx context.Context, t *testing.T, c *Cluster) {
	job, err := Build(ctx, t.TempDir(), "examples/clickstream")
	if err != nil {
		t.Fatal(err)
	}
	input, err := filepath.Abs("../../../examples/clickstream/testdata/clicks")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Run(ctx, "submit", job, "--job", "clicks", "--parallelism", "2", "--slots-per-executor", "1", "--state", filepath.Join(c.Dir(), "state"),
		"--", "--input", input, "--watch", "--output", filepath.Join(c.Dir(), "clicks")); err != nil {
		t.Fatal(err)
	}
	waitFor(ctx, t, c, func(j api.JobInfo) bool { return j.Status == api.JobRunning && j.Epoch > 0 && len(addressesOf(j)) >= 3 })
}

// waitFor waits until the job is as it is wanted.
func waitFor(ctx context.Context, t *testing.T, c *Cluster, want func(api.JobInfo) bool) (j api.JobInfo) {
	t.Helper()
	if err := c.until(ctx, func(ctx context.Context) (err error) {
		if j, err = c.Client(token.Read).Job(ctx, "clicks", client.Wait{}); err == nil && !want(j) {
			err = fmt.Errorf("the job is %s: %s, in epoch %d", j.Status, j.Reason, j.Epoch)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return j
}

// addressesOf are where the executors of a job listen.
func addressesOf(j api.JobInfo) (all []string) {
	for _, a := range j.Allocs {
		if a.Status.State != api.AllocRunning {
			continue
		}
		for _, addr := range []string{a.Status.Data, a.Status.Control} {
			if addr != "" {
				all = append(all, addr)
			}
		}
	}
	return all
}

// find lists all ports, and who they are for.
func (s *siege) find(ctx context.Context) {
	load := func(f certs.Files) *certs.Identity {
		id, err := certs.Load(f, certs.Options{})
		if err != nil {
			s.t.Fatal(err)
		}
		return id
	}
	server, agent, user := load(s.c.Files("server1")), load(s.c.Files("worker1")), load(s.c.Files("user"))
	stranger := s.stranger()
	executor := func(job string) *certs.Identity {
		ca, pair, err := agent.Executor(job, job+".9", time.Hour)
		if err != nil {
			s.t.Fatal(err)
		}
		id, err := certs.FromPEM(ca, pair.Cert, pair.Key, certs.Options{})
		if err != nil {
			s.t.Fatal(err)
		}
		return id
	}
	ours, other := executor("clicks"), executor("other")
	type ids = []*certs.Identity
	for _, n := range s.c.Nodes() {
		at := strings.TrimPrefix(n.HTTP, "https://")
		s.targets = append(s.targets, target{what: n.Name + " HTTP", addr: at, wrong: ids{nil, stranger, ours}, known: ids{user, agent, server}},
			target{what: n.Name + " rpc", addr: n.RPC, wrong: ids{nil, stranger, user, ours}, known: ids{agent, server}},
			target{what: n.Name + " gossip", addr: n.Gossip}, target{what: n.Name + " gossip, UDP", addr: n.Gossip, udp: true})
		if n.Server {
			s.targets = append(s.targets, target{what: n.Name + " raft", addr: n.Raft, wrong: ids{nil, stranger, user, agent, ours}, known: ids{server}})
		}
	}
	for _, addr := range addressesOf(waitFor(ctx, s.t, s.c, func(api.JobInfo) bool { return true })) {
		s.targets = append(s.targets, target{what: "executor", addr: addr, wrong: ids{nil, stranger, user, other}, known: ids{ours}})
	}
	text, err := os.ReadFile(s.c.gossipKey())
	if err == nil {
		s.key, err = base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// stranger is a server of another cluster.
func (s *siege) stranger() *certs.Identity {
	ca, caPair, err := certs.NewAuthority("another", time.Now(), time.Hour)
	if err != nil {
		s.t.Fatal(err)
	}
	pair, err := ca.Issue(certs.Wanted{Role: certs.Server, Name: "server1", TTL: time.Hour}, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	id, err := certs.FromPEM(caPair.Cert, pair.Cert, pair.Key, certs.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	return id
}

// clientConfig looks at no name and no CA of the server: who attacks does not care.
func clientConfig(id *certs.Identity) *tls.Config {
	if id == nil {
		return &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}
	}
	conf := id.ClientConfig(certs.Roles...)
	conf.VerifyConnection, conf.VerifyPeerCertificate, conf.InsecureSkipVerify = nil, nil, true
	conf.NextProtos = []string{"h2"}
	return conf
}

// from dials from another address of this host than users do.
func from(i int) *net.Dialer {
	d := &net.Dialer{Timeout: 10 * time.Second}
	if i > 0 {
		d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(10+i%200))}
	}
	return d
}

// refused looks at what each port says to who has no business there.
func (s *siege) refused(t *testing.T) {
	for _, to := range s.targets {
		for i, id := range to.wrong {
			if !closedTo(t, to, id) {
				t.Errorf("%s lets in number %d of who has no business there", to.what, i)
			}
		}
		for _, id := range to.known {
			if closedTo(t, to, id) {
				t.Errorf("%s does not let in who may", to.what)
			}
		}
	}
	// Guesses are slowed down, for who guesses alone.
	web := s.targets[0].addr
	transport := &http.Transport{DialContext: from(199).DialContext, TLSClientConfig: clientConfig(s.targets[0].known[0])}
	transport.TLSClientConfig.NextProtos = nil
	defer transport.CloseIdleConnections()
	for try := 0; ; try++ {
		q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+web+"/v1/jobs", nil)
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Authorization", "Bearer weir_"+strconv.Itoa(try))
		r, err := transport.RoundTrip(q)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(io.Discard, r.Body)
		if err := errors.Join(err, r.Body.Close()); err != nil {
			t.Fatal(err)
		}
		if r.StatusCode == http.StatusTooManyRequests {
			break
		}
		if r.StatusCode != http.StatusUnauthorized || try > 10_000 {
			t.Fatalf("guess %d is answered with %s", try, r.Status)
		}
	}
	if _, err := s.c.Client(token.Read).Jobs(t.Context(), client.Page{}, client.Wait{}); err != nil {
		t.Errorf("somebody guesses, and a user is refused: %v", err)
	}
}

// closedTo reports whether a port ends the connection of who comes with this certificate. Who
// is let in says nothing, and so hears nothing for a moment.
func closedTo(t *testing.T, to target, id *certs.Identity) bool {
	c, err := from(1).DialContext(t.Context(), "tcp", to.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	conn := tls.Client(c, clientConfig(id))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return true
	}
	// The server looks at the certificate after the client is done.
	for patience := 300 * time.Millisecond; ; {
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(make([]byte, 512))
		switch {
		case n > 0:
			return false
		case errors.Is(err, os.ErrDeadlineExceeded):
			return false
		default:
			return true
		}
	}
}

// attack sends garbage to all ports at once.
func (s *siege) attack(ctx context.Context, seed uint64, within time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var side sync.WaitGroup
	for i, to := range s.targets {
		rng := func(n int) *rand.Rand { return rand.New(rand.NewPCG(seed, uint64(100*i+n))) }
		if to.udp {
			side.Go(func() { s.packets(ctx, to, rng(0)) })
			continue
		}
		side.Go(func() { s.connections(ctx, to, i, rng(0)) })
		side.Go(func() { hold(ctx, to, i) })
		if strings.HasSuffix(to.what, "HTTP") {
			side.Go(func() { s.requests(ctx, to, i, rng(1)) })
		}
	}
	side.Wait()
}

// garbage is bytes that look like the beginning of something, and then like nothing.
func garbage(rng *rand.Rand) []byte {
	starts := []string{"", "GET / HTTP/1.1\r\nHost: x\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"\x00\xff\xff\x01\x04\x00\x00\x00\x01", "\x00", "\x01", "\x02", "\x03\xff\xff\xff\xff", "\x06", "\x07", "\x09", "\x0a\x7f\xff\xff\xff", "\xdd\xff\xff\xff\xff", "\x81\xa3Seq\xc6\xff\xff\xff\xff",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x25\x01\x04\x00\x00\x00\x01"}
	b := []byte(starts[rng.IntN(len(starts))])
	n := rng.IntN(300)
	if rng.IntN(20) == 0 {
		n = rng.IntN(200_000)
	}
	tail := make([]byte, n)
	for i := range tail {
		if tail[i] = byte(rng.Uint32()); rng.IntN(4) == 0 {
			tail[i] = []byte{0, 1, 0x7f, 0x80, 0xff, 0xdf, 0xc6, 0x93}[rng.IntN(8)]
		}
	}
	return append(b, tail...)
}

// connections opens one after the other, with TLS and without.
func (s *siege) connections(ctx context.Context, to target, origin int, rng *rand.Rand) {
	who := append(append([]*certs.Identity{}, to.wrong...), to.known...)
	for ctx.Err() == nil {
		c, err := from(origin+2).DialContext(ctx, "tcp", to.addr)
		if err != nil {
			continue
		}
		s.sent.Add(1)
		// Who is stuck is given up.
		_ = c.SetDeadline(time.Now().Add(time.Second))
		conn := c
		if len(who) > 0 && rng.IntN(4) > 0 {
			sealed := tls.Client(c, clientConfig(who[rng.IntN(len(who))]))
			if sealed.HandshakeContext(ctx) == nil {
				conn = sealed
			}
		}
		for range 1 + rng.IntN(3) {
			if _, err := conn.Write(garbage(rng)); err != nil {
				break
			}
		}
		if rng.IntN(3) == 0 {
			_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			_, _ = io.CopyN(io.Discard, conn, 4096)
		}
		_ = c.Close()
	}
}

// hold keeps connections open that say nothing.
func hold(ctx context.Context, to target, i int) {
	var all []net.Conn
	for range 50 {
		if c, err := from(i+2).DialContext(ctx, "tcp", to.addr); err == nil {
			all = append(all, c)
		}
	}
	<-ctx.Done()
	for _, c := range all {
		_ = c.Close()
	}
}

// packets sends what is no gossip, and what was sealed by somebody who has the key and lost his
// mind.
func (s *siege) packets(ctx context.Context, to target, rng *rand.Rand) {
	c, err := (&net.Dialer{}).DialContext(ctx, "udp", to.addr)
	if err != nil {
		s.t.Error(err)
		return
	}
	defer c.Close()
	block, err := aes.NewCipher(s.key)
	if err != nil {
		s.t.Error(err)
		return
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		s.t.Error(err)
		return
	}
	tick := time.NewTicker(time.Millisecond) // packets would fill the socket, and be lost
	defer tick.Stop()
	for ctx.Err() == nil {
		b := garbage(rng)
		b = b[:min(len(b), 1400)]
		if rng.IntN(2) == 0 {
			nonce := make([]byte, gcm.NonceSize())
			_, _ = crand.Read(nonce) // it never fails
			b = gcm.Seal(append([]byte{1}, nonce...), nonce, b, nil)
		}
		_, _ = c.Write(b) // nobody may listen just now
		s.sent.Add(1)
		<-tick.C
	}
}

// requests asks the HTTP API for what there is not, with a token and without.
func (s *siege) requests(ctx context.Context, to target, i int, rng *rand.Rand) {
	transport := &http.Transport{DialContext: from(i + 2).DialContext, TLSClientConfig: clientConfig(to.known[0])}
	transport.TLSClientConfig.NextProtos = nil
	defer transport.CloseIdleConnections()
	parts := []string{"v1", "jobs", "clicks", "..", "%2e%2e", "etc", "passwd", "logs", "artifacts", "nodes", "save", "audit", "gossip", "keys", "add", "metrics", "debug", "pprof",
		"sha256:" + strings.Repeat("0", 64), strings.Repeat("a", 300), "%00", "stats", "graph", "events", "stream", "", "x y", "\u202e"}
	for ctx.Err() == nil {
		var path strings.Builder
		for range 1 + rng.IntN(5) {
			path.WriteString("/" + strings.ReplaceAll(parts[rng.IntN(len(parts))], " ", "%20"))
		}
		body := garbage(rng)
		if rng.IntN(2) == 0 {
			body = fmt.Appendf(nil, `{"name":"x","parallelism":1e%d,"key":"%x`, rng.IntN(400), rng.Uint64())
		}
		q, err := http.NewRequestWithContext(ctx, []string{"GET", "POST", "PUT", "DELETE"}[rng.IntN(4)], "https://"+to.addr+path.String(), bytes.NewReader(body))
		if err != nil {
			continue
		}
		switch rng.IntN(3) {
		case 0:
			q.Header.Set("Authorization", "Bearer "+s.c.tokens[token.Read])
		case 1:
			q.Header.Set("Authorization", "Bearer "+string([]rune(s.c.tokens[token.Admin])[:20]))
		}
		q.Header.Set("Content-Type", "application/json")
		s.sent.Add(1)
		if r, err := transport.RoundTrip(q); err == nil {
			_, _ = io.CopyN(io.Discard, r.Body, 4096)
			_ = r.Body.Close()
		}
	}
}

// mostMemory is far above what an agent needs, and below what garbage makes of a process that
// believes in a length that it was told.
const mostMemory = 512 << 20

// checkMemory wants that an agent never had more.
func checkMemory(t *testing.T, n *Node) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(n.PID()), "status"))
	if err != nil {
		t.Logf("how much memory %s takes is not known here: %v", n.Name, err)
		return
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	var kb int64
	if _, err := fmt.Sscan(rest, &kb); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s has taken %d MB", n.Name, kb>>10)
	if kb<<10 > mostMemory {
		t.Errorf("%s has taken %d MB", n.Name, kb>>10)
	}
}
