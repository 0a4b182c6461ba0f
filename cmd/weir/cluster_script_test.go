package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/cluster/certs"
	profiles "github.com/weirflow/weir/internal/obs/profile"
	"github.com/weirflow/weir/web"
	"github.com/weirflow/weir/web/token"
	"github.com/weirflow/weir/web/webtest"
)

// TestClusterScripts runs testdata/cluster: commands that speak to a cluster, which is one in
// memory behind the real HTTP API.
func TestClusterScripts(t *testing.T) {
	runScripts(t, "testdata/cluster", scriptCmds{"serve": serve}, nil)
}

// serve starts a cluster and puts its address into WEIR_ADDRESS: serve [TOKENS [HOST]], where
// TOKENS is a file of tokens and HOST the path of a certificate without ".pem", beside which
// the CA is. The audit log goes to the file audit.
func serve(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 2 {
		ts.Fatalf("usage: serve [TOKENS [HOST]]")
	}
	log, err := os.Create(ts.MkAbs("audit"))
	ts.Check(err)
	o := web.Options{Log: slog.New(slog.DiscardHandler), Audit: slog.New(slog.NewJSONHandler(log, nil)), MaxArtifact: 64 << 20, Observer: shown{}}
	scheme := "http://"
	if len(args) > 0 {
		o.Tokens, err = token.Open(ts.MkAbs(args[0]), nil, nil)
		ts.Check(err)
	}
	if len(args) > 1 {
		host := ts.MkAbs(args[1])
		id, err := certs.Load(certs.Files{CA: filepath.Join(filepath.Dir(host), "ca.pem"), Cert: host + ".pem", Key: host + "-key.pem"}, certs.Options{})
		ts.Check(err)
		o.TLS = id.ServerConfig(certs.Server, certs.Client)
		scheme = "https://"
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- web.New(webtest.New(), o).Serve(ctx, l) }()
	ts.Defer(func() {
		stop()
		if err := <-done; err != nil {
			ts.Logf("serve: %v", err)
		}
		log.Close()
	})
	ts.Setenv("WEIR_ADDRESS", scheme+l.Addr().String())
}

// shown is what an agent shows of itself: here it says which profiles there are.
type shown struct{}

func (shown) Health() api.Health                           { return api.Health{Status: "ok"} }
func (shown) Metrics(context.Context, io.Writer) error     { return nil }
func (shown) Kinds() []string                              { return profiles.Kinds }
func (shown) CheckProfile(k string, d time.Duration) error { return profiles.Check(k, d) }

func (shown) Profile(ctx context.Context, w io.Writer, k string, d time.Duration) error {
	_, err := profiles.Write(ctx, w, k, d)
	return err
}
