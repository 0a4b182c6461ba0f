package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/weirflow/weir/internal/node/agent"
	"github.com/weirflow/weir/internal/node/config"
)

func newAgentCmd() *cobra.Command {
	var file string
	var dev bool
	cmd := &cobra.Command{
		Use: "agent [flags]", Short: "Run the daemon of a cluster on this host", Args: atMost(0),
		Long: `Agent runs jobs' executors on this host. One, three or five agents of a cluster are servers too: they
decide where executors run, and answer the commands below weir jobs, job and node.

With --dev it is a whole cluster by itself, on loopback, and keeps nothing: its data directory is
removed at the end, unless --data-dir names one.

What it is told comes from the file, from variables that begin with WEIR_AGENT_, and from flags, see
weir config print. Without TLS and tokens it listens on loopback only.`,
		Example: `  weir agent --dev
  weir agent --config agent.yaml
  weir agent --server-enabled --server-bootstrap-expect 3 --join 10.0.0.1:7471 --config agent.yaml`,
	}
	config.Register(cmd.Flags())
	cmd.Flags().SortFlags = false
	cmd.Flags().StringVar(&file, "config", "", "`FILE` of the agent")
	cmd.Flags().BoolVar(&dev, "dev", false, "be a cluster of one, which is gone at the end")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		l, err := config.Load(config.Inputs{File: file, Environ: os.Environ(), Flags: cmd.Flags()})
		if err != nil {
			return &exitError{code: 2, err: err}
		}
		if dev {
			l.Server.Enabled, l.Server.BootstrapExpect = true, 1
			if l.Source("data_dir").Kind == "default" {
				dir, err := os.MkdirTemp("", "weir-dev-")
				if err != nil {
					return err
				}
				defer os.RemoveAll(dir)
				l.DataDir = dir
			}
		}
		if err := l.Check(); err != nil {
			return &exitError{code: 2, err: err}
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return runAgent(ctx, &l.Config)
	}
	return cmd
}

func runAgent(ctx context.Context, c *config.Config) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(cmp.Or(c.Log.Level, "info"))); err != nil {
		return &exitError{code: 2, err: fmt.Errorf("log.level: %w", err)}
	}
	o := &slog.HandlerOptions{Level: level}
	var h slog.Handler = slog.NewTextHandler(os.Stderr, o)
	if strings.EqualFold(c.Log.Format, "json") {
		h = slog.NewJSONHandler(os.Stderr, o)
	}
	a, err := agent.Open(agent.Options{Config: *c, Version: agentVersion(), Program: exe, Log: slog.New(h),
		Audit: slog.New(slog.NewJSONHandler(os.Stderr, nil)).With("log", "audit")})
	if err != nil {
		return err
	}
	return a.Run(ctx)
}

// agentVersion is the release as agents compare it: without the v of modules.
func agentVersion() string { return strings.TrimPrefix(readVersion().Version, "v") }
