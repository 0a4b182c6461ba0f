package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirflow/weir/cluster/certs"
)

func newTLSCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tls ca|cert",
		Short: "Make a cluster's CA and certificates",
		Long: `TLS makes the certificates by which agents, servers and users of a cluster know
each other: a CA once, and from it a certificate for each host and each user. A
certificate says in which role it is good; the files with keys can be read by their owner
only, and nothing is overwritten.

The key of the CA makes anybody a server: keep it away from the cluster's hosts.`,
		Example: `  weir tls ca --dir pki
  weir tls cert --dir pki --role server --name host1 --host 10.0.0.1 --host host1.internal
  weir tls cert --dir pki --role client --name ada --ttl 90d`,
		Args: cobra.ArbitraryArgs,
		RunE: unknownBelow,
	}
	cmd.AddCommand(newTLSCACmd(), newTLSCertCmd())
	return cmd
}

func newTLSCACmd() *cobra.Command {
	var dir, name, ttl string
	cmd := &cobra.Command{
		Use: "ca", Short: "Make a CA: ca.pem and ca-key.pem", Args: atMost(0),
		Example: "  weir tls ca --dir pki --name prod --ttl 3650d",
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := parseDays(ttl)
			if err != nil {
				return err
			}
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return err
			}
			_, pair, err := certs.NewAuthority(name, time.Now(), d)
			if err != nil {
				return err
			}
			cert, key := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca-key.pem")
			if err := pair.Write(cert, key); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s goes to every host and user; %s stays with you\n", cert, key)
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", ".", "`DIR` for the files")
	cmd.Flags().StringVar(&name, "name", "weir", "`NAME` of the CA")
	cmd.Flags().StringVar(&ttl, "ttl", "3650d", "`TIME` it is good for")
	return cmd
}

func newTLSCertCmd() *cobra.Command {
	var dir, name, role, ttl string
	var hosts []string
	cmd := &cobra.Command{
		Use: "cert", Short: "Make a certificate: NAME.pem and NAME-key.pem", Args: atMost(0),
		Long: `Cert makes a certificate from the CA in the directory. The role is one of

  server  an agent that takes part in raft
  agent   one that does not
  client  a user or a program that asks the HTTP API; it needs a token too

Agents sign the certificates of the executors that they start, which are good for one job.

Weir compares roles and not hosts; --host is for other clients of the HTTP API, such as
browsers.`,
		Example: `  weir tls cert --dir pki --role agent --name host4 --host 10.0.0.4
  weir tls cert --dir pki --role client --name ada --ttl 90d`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := parseDays(ttl)
			if err != nil {
				return err
			}
			r, err := certs.ParseRole(role)
			if err != nil {
				return misuse("--role: %w", err)
			}
			if r == certs.Executor {
				return misuse("--role executor: agents make those of the executors that they start")
			}
			if !contextForm.MatchString(name) || name == "ca" {
				return misuse("--name %q: it must be of letters, digits, dashes, dots and underscores, for the files are called by it, and not ca", name)
			}
			ca, err := certs.LoadAuthority(filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca-key.pem"))
			if err != nil {
				return fmt.Errorf("%w (weir tls ca makes one)", err)
			}
			pair, err := ca.Issue(certs.Wanted{Role: r, Name: name, Hosts: hosts, TTL: d}, time.Now())
			if err != nil {
				return err
			}
			cert, key := filepath.Join(dir, name+".pem"), filepath.Join(dir, name+"-key.pem")
			if err := pair.Write(cert, key); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s and %s, role %s\n", cert, key, r)
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", ".", "`DIR` of the CA, and for the files")
	cmd.Flags().StringVar(&role, "role", "", "`ROLE` server, agent or client")
	cmd.Flags().StringVar(&name, "name", "", "`NAME` of the host or user")
	cmd.Flags().StringArrayVar(&hosts, "host", nil, "`HOST` or address; may be repeated")
	cmd.Flags().StringVar(&ttl, "ttl", "365d", "`TIME` it is good for")
	return cmd
}

// parseDays reads a time that may be in days.
func parseDays(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n > 0 && n <= 100*365 {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	} else if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return d, nil
	}
	return 0, misuse("--ttl %q must be a positive time with its unit, such as 12h or 365d", s)
}
