package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/weirflow/weir/cluster/certs"
	"github.com/weirflow/weir/web"
	"github.com/weirflow/weir/web/token"
)

// openHTTP listens for users, and for who watches the agent. Only a server has users: another
// agent whose address is taken, by a server on the same host say, does its work without.
func (a *Agent) openHTTP() error {
	c := &a.o.Config
	if err := web.Exposure(web.Listen{Address: c.Listen.HTTP, TLS: a.id != nil, Tokens: c.TokenFile != ""}); err != nil {
		return fmt.Errorf("listen.http: %w", err)
	}
	l, err := a.o.Host.At(c.Listen.HTTP)
	if errors.Is(err, syscall.EADDRINUSE) && !c.Server.Enabled {
		a.log.Warn("nobody can look at this agent: give it an address of its own for /metrics", "key", "listen.http", "err", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("listen.http: %w", err)
	}
	a.http = l
	if a.audit, err = openAudit(a.dir("audit"), int64(c.Limits.Audit), c.Name); err != nil {
		return errors.Join(err, l.Close())
	}
	a.onClose(a.audit.Close)
	a.onClose(func() error {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	scheme := "http://"
	if a.id != nil {
		scheme = "https://"
	}
	a.node.HTTP = scheme + a.advertised(l)
	return nil
}

// serveHTTP answers users until ctx ends.
func (a *Agent) serveHTTP(ctx context.Context) error {
	c := &a.o.Config
	o := web.Options{TLS: a.serverTLS(certs.Client, certs.Server, certs.Agent), Log: a.log, Audit: a.written(),
		Observer: observer{a}, Answered: a.scrapes.answered,
		MaxArtifact: int64(c.Limits.Artifact), Rate: float64(c.Limits.RequestsPerSecond), Locations: c.Locations}
	if c.TokenFile != "" {
		set, err := token.Open(c.TokenFile, nil, func(err error) {
			if err != nil {
				a.log.Error("nobody is let in: the file of tokens is of no use", "err", err)
			}
		})
		if err != nil {
			return err
		}
		o.Tokens = set
	}
	if t := a.clientTLS(certs.Server); t != nil {
		o.Forward = &http.Transport{TLSClientConfig: t, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute}
	}
	if a.raft == nil {
		return web.New(nil, o).Serve(ctx, a.http)
	}
	return web.New(&backend{a}, o).Serve(ctx, a.http)
}

// written is where requests are written down: in the audit log, and where else it is wanted.
func (a *Agent) written() *slog.Logger {
	if a.o.Audit == nil {
		return slog.New(a.audit)
	}
	return slog.New(slog.NewMultiHandler(a.o.Audit.Handler(), a.audit))
}

// said tells people where the agent is.
func (a *Agent) said() {
	attrs := []any{"name", a.node.Name, "id", string(a.node.ID), "rpc", a.node.RPC, "slots", a.node.Slots}
	if a.node.HTTP != "" {
		attrs = append(attrs, "http", a.node.HTTP)
	}
	if a.id == nil {
		attrs = append(attrs, slog.String("tls", "none: only this host can reach it"))
	}
	a.log.Info("weir agent", attrs...)
}
