package main

import (
	"context"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/checkpoint/store"
)

func newSavepointCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "savepoint list|inspect|verify|delete",
		Short: "Look after savepoints",
		Long: `Savepoint shows, checks and removes savepoints. A savepoint is a folder that holds all
that it needs: it can be moved to another machine or bucket as it is. A job is started
from one with weir run --from.`,
		Example: `  weir savepoint list ./savepoints
  weir savepoint inspect ./savepoints/clickstream-17
  weir savepoint verify s3://bucket/savepoints/clickstream-17
  weir savepoint delete ./savepoints/clickstream-17`,
		Args: cobra.ArbitraryArgs,
		RunE: unknownBelow,
	}
	cmd.AddCommand(newSavepointListCmd(), newSavepointInspectCmd(), newSavepointVerifyCmd(), newSavepointDeleteCmd())
	return cmd
}

// manifestKey is what every savepoint has at its root.
const manifestKey = "manifest"

// below is the location of a folder of a location.
func below(location, folder string) string {
	if folder == "" {
		return location
	}
	if !strings.Contains(location, "://") {
		return filepath.Join(location, folder)
	}
	u, err := url.Parse(location)
	if err != nil {
		return location + "/" + folder
	}
	u.Path = path.Join(u.Path, folder)
	return u.String()
}

// savepointsIn are the locations of all savepoints at a location or below.
func savepointsIn(ctx context.Context, location string) ([]string, error) {
	st, err := openStorage(ctx, location)
	if err != nil {
		return nil, err
	}
	defer st.Close()
	var all []string
	for info, err := range st.List(ctx, "") {
		if err != nil {
			return nil, fmt.Errorf("listing %s: %w", location, err)
		}
		if folder, name := path.Split(info.Key); name == manifestKey {
			all = append(all, below(location, strings.TrimSuffix(folder, "/")))
		}
	}
	return all, nil
}

// loadSavepoint reads a savepoint; storage is the caller's to close.
func loadSavepoint(ctx context.Context, location string) (*checkpoint.Manifest, store.Storage, error) {
	st, err := openStorage(ctx, location)
	if err != nil {
		return nil, nil, err
	}
	if err := st.Close(); err != nil {
		return nil, nil, err
	}
	return store.LoadSavepoint(ctx, location)
}

// savepointArg is the one argument of most commands about savepoints, or --state with
// the folder of the savepoint below it.
func savepointArg(state string, args []string) (string, error) {
	switch {
	case len(args) == 1 && state != "" && !strings.Contains(args[0], "://") && !filepath.IsAbs(args[0]):
		return below(state, args[0]), nil
	case len(args) == 1:
		return args[0], nil
	case state != "":
		return state, nil
	}
	return "", misuse("name the directory or URL of a savepoint")
}

// addPlaceFlag is addStateFlag for savepoints, which need it not.
func addPlaceFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("state", "", "`DIR` or URL below which the savepoint is")
}

func newSavepointListCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list DIR|URL",
		Short: "List the savepoints at a place and below",
		Example: `  weir savepoint list ./savepoints
  weir savepoint list s3://bucket/savepoints -o json`,
		Args: atMost(1),
	}
	place, format := addPlaceFlag(cmd), addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := oneOf("-o", *format, "text", "json"); err != nil {
			return err
		}
		location, err := savepointArg(*place, args)
		if err != nil {
			return err
		}
		all, err := savepointsIn(cmd.Context(), location)
		if err != nil {
			return err
		}
		lines := []checkpointLine{}
		for _, at := range all {
			m, st, err := store.LoadSavepoint(cmd.Context(), at)
			if err != nil {
				return err
			}
			l := lineOf(m)
			l.Location = at
			lines = append(lines, l)
			if err := st.Close(); err != nil {
				return err
			}
		}
		if *format == "json" {
			return writeJSON(cmd.OutOrStdout(), lines)
		}
		return printLines(cmd.OutOrStdout(), lines)
	}
	return cmd
}

func newSavepointInspectCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "inspect DIR|URL",
		Short:   "Show what a savepoint holds",
		Example: `  weir savepoint inspect ./savepoints/clickstream-17 -o json`,
		Args:    atMost(1),
	}
	place, format := addPlaceFlag(cmd), addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := oneOf("-o", *format, "text", "json"); err != nil {
			return err
		}
		location, err := savepointArg(*place, args)
		if err != nil {
			return err
		}
		m, st, err := loadSavepoint(cmd.Context(), location)
		if err != nil {
			return err
		}
		defer st.Close()
		if *format == "json" {
			i := inspectionOf(m)
			i.Location = location
			return writeJSON(cmd.OutOrStdout(), i)
		}
		return printManifest(cmd.OutOrStdout(), m)
	}
	return cmd
}

func newSavepointVerifyCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify DIR|URL",
		Short: "Read all files of a savepoint and check their sums",
		Long: `Verify reads every file of a savepoint and compares length and checksum with what the
savepoint says. Exit code 1 says that a file is damaged or gone.`,
		Example: `  weir savepoint verify ./savepoints/clickstream-17`,
		Args:    atMost(1),
	}
	place, format := addPlaceFlag(cmd), addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := oneOf("-o", *format, "text", "json"); err != nil {
			return err
		}
		location, err := savepointArg(*place, args)
		if err != nil {
			return err
		}
		m, st, err := loadSavepoint(cmd.Context(), location)
		if err != nil {
			return err
		}
		defer st.Close()
		v, err := store.Verify(cmd.Context(), st, m)
		if err != nil {
			return fmt.Errorf("verifying savepoint %s: %w", location, err)
		}
		return reportVerified(cmd.OutOrStdout(), []verification{{Location: location, Job: m.Job, Epoch: m.Epoch, Verified: v}}, *format)
	}
	return cmd
}

func newSavepointDeleteCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "delete DIR|URL",
		Short: "Remove a savepoint",
		Long: `Delete removes the files of a savepoint: those that it names, and then itself. What else
lies in its folder stays.`,
		Example: `  weir savepoint delete ./savepoints/clickstream-17`,
		Args:    atMost(1),
	}
	place := addPlaceFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		location, err := savepointArg(*place, args)
		if err != nil {
			return err
		}
		m, st, err := loadSavepoint(cmd.Context(), location)
		if err != nil {
			return err
		}
		defer st.Close()
		// The manifest goes first: a savepoint without files would be a trap.
		keys := []string{manifestKey}
		m.Files(func(f *checkpoint.File) { keys = append(keys, f.Blob[strings.LastIndexByte(f.Blob, '#')+1:]) })
		for _, key := range keys {
			if err := st.Delete(cmd.Context(), key); err != nil {
				return fmt.Errorf("removing savepoint %s: %w", location, err)
			}
		}
		fmt.Fprintf(cmd.OutOrStdout(), "removed savepoint %s, epoch %d of job %s\n", location, m.Epoch, m.Job)
		return nil
	}
	return cmd
}
