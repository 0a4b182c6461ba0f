package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/checkpoint/store"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
	"github.com/weirflow/weir/state"
	"github.com/weirflow/weir/state/portable"
)

func newStateCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "state get|scan|export",
		Short: "Read the state of a job from a checkpoint or savepoint",
		Long: `State reads keyed state and timers out of a checkpoint or savepoint: without the program
that wrote them, whose types are stored beside the values, and without a running job.

An entry has operator, name, kind, key_group, key and value; windows have a namespace, maps
a map_key, timers a time, and what has a time to live has expires. Fields of structs have
their names. weir checkpoint inspect lists the states.`,
		Example: `  weir state scan --state ./state clickstream --limit 10
  weir state get --state ./state clickstream --operator sessions --key '"user-7"'
  weir state export --state ./state clickstream --operator sessions --name value --output sessions.parquet`,
		Args: cobra.ArbitraryArgs,
		RunE: unknownBelow,
	}
	cmd.AddCommand(newStateGetCmd(), newStateScanCmd(), newStateExportCmd())
	return cmd
}

// stateFlags say which entries of which checkpoint.
type stateFlags struct {
	location  *string
	savepoint string
	epoch     uint64
	operator  string
	name      string
}

func addStateFlags(cmd *cobra.Command) *stateFlags {
	f := &stateFlags{location: addStateFlag(cmd)}
	cmd.Flags().StringVar(&f.savepoint, "savepoint", "", "read the savepoint at this `DIR` or URL")
	cmd.Flags().Uint64Var(&f.epoch, "epoch", 0, "read the checkpoint of epoch `N` (default the newest)")
	cmd.Flags().StringVar(&f.operator, "operator", "", "only state of this operator, by `ID` or name")
	cmd.Flags().StringVar(&f.name, "name", "", "only the state of this `NAME`")
	return f
}

// open finds the checkpoint.
func (f *stateFlags) open(ctx context.Context, args []string) (*stateSource, error) {
	if f.savepoint != "" {
		if len(args) > 0 || f.epoch != 0 {
			return nil, misuse("a savepoint is of one job and epoch: --savepoint goes without a job and --epoch")
		}
		m, st, err := loadSavepoint(ctx, f.savepoint)
		if err != nil {
			return nil, err
		}
		local, _ := localPath(f.savepoint)
		return &stateSource{m, func(files []checkpoint.File) *store.Files { return store.FilesIn(st, files) }, local, func() { st.Close() }}, nil
	}
	job, done, err := openJob(ctx, *f.location, argAt(args, 0))
	if err != nil {
		return nil, err
	}
	m, err := job.Load(ctx, flow.Epoch(f.epoch))
	if err != nil {
		done()
		return nil, err
	}
	local, _ := localPath(*f.location)
	return &stateSource{m, job.Files, local, done}, nil
}

// choose is which states the flags mean; none is an error that lists those there are.
func (f *stateFlags) choose(m *checkpoint.Manifest) (chosen []stateLine, wanted func(operator, name string) bool, err error) {
	names := namesOf(m)
	wanted = func(operator, name string) bool {
		return (f.operator == "" || f.operator == operator || f.operator == names[operator]) && (f.name == "" || f.name == name)
	}
	all := statesOf(m)
	var has []string
	for _, s := range all {
		if wanted(s.Operator, s.Name) {
			chosen = append(chosen, s)
		}
		has = append(has, fmt.Sprintf("--operator %s --name %s", s.Operator, strconv.Quote(s.Name)))
	}
	switch {
	case len(all) == 0:
		err = fmt.Errorf("epoch %d of job %s has no keyed state", m.Epoch, m.Job)
	case len(chosen) == 0:
		err = fmt.Errorf("epoch %d of job %s has no such state, it has: %s", m.Epoch, m.Job, strings.Join(has, "; "))
	}
	return chosen, wanted, err
}

func newStateScanCmd() *cobra.Command {
	var limit int64
	cmd := &cobra.Command{
		Use:   "scan --state DIR [JOB]",
		Short: "Print the entries of states as JSON Lines",
		Example: `  weir state scan --state ./state clickstream --limit 10
  weir state scan --savepoint ./savepoints/clickstream-17 --operator sessions`,
		Args: atMost(1),
	}
	flags := addStateFlags(cmd)
	cmd.Flags().Int64Var(&limit, "limit", 0, "print `N` entries at most (default all)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return flags.print(cmd.Context(), cmd.OutOrStdout(), args, limit, nil)
	}
	return cmd
}

func newStateGetCmd() *cobra.Command {
	var key string
	cmd := &cobra.Command{
		Use:   "get --state DIR [JOB] --key KEY",
		Short: "Print the entries of one key as JSON Lines",
		Long: `Get prints what the states hold for one key. The key is JSON, as weir state scan shows it;
what is no JSON is taken as text.`,
		Example: `  weir state get --state ./state clickstream --key user-7
  weir state get --state ./state clickstream --operator sums --name sum --key '{"shop":3,"day":"mon"}'`,
		Args: atMost(1),
	}
	flags := addStateFlags(cmd)
	cmd.Flags().StringVar(&key, "key", "", "the `KEY`, in JSON or as text")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !cmd.Flags().Changed("key") {
			return misuse("name the key: --key KEY")
		}
		return flags.print(cmd.Context(), cmd.OutOrStdout(), args, 0, sameKey(key))
	}
	return cmd
}

