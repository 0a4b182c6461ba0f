package agent

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/api/rpc"
	"github.com/weirflow/weir/cluster/certs"
	"github.com/weirflow/weir/internal/node"
	"github.com/weirflow/weir/shuffle/spill"
)

// TestOutputsOfAnother wants an executor to reach what is its job's, and nothing else.
func TestOutputsOfAnother(t *testing.T) {
	now, dir := time.Now(), t.TempDir()
	ca, pair, err := certs.NewAuthority("test", now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	files := certs.Files{CA: filepath.Join(dir, "ca"), Cert: filepath.Join(dir, "cert"), Key: filepath.Join(dir, "key")}
	if err := pair.Write(files.CA, filepath.Join(dir, "ca-key")); err != nil {
		t.Fatal(err)
	}
	own, err := ca.Issue(certs.Wanted{Role: certs.Agent, Name: "n1", TTL: time.Hour}, now)
	if err != nil {
		t.Fatal(err)
	}
	if err := own.Write(files.Cert, files.Key); err != nil {
		t.Fatal(err)
	}
	id, err := certs.Load(files, certs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	store, err := spill.Open(vfs.Default, filepath.Join(dir, "outputs"), spill.StoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := rpc.NewOutputServer(node.Serve(store), id.ServerConfig(certs.Executor), ofJob, rpc.Options{})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	defer func() {
		s.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	authority, p, err := id.Executor("mine", "e1", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	var m node.Member
	if err := m.Trust(authority, p.Cert, p.Key); err != nil {
		t.Fatal(err)
	}
	c, err := rpc.NewOutputClient(l.Addr().String(), m.AgentTLS, rpc.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	q := rpc.OutputCall{Do: rpc.OutputBegin, Job: "mine", Output: api.Output{Edge: api.Edge{To: "../../sort"}, Attempt: 1}, First: 0, End: 1}
	a, err := c.Call(ctx, &q)
	if err != nil || !strings.HasPrefix(a.Path, filepath.Join(dir, "outputs", "mine")+"/") || strings.Contains(a.Path, "..") {
		t.Error(a, err)
	}
	for _, do := range []string{rpc.OutputBegin, rpc.OutputDone, rpc.OutputRemove, rpc.OutputClear, rpc.OutputPing} {
		theirs := q
		theirs.Do, theirs.Job = do, "theirs"
		if _, err := c.Call(ctx, &theirs); err == nil || !strings.Contains(err.Error(), `has nothing to do with the outputs of "theirs"`) {
			t.Errorf("%s: %v", do, err)
		}
		if r, err := c.Open(ctx, &theirs); err == nil {
			b, _ := io.ReadAll(r)
			t.Errorf("opened: %d bytes", len(b))
		}
	}
	// An agent is no executor, and a stranger is nobody.
	other, err := rpc.NewOutputClient(l.Addr().String(), id.ClientConfig(certs.Agent), rpc.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.Call(ctx, &rpc.OutputCall{Do: rpc.OutputPing, Job: "mine"}); err == nil {
		t.Error("an agent was let in")
	}
	stranger, err := rpc.NewOutputClient(l.Addr().String(), nil, rpc.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if _, err := stranger.Call(ctx, &rpc.OutputCall{Do: rpc.OutputPing, Job: "mine"}); err == nil {
		t.Error("a stranger was let in")
	}
}
