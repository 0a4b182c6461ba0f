package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/api/client"
	"github.com/weirflow/weir/cluster/gossip"
)

func newGossipCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "gossip keys",
		Short: "Change the key that gossip is sealed with",
		Args:  cobra.ArbitraryArgs, RunE: unknownBelow,
		Example: `  weir gossip keys list
  weir gossip keys create > new.key`,
	}
	keys := &cobra.Command{
		Use:   "keys list|create|add|use|remove",
		Short: "Change the key that gossip is sealed with",
		Long: `Keys changes the key by which the agents of a running cluster seal what they tell each other
(gossip.key_file), in three steps: a new one is added everywhere, then used everywhere, and then the
old one is removed. Each step asks all agents that are here, which change their files too. An agent
that is away meanwhile needs the new file before it can come back.

A key is shown once, when it is made; after that it is called by the beginning of its hash.
It takes a token with the role admin.`,
		Example: `  weir gossip keys create > new.key
  weir gossip keys add new.key
  weir gossip keys use 3f5c0e1d2b4a6978
  weir gossip keys remove 09c1f7aa53d2e846
  weir gossip keys list -o wide`,
		Args: cobra.ArbitraryArgs, RunE: unknownBelow,
	}
	keys.AddCommand(newKeysListCmd(), newKeysCreateCmd(), newKeysAddCmd(),
		newKeysActCmd("use", "Have all agents seal with a key that all have", (*client.Client).UseGossipKey),
		newKeysActCmd("remove", "Have all agents forget a key that none uses", (*client.Client).RemoveGossipKey))
	cmd.AddCommand(keys)
	return cmd
}

func newKeysListCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the names of the keys, and who has them", Args: atMost(0), Example: "  weir gossip keys list -o wide"}
	c := addClusterFlags(cmd).formats(cmd)
	cmd.RunE = c.with(func(ctx context.Context, cl *client.Client, cmd *cobra.Command, _ []string) error {
		l, err := cl.GossipKeys(ctx)
		if err != nil {
			return err
		}
		return c.showKeys(cmd.OutOrStdout(), l)
	})
	return cmd
}

func newKeysCreateCmd() *cobra.Command {
	return &cobra.Command{
		Use: "create", Short: "Make a key and print it", Args: atMost(0), Example: "  weir gossip keys create > new.key",
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), base64.StdEncoding.EncodeToString(gossip.NewKey()))
			return err
		},
	}
}

func newKeysAddCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "add FILE", Short: "Have all agents open what is sealed with a key, too", Args: exactly(1, "a file with the key, or - for the standard input"),
		Example: `  weir gossip keys add new.key`,
	}
	c := addClusterFlags(cmd).formats(cmd)
	cmd.RunE = c.with(func(ctx context.Context, cl *client.Client, cmd *cobra.Command, args []string) error {
		key, err := readKey(cmd.InOrStdin(), args[0])
		if err != nil {
			return err
		}
		l, err := cl.AddGossipKey(ctx, key)
		if err != nil {
			return err
		}
		return c.showKeys(cmd.OutOrStdout(), l)
	})
	return cmd
}

// readKey reads a file that holds one key. What is in it is in no error.
func readKey(in io.Reader, name string) ([]byte, error) {
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("reading the key: %w", err)
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, 4096))
	if err != nil {
		return nil, fmt.Errorf("reading the key: %w", err)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(data)))
	if err != nil || len(key) != gossip.KeySize {
		return nil, fmt.Errorf("%s holds no key of %d bytes in base64 (weir gossip keys create makes one)", name, gossip.KeySize)
	}
	return key, nil
}

func newKeysActCmd(use, text string, do func(*client.Client, context.Context, string) (api.GossipKeyList, error)) *cobra.Command {
	cmd := &cobra.Command{Use: use + " NAME", Short: text, Args: exactly(1, "a key, see weir gossip keys list"), Example: "  weir gossip keys " + use + " 3f5c0e1d2b4a6978"}
	c := addClusterFlags(cmd).formats(cmd)
	cmd.RunE = c.with(func(ctx context.Context, cl *client.Client, cmd *cobra.Command, args []string) error {
		l, err := do(cl, ctx, args[0])
		if err != nil {
			return err
		}
		return c.showKeys(cmd.OutOrStdout(), l)
	})
	return cmd
}

func (c *cluster) showKeys(w io.Writer, l api.GossipKeyList) error {
	err := c.show(w, l, func(t *tabwriter.Writer, wide bool) {
		fmt.Fprint(t, "KEY\tAGENTS\tIN USE BY")
		if wide {
			fmt.Fprint(t, "\tWHICH\tUSED BY")
		}
		fmt.Fprintln(t)
		for _, k := range l.Items {
			fmt.Fprintf(t, "%s\t%d\t%d", k.Name, len(k.Agents), len(k.Users))
			if wide {
				fmt.Fprintf(t, "\t%s\t%s", dash(strings.Join(k.Agents, ",")), dash(strings.Join(k.Users, ",")))
			}
			fmt.Fprintln(t)
		}
	})
	errs := []error{err}
	for _, p := range l.Problems {
		errs = append(errs, fmt.Errorf("agent %s: %s", p.Agent, p.Error))
	}
	return errors.Join(errs...)
}
