package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/sdk/run"
)

func newGraphCmd() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "graph PKG|FILE.go|BINARY [flags] [-- ARGS]",
		Short: "Show what a pipeline's program would run",
		Long: `Graph builds a pipeline's program as weir run does, asks it for its graph, and shows
the plan that would run: chains of operators, the exchanges between them, and how
many tasks each has. Nothing is run, no input is read.

The plan depends on the flags here and on the program's own, which come after --.`,
		Example: `  weir graph ./examples/wordcount
  weir graph ./examples/wordcount --parallelism 4 --no-chaining
  weir graph ./examples/wordcount -o dot | dot -Tsvg > wordcount.svg
  weir graph ./examples/wordcount --mode batch
  weir graph ./examples/clickstream -o json -- --source kafka`,
		Args: cobra.ArbitraryArgs, // program knows what must come before --
	}
	flags := addEngineFlags(cmd, "parallelism", "max-parallelism", "no-chaining", "mode")
	cmd.Flags().StringVarP(&format, "format", "o", "text", "`FORMAT` text, dot (for Graphviz) or json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		target, own, err := program(cmd, args)
		if err != nil {
			return err
		}
		explain := map[string]func(io.Writer, *graph.Plan) error{
			"text": graph.ExplainText, "dot": graph.ExplainDOT, "json": graph.ExplainJSON}[format]
		if err := oneOf("-o", format, "text", "dot", "json"); err != nil {
			return err
		}
		if err := checkEngineEnv(); err != nil {
			return err
		}
		g, err := askGraph(cmd, target, own)
		if err != nil {
			return err
		}
		flags.Options.EnsureDefaults()
		plan, err := graph.Build(g, graph.PlanOptions{Parallelism: flags.Options.Parallelism, Chaining: !flags.Options.NoChaining, Mode: flags.Options.Mode.Of(g)})
		if err != nil {
			return &exitError{code: run.ExitUsage, err: err}
		}
		return explain(cmd.OutOrStdout(), plan)
	}
	return cmd
}

// askGraph builds the program and has it write its graph.
func askGraph(cmd *cobra.Command, target string, args []string) (*graph.Graph, error) {
	b, err := find(target)
	if err != nil {
		return nil, err
	}
	if err := b.build(cmd.Context(), cmd.ErrOrStderr()); err != nil {
		return nil, err
	}
	defer b.release()
	if err := exportEngineFlags(cmd); err != nil {
		return nil, fmt.Errorf("handing the flags to %s: %w", target, err)
	}
	folder, err := os.MkdirTemp("", "weir-graph-")
	if err != nil {
		return nil, fmt.Errorf("making a place for the graph: %w", err)
	}
	defer os.RemoveAll(folder)
	out := filepath.Join(folder, "graph")
	if err := start(cmd.Context(), b, args, "WEIR_ROLE=graph", "WEIR_GRAPH_OUT="+out); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(out)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s ended without giving its graph: its main function must be run.Main", target)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the graph of %s: %w", target, err)
	}
	g, err := graph.Unmarshal(data)
	if err != nil {
		return nil, fmt.Errorf("reading the graph of %s, which may be built with another version of Weir: %w", target, err)
	}
	return g, nil
}

// start runs the program to its end. What it prints goes to the standard error:
// the standard output is for the graph.
func start(ctx context.Context, b *binary, args []string, env ...string) error {
	child := exec.CommandContext(ctx, b.path, args...)
	child.Env = append(os.Environ(), env...)
	child.Stdout, child.Stderr = os.Stderr, os.Stderr
	if err := child.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", b.given, err)
	}
	b.release()
	err := child.Wait()
	switch exit, ok := errors.AsType[*exec.ExitError](err); {
	case ctx.Err() != nil:
		return ctx.Err()
	case ok && exit.ExitCode() > 0:
		return &exitError{code: exit.ExitCode()} // it has said why
	case err != nil:
		return fmt.Errorf("asking %s for its graph: %w", b.given, err)
	}
	return nil
}
