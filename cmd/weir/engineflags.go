package main

import (
	"flag"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/weirflow/weir/sdk/run"
)

// engineFlag is a flag that the program understands too: it is checked here and
// handed over in the environment.
type engineFlag struct {
	flag.Value
	env string
}

// Type is for cobra's help.
func (f *engineFlag) Type() string {
	if b, ok := f.Value.(interface{ IsBoolFlag() bool }); ok && b.IsBoolFlag() {
		return "bool"
	}
	return "string"
}

// addEngineFlags adds the engine's flags to cmd: those named, or all. The values
// are in what it returns once cmd runs.
func addEngineFlags(cmd *cobra.Command, names ...string) *run.Flags {
	var flags run.Flags
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	// A wrong value in the environment is reported by what uses it: see checkEngineEnv.
	_ = flags.Register(fs, os.LookupEnv)
	fs.VisitAll(func(f *flag.Flag) {
		if len(names) > 0 && !slices.Contains(names, f.Name) {
			return
		}
		value := &engineFlag{Value: f.Value, env: run.EnvName(f.Name)}
		added := &pflag.Flag{Name: f.Name, Usage: f.Usage, Value: value}
		if f.Name == "o" {
			added.Name, added.Shorthand = "format", "o"
		}
		if value.Type() == "bool" {
			added.NoOptDefVal = "true"
		}
		cmd.Flags().AddFlag(added)
	})
	cmd.Flags().SortFlags = false
	return &flags
}

// checkEngineEnv refuses wrong values in the environment.
func checkEngineEnv() error {
	if err := new(run.Flags).Register(flag.NewFlagSet("", flag.ContinueOnError), os.LookupEnv); err != nil {
		return &exitError{code: run.ExitUsage, err: err}
	}
	return nil
}

// exportEngineFlags puts the engine's flags that were given into the environment.
func exportEngineFlags(cmd *cobra.Command) error {
	var err error
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if e, ok := f.Value.(*engineFlag); ok && err == nil {
			err = os.Setenv(e.env, e.String())
		}
	})
	return err
}
