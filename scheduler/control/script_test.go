package control

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/weirflow/weir/api"
)

// TestScripts runs the stories in testdata. Lines of a "do" are:
//
//	at 5s                     the clock; nodes that are not silent are heard of then
//	node ID SLOTS [zone=Z] [version=V]   it registers, for the first time or again
//	silent NODE.., dead NODE, leaves NODE, drain NODE [by=10s], ready NODE
//	job NAME SLOTS [per=N] [spread=P] [zone=Z]   submitted, or a new version
//	wish NAME WISH, scale NAME SLOTS
//	up ALLOC..                the executors run
//	failed ALLOC EXIT.., ended ALLOC..
//	report NAME STATUS [REASON..]   by the job's coordinator
//
// Then it decides, prints the decision, and does it. Each time it looks whether another leader, which finds
// any first part of it done, comes to the same, and whether nothing is left to do then.
func TestScripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			s := &script{c: &Cluster{Now: time.Hour.Microseconds(), Version: "1.4.0"}, silent: map[api.NodeID]bool{}}
			datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
				switch d.Cmd {
				case "do":
					for line := range strings.Lines(d.Input) {
						if err := s.line(strings.Fields(line)); err != nil {
							d.Fatalf(t, "%s: %s", line, err)
						}
					}
					return s.decide(t, d)
				case "state":
					return dump(s.c)
				}
				d.Fatalf(t, "unknown command")
				return ""
			})
		})
	}
}

type script struct {
	c      *Cluster
	silent map[api.NodeID]bool
}

func (s *script) decide(t *testing.T, d *datadriven.TestData) string {
	before := clone(s.c)
	dec := Decide(s.c, Options{})
	done := clone(before)
	done.Apply(&dec)
	if got, want := dump(done), dump(s.c); got != want {
		d.Fatalf(t, "%s\nmakes\n%s\nand not\n%s", &dec, got, want)
	}
	want := dump(settled(t, done))
	for nodes := range len(dec.Nodes) + 1 {
		for jobs := range len(dec.Jobs) + 1 {
			if jobs > 0 && nodes < len(dec.Nodes) {
				continue
			}
			c := clone(before)
			c.Apply(&Decision{Nodes: dec.Nodes[:nodes], Jobs: dec.Jobs[:jobs]})
			rest := Decide(c, Options{})
			if got := dump(settled(t, c)); got != want {
				d.Fatalf(t, "after %d nodes and %d jobs of\n%s\nanother leader decides\n%s\nand comes to\n%s\nnot to\n%s", nodes, jobs, &dec, &rest, got, want)
			}
		}
	}
	out := dec.String()
	if dec.Next > 0 {
		lease := int64(1<<62 - 1)
		for _, n := range s.c.Nodes {
			if !gone(n.Status) {
				lease = min(lease, n.Heard+(3*time.Second).Microseconds()+1)
			}
		}
		if dec.Next != lease {
			out += fmt.Sprintf("again in %s\n", time.Duration(dec.Next-s.c.Now)*time.Microsecond)
		}
	}
	if out == "" {
		return "nothing\n"
	}
	return out
}

// settled decides until nothing is left, which may only be reasons.
func settled(t *testing.T, c *Cluster) *Cluster {
	t.Helper()
	c = clone(c)
	for range 5 {
		d := Decide(c, Options{})
		if d.Empty() {
			return c
		}
		if len(d.Nodes) > 0 || slices.ContainsFunc(d.Jobs, func(j JobChange) bool { return !j.Minor }) {
			t.Fatalf("something is left to do:\n%s", &d)
		}
	}
	t.Fatalf("reasons change for ever:\n%s", dump(c))
	return nil
}

func (s *script) line(f []string) error {
	switch cmd, args := f[0], f[1:]; cmd {
	case "at":
		d, err := time.ParseDuration(args[0])
		s.c.Now = (time.Hour + d).Microseconds()
		for _, n := range s.c.Nodes {
			if !s.silent[n.ID] && !gone(n.Status) {
				n.Heard = s.c.Now
			}
		}
		return err
	case "node":
		return s.node(args)
	case "silent", "dead", "leaves", "drain", "ready":
		return s.nodeSays(cmd, args)
	case "job":
		return s.job(args)
	case "wish", "scale", "report":
		return s.jobSays(cmd, args)
	case "up", "ended", "failed":
		return s.allocSays(cmd, args)
	}
	return fmt.Errorf("unknown")
}

