package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// commands are the subcommands, in the order in which help lists them.
var commands = []func() *cobra.Command{
	newRunCmd,
	newGraphCmd,
	newCheckpointCmd,
	newSavepointCmd,
	newStateCmd,
	newAuditCmd,
	newSubmitCmd,
	newJobsCmd,
	newJobCmd,
	newNodeCmd,
	newMembersCmd,
	newGossipCmd,
	newContextCmd,
	newTLSCmd,
	newTokenCmd,
	newAgentCmd,
	newConfigCmd,
	newBenchCmd,
	newVersionCmd,
}

func newRootCmd() *cobra.Command {
	root := &cobra.Command{
		Use:   "weir",
		Short: "One engine for streams and batches",
		Long: `Weir runs pipelines over data with or without an end. A pipeline is a Go program
whose main function is run.Main; weir builds it, runs it and shows what it does.`,
		Example: `  weir run ./examples/wordcount -- --input ./texts --output ./counts
  weir run ./examples/wordcount --parallelism 1 -o json -- --input ./texts --output ./counts
  weir graph ./examples/wordcount
  weir graph ./examples/wordcount -o dot | dot -Tsvg > wordcount.svg`,
		DisableFlagsInUseLine: true,

		SilenceErrors: true, // main prints them
		SilenceUsage:  true, // an error is one line
		Args:          cobra.ArbitraryArgs,
		RunE:          unknown,
	}
	cobra.EnableCommandSorting = false
	root.SuggestionsMinimumDistance = 2
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		hint := ""
		if cmd.CommandPath() == "weir run" || cmd.CommandPath() == "weir graph" || cmd.Name() == "submit" {
			hint = "flags of the pipeline's program come after --; "
		}
		return misuse("%w (%s%s --help lists the flags)", err, hint, cmd.CommandPath())
	})
	for _, c := range commands {
		root.AddCommand(c())
	}
	root.InitDefaultCompletionCmd()
	return root
}

// unknown runs when no subcommand was found: without arguments that is a call for
// help.
func unknown(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return misuse("unknown command %q: did you mean %q?", args[0], strings.Join(near, `" or "`))
	}
	return misuse("unknown command %q (weir --help lists the commands)", args[0])
}

// program splits the arguments of a command into the program that it is about and
// that program's own arguments.
func program(cmd *cobra.Command, args []string) (target string, own []string, err error) {
	before := args
	if at := cmd.ArgsLenAtDash(); at >= 0 {
		before, own = args[:at], args[at:]
	}
	switch len(before) {
	case 1:
		return before[0], own, nil
	case 0:
		return "", nil, misuse("name a Go package, a .go file or a program: %s ./examples/wordcount", cmd.CommandPath())
	}
	return "", nil, misuse("one program at a time, not also %q: arguments of the program come after --", before[1])
}

// oneOf checks the value of a flag such as -o.
func oneOf(flag, value string, allowed ...string) error {
	for _, a := range allowed {
		if value == a {
			return nil
		}
	}
	return misuse("%s %s: it must be one of %s", flag, value, strings.Join(allowed, ", "))
}
