package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
)

func newAuditCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit --state DIR [JOB] | audit log",
		Short: "Print the books of a job, or with log who has done what to a cluster",
		Long: `Audit balances the books of all checkpoints of a job that are kept: on each exchange what
was sent is what was received or is under way, and what sinks were given is what they have
prepared. It prints the totals since the job began, by operator and edge.

Where something does not balance it names the first epoch and edge, and exits with 1.

The books are read from where the job's checkpoints are. The audit log of a cluster, which is about
users, is weir audit log.`,
		Example: `  weir audit --state ./state clickstream
  weir audit --state ./state clickstream -o json
  weir audit log`,
		Args: atMost(1),
	}
	cmd.AddCommand(newAuditLogCmd())
	location, format := addStateFlag(cmd), addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := oneOf("-o", *format, "text", "json"); err != nil {
			return err
		}
		job, done, err := openJob(cmd.Context(), *location, argAt(args, 0))
		if err != nil {
			return err
		}
		defer done()
		ms, err := job.List(cmd.Context())
		if err != nil {
			return err
		}
		if len(ms) == 0 {
			return fmt.Errorf("job %s has no checkpoint", job.ID())
		}
		a, wrong := audited(ms)
		if *format == "json" {
			err = writeJSON(cmd.OutOrStdout(), a)
		} else {
			err = printAudit(cmd.OutOrStdout(), &a)
		}
		return errors.Join(err, wrong)
	}
	return cmd
}

// audit is the books of a job for people and programs.
type audit struct {
	Job       string          `json:"job"`
	Epochs    []uint64        `json:"epochs"` // those that were balanced
	Balanced  bool            `json:"balanced"`
	Wrong     *auditWrong     `json:"wrong,omitempty"`
	Operators []auditOperator `json:"operators"`
	Edges     []auditEdge     `json:"edges"`
}

type auditWrong struct {
	Epoch uint64 `json:"epoch"`
	Where string `json:"where"`
	What  string `json:"what"`
}

// auditOperator has what an operator counts; -1 is what it does not.
type auditOperator struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Read      int64  `json:"read"`
	In        int64  `json:"in"`
	Out       int64  `json:"out"`
	Prepared  int64  `json:"prepared"`
	Committed int64  `json:"committed"`
}

type auditEdge struct {
	From     string `json:"from"`
	To       string `json:"to"`
	Port     int    `json:"port"`
	Index    int    `json:"index"`
	Sent     int64  `json:"sent"`
	Received int64  `json:"received"`
	Queued   int64  `json:"queued"`
	// Replayed is of the whole port.
	Replayed int64 `json:"replayed"`
}

// audited balances the manifests, oldest first, and takes the totals from the newest.
func audited(ms []*checkpoint.Manifest) (audit, error) {
	newest := ms[len(ms)-1]
	a := audit{Job: newest.Job, Epochs: []uint64{}, Balanced: true, Operators: []auditOperator{}, Edges: []auditEdge{}}
	var wrong error
	for _, m := range ms {
		a.Epochs = append(a.Epochs, m.Epoch)
		p, err := targetOf(m)
		if err != nil {
			return a, err
		}
		if err := checkpoint.Balance(flow.Epoch(m.Epoch), m.Tasks, p); err != nil && wrong == nil {
			wrong, a.Balanced = err, false
			if i, ok := errors.AsType[*checkpoint.ImbalanceError](err); ok {
				a.Wrong = &auditWrong{m.Epoch, i.Where, i.What}
			}
		}
	}
	p, err := targetOf(newest)
	if err != nil {
		return a, err
	}
	for _, c := range p.Chains {
		for i := range c.Operators {
			a.add(&c.Operators[i], i == 0, newest.Totals)
		}
	}
	return a, wrong
}

// add takes the lines about an operator, and about the edges to it if it is a head.
func (a *audit) add(o *checkpoint.TargetOperator, head bool, totals []checkpoint.Entry) {
	of := func(account checkpoint.Account, port, index int) int64 {
		n := int64(-1)
		for _, e := range totals {
			if e.Account == account && e.Operator == string(o.ID) && (port < 0 || e.Port == port) && (index < 0 || e.Index == index) {
				n = max(n, 0) + e.Records
			}
		}
		return n
	}
	a.Operators = append(a.Operators, auditOperator{string(o.ID), cmp.Or(o.Name, string(o.ID)), of(checkpoint.AccountRead, -1, -1),
		of(checkpoint.AccountIn, -1, -1), of(checkpoint.AccountOut, -1, -1), of(checkpoint.AccountPrepared, -1, -1),
		of(checkpoint.AccountCommitted, -1, -1)})
	for _, in := range o.Inputs {
		if !head {
			continue
		}
		port := int(in.Port)
		a.Edges = append(a.Edges, auditEdge{string(in.From), string(o.ID), port, in.Index, max(0, of(checkpoint.AccountSent, port, in.Index)),
			max(0, of(checkpoint.AccountReceived, port, in.Index)), max(0, of(checkpoint.AccountQueued, port, in.Index)),
			max(0, of(checkpoint.AccountReplayed, port, -1))})
	}
}