// sameKey tells whether a key is the given one, whatever the order of its fields.
func sameKey(key string) func([]byte) bool {
	parse := func(b []byte) (v any, err error) {
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		err = d.Decode(&v)
		if err == nil && d.More() {
			err = errors.New("more than one value")
		}
		return v, err
	}
	want, err := parse([]byte(key))
	if err != nil {
		want = key
	}
	return func(got []byte) bool {
		v, err := parse(got)
		if err != nil {
			return false
		}
		// A key of text may be given without quotes, also if it looks like a number.
		return reflect.DeepEqual(v, want) || reflect.DeepEqual(v, any(key))
	}
}

// print writes entries as JSON Lines; match, if there is one, chooses by the key.
func (f *stateFlags) print(ctx context.Context, w io.Writer, args []string, limit int64, match func([]byte) bool) error {
	src, err := f.open(ctx, args)
	if err != nil {
		return err
	}
	defer src.close()
	_, wanted, err := f.choose(src.m)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, 64<<10)
	err = src.lines(ctx, wanted, limit, match, out)
	return errors.Join(err, out.Flush())
}

// lines writes entries as JSON Lines.
func (s *stateSource) lines(ctx context.Context, wanted func(operator, name string) bool, limit int64, match func([]byte) bool, out *bufio.Writer) error {
	type shown struct {
		json *entryJSON
		head []byte
	}
	states := map[*state.Stored]*shown{}
	var line []byte
	n := int64(0)
	return s.each(ctx, wanted, func(st *state.Stored, e portable.Entry) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		sh := states[st]
		if sh == nil {
			j, err := newEntryJSON(*st, codec.JSONPlain)
			if err != nil {
				return err
			}
			head, err := json.Marshal(struct {
				Operator string `json:"operator"`
				Name     string `json:"name"`
				Kind     string `json:"kind"`
			}{string(st.Descriptor.Operator), st.Descriptor.Name, st.Schema.Kind.String()})
			if err != nil {
				return err
			}
			head[len(head)-1] = ','
			sh = &shown{j, head}
			states[st] = sh
		}
		var key []byte
		var err error
		line, key, err = sh.json.append(append(line[:0], sh.head...), e)
		if err != nil || match != nil && !match(key) {
			return err
		}
		if _, err := out.Write(append(line, "}\n"...)); err != nil {
			return err
		}
		if n++; n == limit {
			return errStop
		}
		return nil
	})
}

func newStateExportCmd() *cobra.Command {
	var output, format string
	cmd := &cobra.Command{
		Use:   "export --state DIR [JOB] --output FILE",
		Short: "Write the entries of a state to a file of JSON Lines or Parquet",
		Long: `Export writes entries to a file. JSON Lines take any number of states; a Parquet file has
the columns of one: key_group, key, namespace or map_key, value, and time or expires. Structs
are columns within columns, maps are maps; what has no fixed shape is JSON in a string.

Without --output, or with -, it writes to the standard output.`,
		Example: `  weir state export --state ./state clickstream --operator sessions --output sessions.jsonl
  weir state export --state ./state clickstream --operator sums --name sum --output sums.parquet
  weir state export --savepoint ./savepoints/clickstream-17 --name sum --format parquet > sums.parquet`,
		Args: atMost(1),
	}
	flags := addStateFlags(cmd)
	cmd.Flags().StringVar(&output, "output", "-", "write to `FILE`")
	cmd.Flags().StringVar(&format, "format", "", "`FORMAT` jsonl or parquet (default by the file's name, jsonl where it says nothing)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if format == "" {
			format = "jsonl"
			if strings.HasSuffix(output, ".parquet") {
				format = "parquet"
			}
		}
		if err := oneOf("--format", format, "jsonl", "parquet"); err != nil {
			return err
		}
		src, err := flags.open(cmd.Context(), args)
		if err != nil {
			return err
		}
		defer src.close()
		chosen, wanted, err := flags.choose(src.m)
		if err != nil {
			return err
		}
		if format == "parquet" && len(chosen) > 1 {
			return misuse("a Parquet file holds one state, and these are %d: choose one with --operator and --name", len(chosen))
		}
		return toFile(output, cmd.OutOrStdout(), func(w io.Writer) error {
			if format == "parquet" {
				return src.parquet(cmd.Context(), wanted, &chosen[0], w)
			}
			out := bufio.NewWriterSize(w, 256<<10)
			return errors.Join(src.lines(cmd.Context(), wanted, 0, nil, out), out.Flush())
		})
	}
	return cmd
}

// toFile lets write fill a file, which is there only if all went well, or w for "-".
func toFile(name string, w io.Writer, write func(io.Writer) error) error {
	if name == "-" {
		return write(struct{ io.Writer }{w})
	}
	part := name + ".part"
	f, err := os.Create(part)
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	err = errors.Join(write(struct{ io.Writer }{f}), f.Close())
	if err == nil {
		err = os.Rename(part, name)
	}
	if err != nil {
		os.Remove(part) // the error is the one to tell
	}
	return err
}
