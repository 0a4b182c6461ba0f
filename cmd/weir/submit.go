package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/api/client"
	"github.com/weirflow/weir/internal/node/config"
)

// submission is a job to be handed in.
type submission struct {
	spec         api.JobSpec
	env, secrets []string
	memory       string
	autoscale    string
	dry, wait    bool
}

func newSubmitCmd() *cobra.Command {
	s := &submission{}
	cmd := &cobra.Command{
		Use:   "submit PROGRAM|PKG [flags] [-- ARGS]",
		Short: "Have a cluster run a pipeline's program",
		Long: `Submit brings a program whose main function is run.Main to a cluster and has it run there. A
Go package or file is built first, without cgo, for this system unless GOOS and GOARCH say another.
A program that the cluster has already is not sent again.

What comes after -- are the program's own arguments. A job of the same name is replaced by a
new version.

Secrets are named, not sent: --secret PASSWORD=db-password gives the program the variable
PASSWORD with what the agents keep as db-password.

With --autoscale 1..8 the cluster measures the job and gives it the parallelism that it needs, from
1 to 8; with --autoscale 1..8,dry-run it only says what it would do. See weir job status and events.

With --wait the command ends with the job: exit code 0 if it has finished or was stopped, 1 if it
has failed or was cancelled. Ctrl-C ends the waiting, not the job.`,
		Example: `  weir submit ./examples/wordcount --parallelism 4 -- --input /data/texts --output /data/counts
  weir submit ./bin/clickstream --job clicks --state s3://bucket/weir --secret AWS_SECRET_ACCESS_KEY=s3-key
  weir submit ./bin/clickstream --job clicks --autoscale 2..16,utilization=0.6,down-after=10m
  weir submit ./examples/wordcount --dry-run
  weir submit ./examples/clickstream --job again --state s3://bucket/weir --from s3://bucket/saved/clicks-1
  weir submit ./examples/wordcount --wait`,
		Args: cobra.ArbitraryArgs, // program knows what must come before --
	}
	c := addClusterFlags(cmd).formats(cmd)
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&s.spec.Name, "job", "", "`NAME` of the job; that of the program, if it is not given")
	fs.IntVar(&s.spec.Parallelism, "parallelism", 1, "`N` tasks for each chain")
	fs.StringVar(&s.autoscale, "autoscale", "", "let the cluster choose the parallelism: "+strings.Replace(autoscaleForm, "MIN..MAX", "`MIN..MAX`", 1))
	fs.StringVar(&s.spec.State, "state", "", "`DIR` or URL for checkpoints, the same on all agents")
	fs.StringVar(&s.spec.From, "from", "", "start from the savepoint at `DIR` or URL, if the job has no checkpoint of its own")
	fs.IntVar(&s.spec.SlotsPerExecutor, "slots-per-executor", 0, "`N` slots at most of one executor; 0 is as many as there are")
	fs.StringVar(&s.memory, "memory", "0", "`SIZE` of each executor, such as 512MB; 0 is no limit")
	fs.IntVar(&s.spec.CPUs, "cpus", 0, "`N` CPUs of each executor; 0 is no limit")
	fs.StringVar(&s.spec.Zone, "zone", "", "run in the `ZONE` only")
	fs.StringVar(&s.spec.Spread, "spread", "", "`HOW` executors are placed: spread, pack or zone")
	fs.StringArrayVar(&s.env, "env", nil, "`NAME=VALUE` for the program's environment; may be repeated")
	fs.StringArrayVar(&s.secrets, "secret", nil, "`NAME=SECRET` a variable with what agents keep under that name; may be repeated")
	fs.BoolVar(&s.dry, "dry-run", false, "only say what would happen")
	fs.BoolVar(&s.wait, "wait", false, "wait until the job has ended")
	cmd.RunE = c.with(func(ctx context.Context, cl *client.Client, cmd *cobra.Command, args []string) error {
		return s.run(ctx, c, cl, cmd, args)
	})
	return cmd
}

