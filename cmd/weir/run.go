package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newRunCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run PKG|FILE.go|BINARY [flags] [-- ARGS]",
		Short: "Build a pipeline's program and run it",
		Long: `Run builds a Go program whose main function is run.Main, if it is given a package
or a .go file, and runs it in this process's place: the same standard input and
outputs, the same signals, the program's exit code.

The flags here are the engine's; what comes after -- are the program's own, among
which it takes the engine's flags too. What was built is kept in the user's cache
directory and built again when its sources change.

Ctrl-C ends the sources; what was accepted is finished and committed. Once more
cancels the job at once.

With --state the job keeps checkpoints: it restarts after failures, and the same
command goes on where the last one ended, however that ended. Ctrl-C then takes a
checkpoint and ends the job as it is.

Exit code: 0 finished, 1 failed, 2 wrong flags, a compile error or a pipeline with
mistakes, 130 stopped by a signal.`,
		Example: `  weir run ./examples/wordcount -- --input ./texts --output ./counts
  weir run ./examples/wordcount --parallelism 1 -o json -- --input ./texts --output ./counts
  weir run ./examples/wordcount --state ./state -- --input ./texts --output ./counts
  weir run pipeline.go
  weir run ./examples/wordcount -- --help`,
		Args: cobra.ArbitraryArgs, // program knows what must come before --
		RunE: func(cmd *cobra.Command, args []string) error {
			target, own, err := program(cmd, args)
			if err != nil {
				return err
			}
			b, err := find(target)
			if err != nil {
				return err
			}
			if err := b.build(cmd.Context(), cmd.ErrOrStderr()); err != nil {
				return err
			}
			defer b.release()
			if err := exportEngineFlags(cmd); err != nil {
				return fmt.Errorf("handing the flags to %s: %w", target, err)
			}
			return become(b.path, own)
		},
	}
	addEngineFlags(cmd)
	return cmd
}
