package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// clusterContext is a cluster that the user knows.
type clusterContext struct {
	Name      string   `yaml:"name" json:"name"`
	Addresses []string `yaml:"addresses" json:"addresses"`
	CA        string   `yaml:"ca,omitempty" json:"ca,omitempty"`
	Cert      string   `yaml:"cert,omitempty" json:"cert,omitempty"`
	Key       string   `yaml:"key,omitempty" json:"key,omitempty"`
	TokenFile string   `yaml:"token_file,omitempty" json:"token_file,omitempty"`
}

// contexts is the file of them. It holds no secrets, only where they are.
type contexts struct {
	Current  string           `yaml:"current,omitempty"`
	Contexts []clusterContext `yaml:"contexts"`
}

func (f *contexts) find(name string) *clusterContext {
	i := slices.IndexFunc(f.Contexts, func(x clusterContext) bool { return x.Name == name })
	if i < 0 {
		return nil
	}
	return &f.Contexts[i]
}

func contextsFile() (string, error) {
	if file := os.Getenv("WEIR_CONFIG"); file != "" {
		return file, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("finding a place for contexts: %w; set WEIR_CONFIG", err)
	}
	return filepath.Join(dir, "weir", "contexts.yaml"), nil
}

// readContexts reads the file; without one there are no contexts.
func readContexts() (f contexts, err error) {
	name, err := contextsFile()
	if err != nil {
		if os.Getenv("WEIR_ADDRESS") != "" {
			return f, nil // no home is needed
		}
		return f, err
	}
	data, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return f, fmt.Errorf("reading contexts: %w", err)
	}
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return f, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

func writeContexts(f contexts) error {
	name, err := contextsFile()
	if err != nil {
		return err
	}
	data, err := yaml.Marshal(f)
	if err != nil {
		return fmt.Errorf("writing contexts: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return fmt.Errorf("writing contexts: %w", err)
	}
	temporary := name + ".new"
	if err := os.WriteFile(temporary, data, 0o600); err != nil {
		return fmt.Errorf("writing contexts: %w", err)
	}
	if err := os.Rename(temporary, name); err != nil {
		return fmt.Errorf("writing contexts: %w", err)
	}
	return nil
}

func newContextCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "context list|use|set|remove",
		Short: "Name clusters, and say which one commands are for",
		Long: `Context keeps the clusters that you know, in ~/.config/weir/contexts.yaml or the file
that WEIR_CONFIG names: the addresses of their servers, and where certificate and token
are. Without any, commands look for an agent on this host.`,
		Example: `  weir context set test --address http://127.0.0.1:7470
  weir context set prod --address https://10.0.0.1:7470,https://10.0.0.2:7470 \
      --ca ca.pem --cert ada.pem --key ada-key.pem --token-file ada.token
  weir context use prod
  weir context list`,
		Args: cobra.ArbitraryArgs,
		RunE: unknownBelow,
	}
	cmd.AddCommand(newContextListCmd(), newContextUseCmd(), newContextSetCmd(), newContextRemoveCmd())
	return cmd
}

func newContextListCmd() *cobra.Command {
	c := &cluster{}
	cmd := &cobra.Command{Use: "list", Short: "List the clusters that are named", Args: atMost(0), Example: "  weir context list -o json"}
	c.formats(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := c.checkFormat(); err != nil {
			return err
		}
		f, err := readContexts()
		if err != nil {
			return err
		}
		type line struct {
			clusterContext
			Current bool `json:"current"`
		}
		lines := []line{}
		for _, x := range f.Contexts {
			lines = append(lines, line{x, x.Name == f.Current})
		}
		return c.show(cmd.OutOrStdout(), lines, func(t *tabwriter.Writer, wide bool) {
			if len(lines) == 0 {
				fmt.Fprintf(t, "no contexts: commands look for an agent at %s\n", defaultAddress)
				return
			}
			fmt.Fprint(t, "CURRENT\tNAME\tADDRESSES")
			if wide {
				fmt.Fprint(t, "\tCA\tCERTIFICATE\tTOKEN FILE")
			}
			fmt.Fprintln(t)
			for _, l := range lines {
				mark := ""
				if l.Current {
					mark = "*"
				}
				fmt.Fprintf(t, "%s\t%s\t%s", mark, l.Name, strings.Join(l.Addresses, ","))
				if wide {
					fmt.Fprintf(t, "\t%s\t%s\t%s", dash(l.CA), dash(l.Cert), dash(l.TokenFile))
				}
				fmt.Fprintln(t)
			}
		})
	}
	return cmd
}