func (s *submission) run(ctx context.Context, c *cluster, cl *client.Client, cmd *cobra.Command, args []string) error {
	target, own, err := program(cmd, args)
	if err != nil {
		return err
	}
	if err := s.complete(own, cmd.Flags().Changed("parallelism")); err != nil {
		return err
	}
	b, err := find(target)
	if err != nil {
		return err
	}
	// An agent has no C library to count on.
	if err := os.Setenv("CGO_ENABLED", "0"); err != nil {
		return fmt.Errorf("building %s: %w", target, err)
	}
	if err := b.build(ctx, cmd.ErrOrStderr()); err != nil {
		return err
	}
	defer b.release()
	if s.spec.Name == "" {
		s.spec.Name = strings.TrimSuffix(filepath.Base(b.path), filepath.Ext(b.path))
	}
	bytes, err := s.hash(b.path)
	if err != nil {
		return err
	}
	_, err = cl.Artifact(ctx, s.spec.Artifact)
	switch e, ok := errors.AsType[*api.Error](err); {
	case err == nil:
	case !ok || e.Code != api.CodeNotFound:
		return err
	case s.dry:
		fmt.Fprintf(cmd.ErrOrStderr(), "the program would be uploaded: %s\n", size(bytes))
	default:
		if _, err := cl.Upload(ctx, s.spec.Artifact, bytes, func() (io.ReadCloser, error) { return os.Open(b.path) }); err != nil {
			return err
		}
	}
	b.release()
	done, err := cl.Submit(ctx, s.spec, s.dry)
	if err != nil {
		return err
	}
	if err := c.show(cmd.OutOrStdout(), done, func(t *tabwriter.Writer, _ bool) {
		fmt.Fprintln(t, done.Job)
	}); err != nil {
		return err
	}
	if c.format != "json" {
		for _, n := range done.Notes {
			fmt.Fprintf(cmd.ErrOrStderr(), "version %d: %s\n", done.Version, n)
		}
	}
	if !s.wait || s.dry {
		return nil
	}
	return waitForJob(ctx, cl, cmd.ErrOrStderr(), done)
}

// complete puts what flags say into the spec. A job whose parallelism is chosen begins with the
// least, unless it is given.
func (s *submission) complete(own []string, given bool) (err error) {
	s.spec.Args = own
	if s.spec.Autoscale, err = parseAutoscale(s.autoscale); err != nil {
		return err
	}
	if a := s.spec.Autoscale; a != nil && !given {
		s.spec.Parallelism = a.Min
	}
	memory, err := config.ParseSize(s.memory)
	if err != nil {
		return misuse("--memory: %w", err)
	}
	s.spec.Memory = int64(memory)
	if s.spec.Env, err = variables("--env", s.env); err != nil {
		return err
	}
	s.spec.Secrets, err = variables("--secret", s.secrets)
	return err
}

func variables(flag string, pairs []string) (map[string]string, error) {
	all := map[string]string{}
	for _, p := range pairs {
		name, value, ok := strings.Cut(p, "=")
		if !ok || name == "" {
			return nil, misuse("%s %q must be NAME=...", flag, p)
		}
		if _, twice := all[name]; twice {
			return nil, misuse("%s gives %s twice", flag, name)
		}
		all[name] = value
	}
	return all, nil
}

// hash finds out by what the cluster knows the program.
func (s *submission) hash(name string) (int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, fmt.Errorf("reading the program: %w", err)
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, f)
	if err != nil {
		return 0, fmt.Errorf("reading the program: %w", err)
	}
	s.spec.Artifact = "sha256:" + hex.EncodeToString(sum.Sum(nil))
	return n, nil
}

// waitForJob returns when the job has ended, and tells on the way what it comes to.
func waitForJob(ctx context.Context, cl *client.Client, w io.Writer, done api.Submitted) error {
	var told string
	for wait := (client.Wait{}); ; {
		j, err := cl.Job(ctx, done.Job, wait)
		if err != nil {
			return err
		}
		if j.Spec.Version > done.Version {
			return fmt.Errorf("job %q was replaced by version %d", done.Job, j.Spec.Version)
		}
		text := string(j.Status)
		if j.Reason != "" {
			text += ": " + j.Reason
		}
		if text != told {
			fmt.Fprintf(w, "job %q %s\n", done.Job, text)
			told = text
		}
		switch {
		case j.Status == api.JobFailed || j.Status == api.JobCancelled:
			return &exitError{code: 1} // it was told
		case j.Status.Ended():
			return nil
		}
		wait.Index = max(j.Index, 1)
	}
}
