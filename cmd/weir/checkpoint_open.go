package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/checkpoint/store"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
)

// addStateFlag adds the flag that says where a job's checkpoints are.
func addStateFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("state", os.Getenv("WEIR_STATE"), "`DIR` or URL that the job was run with (WEIR_STATE)")
}

// addOutputFlag adds -o text|json.
func addOutputFlag(cmd *cobra.Command) *string {
	return cmd.Flags().StringP("format", "o", "text", "`FORMAT` text or json")
}

// openStorage opens a place that is there already: to look at a place makes none.
func openStorage(ctx context.Context, location string) (store.Storage, error) {
	if location == "" {
		return nil, misuse("name the place of the checkpoints: --state DIR")
	}
	if path, local := localPath(location); local {
		switch info, err := os.Stat(path); {
		case errors.Is(err, os.ErrNotExist):
			return nil, fmt.Errorf("there is no directory %s", path)
		case err != nil:
			return nil, fmt.Errorf("opening %s: %w", location, err)
		case !info.IsDir():
			return nil, fmt.Errorf("%s is not a directory", path)
		}
	}
	return store.Open(ctx, location)
}

// localPath is the directory that a location names, if it does.
func localPath(location string) (string, bool) {
	scheme, _, ok := strings.Cut(location, "://")
	if !ok {
		return location, true
	}
	if scheme != "file" {
		return "", false
	}
	u, err := url.Parse(location)
	if err != nil {
		return "", false // store.Open says what is wrong
	}
	return u.Path, true
}

// openJob opens the job that is named or, where none is, the only one that there is.
// close ends both job and storage.
func openJob(ctx context.Context, location, name string) (job *store.Job, closeAll func(), err error) {
	st, err := openStorage(ctx, location)
	if err != nil {
		return nil, nil, err
	}
	all, err := store.Jobs(ctx, st)
	if err == nil {
		id := flow.JobID(name)
		switch {
		case name == "" && len(all) == 1:
			id = all[0]
		case name == "" && len(all) > 1:
			err = misuse("%s has several jobs, name one of %s", location, joinJobs(all))
		case len(all) == 0:
			err = fmt.Errorf("%s has no job with checkpoints", location)
		case !slices.Contains(all, id):
			err = fmt.Errorf("%s has no job %q, it has %s", location, name, joinJobs(all))
		}
		if err == nil {
			job = store.OpenJob(st, id, store.JobOptions{})
			return job, func() { job.Close(); st.Close() }, nil
		}
	}
	st.Close()
	return nil, nil, err
}

func joinJobs(all []flow.JobID) string {
	names := make([]string, len(all))
	for i, j := range all {
		names[i] = string(j)
	}
	return strings.Join(names, ", ")
}

// epochArg is the number of an epoch on the command line; 0 where there is none.
func epochArg(args []string, at int) (flow.Epoch, error) {
	if len(args) <= at {
		return 0, nil
	}
	n, err := strconv.ParseUint(args[at], 10, 64)
	if err != nil || n == 0 {
		return 0, misuse("%q is not the number of an epoch", args[at])
	}
	return flow.Epoch(n), nil
}

// argAt is an argument, or "".
func argAt(args []string, at int) string {
	if len(args) <= at {
		return ""
	}
	return args[at]
}

// atMost refuses more than n arguments in the commands' own words.
func atMost(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > n {
			return misuse("%q is too much (%s --help)", args[n], cmd.CommandPath())
		}
		return nil
	}
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// namesOf is the operators' names by their ids, from the graph in a manifest.
func namesOf(m *checkpoint.Manifest) map[string]string {
	names := map[string]string{}
	if len(m.Graph) == 0 {
		return names
	}
	g, err := graph.Unmarshal(m.Graph)
	if err != nil {
		return names // names are for people, ids will do
	}
	for _, o := range g.Operators {
		names[string(o.ID)] = o.Name
	}
	return names
}

// called is how an operator is shown: `"name" (id)`.
func called(names map[string]string, id string) string {
	if n := names[id]; n != "" && n != id {
		return fmt.Sprintf("%q (%s)", n, id)
	}
	return id
}
