package wire_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/shuffle"
	"github.com/weirflow/weir/shuffle/local"
	"github.com/weirflow/weir/shuffle/shuffletest"
	"github.com/weirflow/weir/shuffle/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listen makes a listener on loopback.
func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// endpoint makes an endpoint on loopback that ends with the test.
func endpoint(t testing.TB, o wire.Options) *wire.Endpoint {
	t.Helper()
	if o.Listener == nil {
		o.Listener = listen(t)
	}
	e := wire.New(o)
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// partition is one of the partitions of the tests' edge.
func partition(attempt uint64, from, to int) wire.PartitionID {
	return wire.PartitionID{Job: "job", Attempt: attempt, Edge: flow.EdgeID{To: "op"}, From: from, To: to}
}

// eventually waits until f is true.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	end := time.After(30 * time.Second)
	for !f() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("never: %s", what)
		}
	}
}

// over makes exchanges between two endpoints.
func over(server, client wire.Options) shuffletest.Transport {
	return func(t testing.TB, n int, o shuffletest.Options) (shuffle.Gate, []shuffle.Sender[shuffletest.Record]) {
		server, client := server, client
		server.Listener, client.Listener = listen(t), listen(t)
		at := endpoint(t, server)
		from := endpoint(t, client)
		g, inlets := local.NewGate[shuffletest.Record](n, local.Options{Credit: o.Credit, BatchSize: o.BatchSize, Pointers: true, Hashes: o.Hashes, Rand: o.Rand})
		senders := make([]shuffle.Sender[shuffletest.Record], n)
		for i := range n {
			s, err := wire.NewSender[shuffletest.Record](from, at.Addr().String(), partition(1, i, 0), wire.SenderOptions{BatchSize: o.BatchSize})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Close)
			detach, err := wire.Attach(at, partition(1, i, 0), inlets[i], wire.AttachOptions{Credit: o.Credit})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(detach)
			senders[i] = s
		}
		t.Cleanup(g.Close)
		for _, s := range senders {
			eventually(t, "there is credit", s.Available)
		}
		return g, senders
	}
}

func TestSuite(t *testing.T) {
	for c := range wire.Zstd + 1 {
		t.Run(c.String(), func(t *testing.T) { shuffletest.Run(t, over(wire.Options{}, wire.Options{Compression: c})) })
	}
	t.Run("tls", func(t *testing.T) {
		server, client := certificates(t)
		shuffletest.Run(t, over(wire.Options{ServerTLS: server}, wire.Options{ClientTLS: client}))
	})
}

// certificates makes a pair of configurations in which both sides show who they are.
func certificates(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	own := []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}}
	return &tls.Config{Certificates: own, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13},
		&tls.Config{Certificates: own, RootCAs: pool, MinVersion: tls.VersionTLS13}
}
