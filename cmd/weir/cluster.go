package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/api/client"
	"github.com/weirflow/weir/cluster/certs"
)

// cluster is how a command reaches one, and how it shows what it gets.
type cluster struct {
	context, address string
	format           string
	watch            bool
}

// Forms of output.
var tables = []string{"text", "wide", "json"}

// addClusterFlags adds the flags of a command that speaks to a cluster.
func addClusterFlags(cmd *cobra.Command) *cluster {
	c := &cluster{format: "text"}
	cmd.Flags().StringVar(&c.context, "context", os.Getenv("WEIR_CONTEXT"), "`NAME` of the cluster, see weir context (WEIR_CONTEXT)")
	cmd.Flags().StringVar(&c.address, "address", os.Getenv("WEIR_ADDRESS"), "`URL` of a server, in place of the context's (WEIR_ADDRESS)")
	return c
}

// formats adds -o text|wide|json.
func (c *cluster) formats(cmd *cobra.Command) *cluster {
	cmd.Flags().StringVarP(&c.format, "format", "o", "text", "`FORMAT` text, wide or json")
	return c
}

// watches adds -w.
func (c *cluster) watches(cmd *cobra.Command) *cluster {
	cmd.Flags().BoolVarP(&c.watch, "watch", "w", false, "show again what changes, until Ctrl-C; with -o json a line each time")
	return c
}

func (c *cluster) checkFormat() error { return oneOf("-o", c.format, tables...) }

// defaultAddress is where weir agent --dev listens.
const defaultAddress = "http://127.0.0.1:7470"

// connect makes a client of the cluster that flags, environment or the current context name.
func (c *cluster) connect() (*client.Client, error) {
	f, err := readContexts()
	if err != nil {
		return nil, err
	}
	at := clusterContext{Addresses: []string{defaultAddress}}
	if name := cmp.Or(c.context, f.Current); name != "" {
		found := f.find(name)
		if found == nil {
			return nil, misuse("there is no context %q (weir context list shows them)", name)
		}
		at = *found
	}
	if c.address != "" {
		at.Addresses = strings.Split(c.address, ",")
	}
	if file := os.Getenv("WEIR_TOKEN_FILE"); file != "" {
		at.TokenFile = file
	}
	return at.client()
}

// client makes a client of the context.
func (x *clusterContext) client() (*client.Client, error) {
	config := client.Config{Addresses: x.Addresses}
	files := certs.Files{CA: x.CA, Cert: x.Cert, Key: x.Key}
	if err := files.Check(); err != nil {
		return nil, err
	}
	if files.Given() {
		id, err := certs.Load(files, certs.Options{})
		if err != nil {
			return nil, err
		}
		config.TLS = id.ClientConfig(certs.Server, certs.Agent)
	}
	if x.TokenFile != "" {
		data, err := os.ReadFile(x.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("reading the token: %w", err)
		}
		if config.Token = strings.TrimSpace(string(data)); config.Token == "" || len(config.Token) > 1024 || strings.ContainsAny(config.Token, " \n") {
			return nil, fmt.Errorf("%s holds no token: weir token create prints one", x.TokenFile)
		}
	}
	cl, err := client.New(config)
	if err != nil {
		return nil, misuse("%w", err)
	}
	return cl, nil
}

// explained says in addition what to do where no server could be reached.
func explained(err error) error {
	if errors.Is(err, client.ErrUnreachable) {
		return fmt.Errorf("%w (is it running? weir context list shows where it is looked for)", err)
	}
	return err
}

// with runs a command that asks the cluster.
func (c *cluster) with(do func(ctx context.Context, cl *client.Client, cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := c.checkFormat(); err != nil {
			return err
		}
		cl, err := c.connect()
		if err != nil {
			return err
		}
		defer cl.CloseIdle()
		return explained(do(cmd.Context(), cl, cmd, args))
	}
}

// show writes a value as -o says: a table, or JSON.
func (c *cluster) show(w io.Writer, v any, table func(t *tabwriter.Writer, wide bool)) error {
	switch {
	case c.format == "json" && c.watch:
		e := json.NewEncoder(w) // a line
		e.SetEscapeHTML(false)
		return e.Encode(v)
	case c.format == "json":
		return writeJSON(w, v)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	table(t, c.format == "wide")
	return t.Flush()
}

// repeat shows what read gives; with -w again whenever it has changed. read gets the
// index of what was shown last, and says whether nothing more will come.
func (c *cluster) repeat(w io.Writer, read func(client.Wait) (index uint64, show func(io.Writer) error, last bool, err error)) error {
	index, show, last, err := read(client.Wait{})
	if err != nil {
		return err
	}
	for first := true; ; first = false {
		if err := c.again(w, first, show); err != nil {
			return err
		}
		if !c.watch || last {
			return nil
		}
		for shown := index; index <= shown; {
			// Where there is nothing there is no index: any is newer then.
			if index, show, last, err = read(client.Wait{Index: max(shown, 1)}); err != nil {
				return err
			}
		}
	}
}

// again shows once more: on a terminal in the same place.
func (c *cluster) again(w io.Writer, first bool, show func(io.Writer) error) error {
	f, ok := w.(*os.File)
	switch terminal := ok && term.IsTerminal(int(f.Fd())); {
	case c.format == "json":
	case terminal && c.watch:
		fmt.Fprint(w, "\x1b[H\x1b[2J")
	case !first:
		fmt.Fprintln(w)
	}
	return show(w)
}

// pause waits, unless the context ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// exactly wants n arguments, called what.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < n:
			return misuse("name %s: %s", what, cmd.UseLine())
		case len(args) > n:
			return misuse("%q is too much (%s --help)", args[n], cmd.CommandPath())
		}
		return nil
	}
}

// moment is a time of the API for people.
func moment(micro int64) string {
	if micro == 0 {
		return "-"
	}
	return time.UnixMicro(micro).UTC().Format(time.RFC3339)
}

// dash is a dash for nothing.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// done tells what a request has come to.
func (c *cluster) done(w io.Writer, about string, d api.Done) error {
	return c.show(w, d, func(t *tabwriter.Writer, _ bool) {
		text := about + ": " + d.Message
		if d.Location != "" {
			text += " to " + d.Location
		}
		fmt.Fprintln(t, text)
	})
}
