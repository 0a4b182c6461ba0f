package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/weirflow/weir/internal/node/config"
)

func newConfigCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config print|check",
		Short: "Show and check what an agent is told",
		Example: `  weir config print --config agent.yaml
  weir config check agent.yaml`,
		Args: cobra.ArbitraryArgs,
		RunE: unknownBelow,
	}
	cmd.AddCommand(newConfigPrintCmd(), newConfigCheckCmd())
	return cmd
}

func newConfigPrintCmd() *cobra.Command {
	var file, format string
	cmd := &cobra.Command{
		Use: "print [flags]", Short: "Show what an agent with these flags would go by, and where each value is from", Args: atMost(0),
		Long: `Print reads what weir agent would read: the file, variables that begin with WEIR_AGENT_, and
flags. Flags go before variables, those before the file, that before defaults. What it prints is a
file that an agent reads.`,
		Example: `  weir config print --config agent.yaml
  WEIR_AGENT_ZONE=b weir config print --slots 8 -o json`,
	}
	config.Register(cmd.Flags())
	cmd.Flags().SortFlags = false
	cmd.Flags().StringVar(&file, "config", "", "`FILE` of the agent")
	cmd.Flags().StringVarP(&format, "format", "o", "yaml", "`FORMAT` yaml or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := oneOf("-o", format, "yaml", "json"); err != nil {
			return err
		}
		l, err := config.Load(config.Inputs{File: file, Environ: os.Environ(), Flags: cmd.Flags()})
		if err != nil {
			return &exitError{code: 2, err: err}
		}
		if format == "json" {
			return l.WriteJSON(cmd.OutOrStdout())
		}
		return l.WriteYAML(cmd.OutOrStdout())
	}
	return cmd
}

func newConfigCheckCmd() *cobra.Command {
	return &cobra.Command{
		Use: "check FILE", Short: "Look for mistakes in an agent's file, and for what would let strangers in", Args: exactly(1, "a file"),
		Long: `Check reads the file alone, without environment and flags, and says all that is wrong, a line
for each. Exit code 2 says that there is something.`,
		Example: "  weir config check agent.yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := config.Load(config.Inputs{File: args[0]})
			if err == nil {
				err = l.Check()
			}
			if err != nil {
				return &exitError{code: 2, err: err}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: all as it should be\n", args[0])
			return nil
		},
	}
}
