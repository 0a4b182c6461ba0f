package main

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirflow/weir/web/token"
)

func newTokenCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token create|list|revoke",
		Short: "Say who may use a cluster's HTTP API",
		Long: `Token changes the file that servers know tokens by (token_file). It holds no tokens but
their hashes; a token is shown once, when it is made. Servers read the file again when it
changes; each needs the same one.

Roles: read looks at all there is; submit runs programs, too; admin drains agents, too.`,
		Example: `  weir token create ada --role submit --file tokens.json > ada.token
  weir token list --file tokens.json
  weir token revoke ada --file tokens.json`,
		Args: cobra.ArbitraryArgs,
		RunE: unknownBelow,
	}
	cmd.AddCommand(newTokenCreateCmd(), newTokenListCmd(), newTokenRevokeCmd())
	return cmd
}

func addTokenFile(cmd *cobra.Command) *string {
	return cmd.Flags().String("file", "tokens.json", "`FILE` of hashed tokens")
}

func newTokenCreateCmd() *cobra.Command {
	var role string
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make a token and print it, once", Args: exactly(1, "who it is for"),
		Example: "  weir token create ada --role submit --file tokens.json > ada.token",
	}
	file := addTokenFile(cmd)
	cmd.Flags().StringVar(&role, "role", "read", "`ROLE` read, submit or admin")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r, err := token.ParseRole(role)
		if err != nil {
			return misuse("--role: %w", err)
		}
		text, err := token.Create(*file, args[0], r, time.Now())
		if err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), text)
		return nil
	}
	return cmd
}

func newTokenListCmd() *cobra.Command {
	c := &cluster{}
	cmd := &cobra.Command{Use: "list", Short: "List who has a token", Args: atMost(0), Example: "  weir token list --file tokens.json -o json"}
	file := addTokenFile(cmd)
	c.formats(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := c.checkFormat(); err != nil {
			return err
		}
		all, err := token.List(*file)
		if err != nil {
			return err
		}
		type line struct {
			Name    string     `json:"name"`
			Role    token.Role `json:"role"`
			Created time.Time  `json:"created"`
		}
		lines := []line{}
		for _, e := range all {
			lines = append(lines, line{e.Name, e.Role, e.Created})
		}
		return c.show(cmd.OutOrStdout(), lines, func(t *tabwriter.Writer, _ bool) {
			fmt.Fprintln(t, "NAME\tROLE\tCREATED")
			for _, l := range lines {
				fmt.Fprintf(t, "%s\t%s\t%s\n", l.Name, l.Role, l.Created.Format(time.RFC3339))
			}
		})
	}
	return cmd
}

func newTokenRevokeCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "revoke NAME", Short: "Make a token of no use", Args: exactly(1, "whose token"), Example: "  weir token revoke ada --file tokens.json"}
	file := addTokenFile(cmd)
	cmd.RunE = func(_ *cobra.Command, args []string) error { return token.Revoke(*file, args[0]) }
	return cmd
}