func (s *script) node(args []string) error {
	slots, err := strconv.Atoi(args[1])
	var n *Node
	for _, old := range s.c.Nodes {
		if string(old.ID) == args[0] {
			n = old
		}
	}
	if n == nil {
		n = &Node{}
		s.c.Nodes = append(s.c.Nodes, n)
	}
	*n = Node{Node: api.Node{ID: api.NodeID(args[0]), Slots: slots, Version: "1.4.0"}, Status: api.NodeReady, Heard: s.c.Now}
	for _, a := range args[2:] {
		switch k, v, _ := strings.Cut(a, "="); k {
		case "zone":
			n.Zone = v
		case "version":
			n.Version = v
		}
	}
	delete(s.silent, n.ID)
	return err
}

func (s *script) nodeSays(cmd string, args []string) error {
	for _, n := range s.c.Nodes {
		if !slices.Contains(args, string(n.ID)) {
			continue
		}
		switch cmd {
		case "silent":
			s.silent[n.ID] = true
		case "dead":
			n.Dead = true
		case "leaves":
			n.Leaves = true
		case "ready":
			n.Status = api.NodeReady
		case "drain":
			n.Status = api.NodeDraining
			if by, ok := strings.CutPrefix(args[len(args)-1], "by="); ok {
				d, err := time.ParseDuration(by)
				if err != nil {
					return err
				}
				n.DrainBy = (time.Hour + d).Microseconds()
			}
		}
	}
	return nil
}

func (s *script) job(args []string) error {
	slots, err := strconv.Atoi(args[1])
	var j *Job
	for _, old := range s.c.Jobs {
		if old.Spec.Name == args[0] {
			j = old
		}
	}
	if j == nil {
		j = &Job{Spec: api.JobSpec{Name: args[0], Submitted: s.c.Now}}
		s.c.Jobs = append(s.c.Jobs, j)
	}
	j.Spec.Version++
	j.Spec.Parallelism = slots
	j.Wants, j.Wish, j.WishAt, j.Status, j.Reason, j.Since = 0, api.WishRun, s.c.Now, api.JobPending, "", s.c.Now
	for _, a := range args[2:] {
		switch k, v, _ := strings.Cut(a, "="); k {
		case "per":
			if j.Spec.SlotsPerExecutor, err = strconv.Atoi(v); err != nil {
				return err
			}
		case "spread":
			j.Spec.Spread = v
		case "zone":
			j.Spec.Zone = v
		}
	}
	return err
}

func (s *script) jobSays(cmd string, args []string) error {
	i := slices.IndexFunc(s.c.Jobs, func(j *Job) bool { return j.Spec.Name == args[0] })
	if i < 0 {
		return fmt.Errorf("no such job")
	}
	j := s.c.Jobs[i]
	var err error
	switch cmd {
	case "wish":
		j.Wish, j.WishAt = api.Wish(args[1]), s.c.Now
		if j.Wish == api.WishRun && j.Status.Ended() {
			j.Status, j.Reason, j.Since = api.JobPending, "", s.c.Now
		}
	case "scale":
		j.Slots, err = strconv.Atoi(args[1])
	case "report":
		j.Status, j.Reason, j.Since = api.JobStatus(args[1]), strings.Join(args[2:], " "), s.c.Now
		j.Wants = 0
		for _, a := range s.c.Allocs {
			if a.Job == j.Spec.Name && a.live() && !a.Stop && j.Status == api.JobRunning {
				j.Wants += a.Slots
			}
		}
		if j.Slots > 0 { // it runs with what is there, and comes to do with less
			j.Wants = min(j.Wants, j.Slots)
		}
	}
	return err
}