// targetOf finds the plan out from a manifest: which operators are heads of chains is
// what its tasks are called by, and all others are chained to the one that they read.
func targetOf(m *checkpoint.Manifest) (checkpoint.Target, error) {
	p := checkpoint.Target{MaxParallelism: m.MaxParallelism}
	g, err := graph.Unmarshal(m.Graph)
	if err != nil {
		return p, fmt.Errorf("the graph in epoch %d of job %s: %w", m.Epoch, m.Job, err)
	}
	chains := map[flow.OperatorID]int{} // position in p.Chains
	ready := func(o *graph.Operator) bool {
		for _, in := range o.Inputs {
			for _, e := range in.Edges {
				if _, ok := chains[e.From]; !ok {
					return false
				}
			}
		}
		return true
	}
	for left := g.Operators; len(left) > 0; {
		// Producers before consumers: each round takes those whose producers are known.
		var later []*graph.Operator
		for _, o := range left {
			if !ready(o) {
				later = append(later, o)
				continue
			}
			t := targetOperator(o)
			i := slices.IndexFunc(m.Tasks, func(t checkpoint.TaskSnapshot) bool { return t.Chain == string(o.ID) })
			switch {
			case i >= 0:
				chains[o.ID] = len(p.Chains)
				p.Chains = append(p.Chains, checkpoint.TargetChain{ID: flow.ChainID(o.ID), Parallelism: m.Tasks[i].Parallelism})
			case len(t.Inputs) == 0:
				return p, fmt.Errorf("epoch %d of job %s has no task of the source %s", m.Epoch, m.Job, o.ID)
			default:
				chains[o.ID] = chains[t.Inputs[0].From]
			}
			at := &p.Chains[chains[o.ID]]
			at.Operators = append(at.Operators, t)
		}
		if len(later) == len(left) {
			return p, fmt.Errorf("the graph in epoch %d of job %s has a cycle", m.Epoch, m.Job)
		}
		left = later
	}
	return p, nil
}

func targetOperator(o *graph.Operator) checkpoint.TargetOperator {
	t := checkpoint.TargetOperator{ID: o.ID, Name: o.Name, Source: o.Kind == graph.KindSource}
	for port, in := range o.Inputs {
		for i, e := range in.Edges {
			t.Inputs = append(t.Inputs, checkpoint.TargetInput{Port: flow.Port(port), Index: i, From: e.From, Outlet: e.Output,
				Exchange: checkpoint.Exchange(e.Exchange.Kind)})
		}
	}
	return t
}

func printAudit(w io.Writer, a *audit) error {
	names := map[string]string{}
	for _, o := range a.Operators {
		names[o.ID] = o.Name
	}
	fmt.Fprintf(w, "job %q: epochs %d", a.Job, a.Epochs)
	if a.Balanced {
		fmt.Fprint(w, ": the books balance\n\n")
	} else {
		fmt.Fprint(w, ": the books do NOT balance\n\n")
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	count := func(n int64) {
		if n < 0 {
			fmt.Fprint(t, "-\t")
		} else {
			fmt.Fprintf(t, "%d\t", n)
		}
	}
	fmt.Fprintln(t, "read\tin\tout\tprepared\tcommitted\t  operator")
	for _, o := range a.Operators {
		for _, n := range []int64{o.Read, o.In, o.Out, o.Prepared, o.Committed} {
			count(n)
		}
		fmt.Fprintf(t, "  %s\n", o.Name)
	}
	fmt.Fprintln(t, "\t\t\t\t\t")
	fmt.Fprintln(t, "sent\treceived\treplayed\tunder way\t\t  edge")
	for _, e := range a.Edges {
		fmt.Fprintf(t, "%d\t%d\t%d\t%d\t\t  %s → %s\n", e.Sent, e.Received, e.Replayed, e.Queued, names[e.From], names[e.To])
	}
	return t.Flush()
}
