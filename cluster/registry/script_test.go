package registry

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestScripts runs testdata/*.txt: commands as JSON, and what they lead to.
//
//	apply KIND [by=NAME] [index=N]   the body as JSON: prints the result
//	apply-hex                        the same of an encoded entry
//	encode KIND                      prints the entry, in hex
//	show [what]                      nodes, jobs, allocs, artifacts, events; all without a word
//	snapshot                         prints it, in hex
//	restore                          takes one, in hex
//	reset
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		r, index := New(), uint64(0)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "reset":
				r, index = New(), 0
				return ""
			case "apply", "encode":
				by := "ann"
				d.MaybeScanArgs(t, "by", &by)
				c := newCommand(d.CmdArgs[0].Key)
				if c == nil {
					return "no such command"
				}
				in := json.NewDecoder(strings.NewReader(d.Input))
				in.DisallowUnknownFields()
				if err := in.Decode(c); err != nil {
					return err.Error()
				}
				index++
				data, err := Encode(c, int64(index)*1000, by)
				if err != nil {
					return err.Error()
				}
				if d.Cmd == "encode" {
					return dump(data)
				}
				return describeResult(r.Apply(index, data))
			case "apply-hex":
				index++
				return describeResult(r.Apply(index, undump(t, d.Input)))
			case "snapshot":
				return dump(snapshotOf(t, r))
			case "restore":
				if err := r.Restore(bytes.NewReader(undump(t, d.Input))); err != nil {
					return err.Error()
				}
				index = r.Applied()
				return fmt.Sprintf("applied %d, changed %d", r.Applied(), r.Index())
			case "show":
				what := ""
				if len(d.CmdArgs) > 0 {
					what = d.CmdArgs[0].Key
				}
				return describe(r.View(), what)
			}
			return "no such word"
		})
	})
}

func describeResult(r Result) string {
	form, err := json.Marshal(r)
	if err != nil {
		return err.Error()
	}
	return string(form)
}

// describe prints what matters, one record in a line.
func describe(v *View, what string) string {
	var b strings.Builder
	show := func(kind string) bool { return what == "" || what == kind }
	for _, n := range v.Nodes() {
		if show("nodes") {
			fmt.Fprintf(&b, "node %s %s: %s, registration %d, index %d, %d of %d slots, runs %v %s\n", n.Info.ID, n.Info.Name, n.Status,
				n.Registration, n.Index, v.Used(n.Info.ID), n.Info.Slots, n.Allocs, n.Reason)
		}
	}
	for _, a := range v.Artifacts() {
		if show("artifacts") {
			fmt.Fprintf(&b, "artifact %.14s: %d bytes, by %s\n", a.Hash, a.Size, a.By)
		}
	}
	for _, j := range v.Jobs() {
		if show("jobs") {
			fmt.Fprintf(&b, "job %s: version %d, wish %s, %s, term %d, index %d, save %+v, scale %+v, epoch %d, %d savepoints, allocs %v; %s\n",
				j.Name, j.Spec().Version, j.Wish, j.Status, j.Term, j.Index, j.Save, j.Scale, j.Report.Epoch, len(j.Savepoints), j.Allocs, j.Reason)
		}
		if what == "events" {
			for _, e := range j.Events {
				fmt.Fprintf(&b, "%d %s %s %s %s: %s\n", e.Index, e.Kind, e.Job, e.Alloc, e.By, e.Text)
			}
		}
	}
	for _, a := range v.Allocs() {
		if show("allocs") {
			fmt.Fprintf(&b, "alloc %s: job %s version %d on %s, %d slots, term %d, coordinator %t, stop %t, %s %q\n", a.Alloc.ID, a.Alloc.Job,
				a.Alloc.Version, a.Alloc.Node, a.Alloc.Slots, a.Alloc.Term, a.Alloc.Coordinator, a.Alloc.Stop, a.Status.State, a.Status.Exit)
		}
	}
	for _, e := range v.Events() {
		if what == "events" {
			fmt.Fprintf(&b, "%d %s %s %s: %s\n", e.Index, e.Kind, e.Node, e.By, e.Text)
		}
	}
	return b.String()
}

func dump(data []byte) string {
	var b strings.Builder
	for i := 0; i < len(data); i += 40 {
		fmt.Fprintln(&b, hex.EncodeToString(data[i:min(i+40, len(data))]))
	}
	return b.String()
}

func undump(t *testing.T, text string) []byte {
	data, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func snapshotOf(t interface{ Fatal(...any) }, r *Registry) []byte {
	s, err := r.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	n, err := s.WriteTo(&buf)
	if err != nil || n != int64(buf.Len()) {
		t.Fatal("written:", n, "bytes of", buf.Len(), err)
	}
	return buf.Bytes()
}