func (s *script) allocSays(cmd string, args []string) error {
	for _, a := range s.c.Allocs {
		if cmd == "failed" && string(a.ID) != args[0] || !slices.Contains(args, string(a.ID)) {
			continue
		}
		if !a.live() {
			return fmt.Errorf("%s has ended before", a.ID)
		}
		a.Since = s.c.Now
		switch cmd {
		case "up":
			a.Status.State = api.AllocRunning
		case "ended":
			a.Status.State = api.AllocEnded
		case "failed":
			a.Status.State, a.Status.ExitCode = api.AllocFailed, 2
			a.Status.Exit = strings.Join(args[1:], " ")
			if code, ok := strings.CutPrefix(a.Status.Exit, "exit code "); ok {
				var err error
				if a.Status.ExitCode, err = strconv.Atoi(code); err != nil {
					return err
				}
			}
			a.Status.Lines = []string{"panic: this", "goroutine 1"}
		}
	}
	return nil
}

func clone(c *Cluster) *Cluster {
	d := *c
	d.Nodes, d.Jobs, d.Allocs = nil, nil, nil
	for _, n := range c.Nodes {
		m := *n
		d.Nodes = append(d.Nodes, &m)
	}
	for _, j := range c.Jobs {
		m := *j
		d.Jobs = append(d.Jobs, &m)
	}
	for _, a := range c.Allocs {
		m := *a
		d.Allocs = append(d.Allocs, &m)
	}
	return &d
}

// dump is all that matters of a cluster.
func dump(c *Cluster) string {
	var b strings.Builder
	c.byAge()
	live := map[api.NodeID]int{}
	for _, a := range c.Allocs {
		if a.live() {
			live[a.Node] += a.Slots
		}
	}
	for _, n := range c.Nodes {
		fmt.Fprintf(&b, "%s: %s, %d of %d\n", n.ID, n.Status, live[n.ID], n.Slots)
	}
	for _, j := range c.Jobs {
		fmt.Fprintf(&b, "%s: version %d, term %d: %s", j.Spec.Name, j.Spec.Version, j.Term, j.Status)
		if j.Reason != "" {
			fmt.Fprintf(&b, ": %s", j.Reason)
		}
		b.WriteString("\n")
		for _, a := range c.Allocs {
			if a.Job == j.Spec.Name {
				fmt.Fprintf(&b, "  %s is %s", describe(a.Alloc), a.Status.State)
				if a.Stop && a.live() {
					b.WriteString(", to end")
				}
				b.WriteString("\n")
			}
		}
	}
	return b.String()
}

// TestOrder: a decision does not depend on the order in which things are named.
func TestOrder(t *testing.T) {
	a := &Cluster{Now: 1}
	for i := range 3 {
		a.Nodes = append(a.Nodes, &Node{Node: api.Node{ID: api.NodeID(fmt.Sprint("n", i)), Slots: 2}, Status: api.NodeReady, Heard: 1})
		a.Jobs = append(a.Jobs, &Job{Spec: api.JobSpec{Name: fmt.Sprint("j", i), Parallelism: 2, Version: 1}, Status: api.JobPending})
	}
	b := clone(a)
	slices.Reverse(b.Nodes)
	slices.Reverse(b.Jobs)
	x, y := Decide(a, Options{}), Decide(b, Options{})
	if x.String() != y.String() || len(x.Jobs) != 3 {
		t.Errorf("%s\n%s", &x, &y)
	}
}

func TestDelays(t *testing.T) {
	o := Options{MaxBackoff: 3 * time.Second}
	o.EnsureDefaults()
	var got []time.Duration
	for i := range 7 {
		got = append(got, o.delay(i))
	}
	if s := fmt.Sprint(got); s != "[0s 0s 500ms 1s 2s 3s 3s]" {
		t.Error(s)
	}
}

func TestSkewed(t *testing.T) {
	for pair, want := range map[[2]string]bool{
		{"1.4.0", "1.5.9"}: false, {"v1.4.0", "1.6.0"}: true, {"1.4", "2.4"}: true, {"", "1.4"}: false, {"dev", "1.4"}: false, {"1.6.1", "1.4.1"}: true,
	} {
		if skewed(pair[0], pair[1]) != want {
			t.Errorf("%v: %t", pair, !want)
		}
	}
}