func newContextUseCmd() *cobra.Command {
	return &cobra.Command{
		Use: "use NAME", Short: "Have commands speak to a cluster", Args: exactly(1, "a context"), Example: "  weir context use prod",
		RunE: func(_ *cobra.Command, args []string) error {
			f, err := readContexts()
			if err != nil {
				return err
			}
			if f.find(args[0]) == nil {
				return misuse("there is no context %q (weir context list shows them)", args[0])
			}
			f.Current = args[0]
			return writeContexts(f)
		},
	}
}

var contextForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

func newContextSetCmd() *cobra.Command {
	var x clusterContext
	cmd := &cobra.Command{
		Use: "set NAME [flags]", Short: "Name a cluster, or change what is known of it", Args: exactly(1, "a context"),
		Example: `  weir context set test --address http://127.0.0.1:7470
  weir context set prod --token-file ada.token`,
	}
	fs := cmd.Flags()
	fs.StringSliceVar(&x.Addresses, "address", nil, "`URLS` of servers")
	fs.StringVar(&x.CA, "ca", "", "`FILE` with the cluster's CA")
	fs.StringVar(&x.Cert, "cert", "", "`FILE` with a certificate of the role client")
	fs.StringVar(&x.Key, "key", "", "`FILE` with its key")
	fs.StringVar(&x.TokenFile, "token-file", "", "`FILE` with a token")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !contextForm.MatchString(args[0]) {
			return misuse("%q is no name: it must be of letters, digits, dashes, dots and underscores", args[0])
		}
		f, err := readContexts()
		if err != nil {
			return err
		}
		old := f.find(args[0])
		if old == nil {
			f.Contexts = append(f.Contexts, clusterContext{Name: args[0], Addresses: []string{defaultAddress}})
			old = &f.Contexts[len(f.Contexts)-1]
		}
		if cmd.Flags().Changed("address") {
			old.Addresses = x.Addresses
		}
		for flag, file := range map[string]struct{ from, to *string }{"ca": {&x.CA, &old.CA}, "cert": {&x.Cert, &old.Cert},
			"key": {&x.Key, &old.Key}, "token-file": {&x.TokenFile, &old.TokenFile}} {
			if !cmd.Flags().Changed(flag) {
				continue
			}
			*file.to = ""
			if *file.from != "" {
				if *file.to, err = filepath.Abs(*file.from); err != nil {
					return err
				}
			}
		}
		if _, err := old.client(); err != nil { // looks at addresses and files
			return err
		}
		if f.Current == "" {
			f.Current = args[0]
		}
		return writeContexts(f)
	}
	return cmd
}

func newContextRemoveCmd() *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Short: "Forget a cluster; nothing happens to it", Args: exactly(1, "a context"), Example: "  weir context remove test",
		RunE: func(_ *cobra.Command, args []string) error {
			f, err := readContexts()
			if err != nil {
				return err
			}
			if f.find(args[0]) == nil {
				return misuse("there is no context %q (weir context list shows them)", args[0])
			}
			f.Contexts = slices.DeleteFunc(f.Contexts, func(x clusterContext) bool { return x.Name == args[0] })
			if f.Current == args[0] {
				f.Current = ""
			}
			return writeContexts(f)
		},
	}
}
