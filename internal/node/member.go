package node

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/api/rpc"
	"github.com/weirflow/weir/cluster/certs"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/scheduler/job"
)

// Member is what a process of a job with several processes is to the others.
type Member struct {
	// Hello is what it tells of itself: Job, Alloc, Node, Term, Slots and Zone. A
	// coordinator with slots runs tasks too. Data and Fingerprint are filled in.
	Hello api.Hello
	// Dir is a directory for files of this process's alone. It must be there.
	Dir string
	// Listen is the host to listen at, as others dial it. Default 127.0.0.1.
	Listen string
	// Network is how it reaches others. Default: TCP.
	Network Network
	// ServerTLS and ClientTLS are for connections that are taken and made. Default: none.
	ServerTLS, ClientTLS *tls.Config
	// AgentTLS is for connections to agents' outputs; Hello.Store is where this agent's are.
	AgentTLS *tls.Config
	// Ready is told where the process listens, once it does. Default: nobody.
	Ready func(api.ExecutorReady)
	// RPC are the settings of what coordinator and executors say to each other.
	RPC rpc.Options
}

// Trust sets up mutual TLS from PEM: the cluster's CA, and the process's own certificate
// and key. Where all are empty there is none.
func (m *Member) Trust(ca, cert, key []byte) error {
	if len(ca) == 0 && len(cert) == 0 && len(key) == 0 {
		return nil
	}
	id, err := certs.FromPEM(ca, cert, key, certs.Options{})
	if err != nil {
		return fmt.Errorf("the certificate of the executor: %w", err)
	}
	m.AgentTLS = id.ClientConfig(certs.Agent, certs.Server)
	m.ServerTLS, m.ClientTLS = id.ServerConfig(certs.Executor, certs.Agent), id.ClientConfig(certs.Executor, certs.Agent)
	return nil
}

func (m *Member) ensureDefaults() {
	if m.Listen == "" {
		m.Listen = "127.0.0.1"
	}
	if m.Ready == nil {
		m.Ready = func(api.ExecutorReady) {}
	}
	if m.RPC.Dial == nil {
		m.RPC.Dial = m.Network.Dial
	}
	m.RPC.EnsureDefaults()
}

func (m *Member) validate() error {
	switch {
	case m.Hello.Job == "" || m.Hello.Alloc == "":
		return errors.New("a process of a job with several needs the job's name and one of its own")
	case m.Dir == "":
		return errors.New("a process of a job with several needs a directory of its own")
	case m.Hello.Slots < 0:
		return fmt.Errorf("%d slots: there cannot be fewer than none", m.Hello.Slots)
	}
	return nil
}

// listen takes a port of the member's host.
func (m *Member) listen() (net.Listener, error) {
	l, err := m.Network.At(net.JoinHostPort(m.Listen, "0"))
	if err != nil {
		return nil, fmt.Errorf("listening at %s: %w", m.Listen, err)
	}
	return l, nil
}

// Fingerprint tells graphs apart: processes of one job must have built the same. The
// parallelism is not in it: a job's changes while it runs, and each deployment tells it.
func Fingerprint(p *graph.Plan) (string, error) {
	b, err := graph.Marshal(p.Graph)
	if err != nil {
		return "", fmt.Errorf("the fingerprint of the graph: %w", err)
	}
	h := sha256.New()
	h.Write(b)
	fmt.Fprintf(h, "\nchaining %t", p.Options.Chaining)
	if p.Mode != graph.Streaming {
		fmt.Fprintf(h, "\n%s", p.Mode)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// slots is how many a plan takes.
func slots(p *graph.Plan) (n int) {
	for i := range p.Chains {
		n = max(n, p.Chains[i].Parallelism)
	}
	return n
}

// restartSoon is the policy of durable jobs in a cluster: what fails there is most often a
// process, and another one is there or will be. now is the clock.
func restartSoon(seed uint64, now func() flow.Time) job.RestartPolicy {
	return Restart(job.Exponential{Initial: 50 * time.Millisecond, Max: time.Minute, Factor: 2, MaxFailures: failuresInRow}, seed, now)
}
