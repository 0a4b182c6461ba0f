package raft

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestMembers runs testdata/members.txt: what is decided about the configuration.
//
//	first self=ID expect=N    seen servers, one a line: makes the first configuration?
//	repair self=ID have=(...) the next change
func TestMembers(t *testing.T) {
	datadriven.RunTest(t, "testdata/members.txt", func(t *testing.T, d *datadriven.TestData) string {
		var self string
		d.ScanArgs(t, "self", &self)
		expect := 3
		d.MaybeScanArgs(t, "expect", &expect)
		var seen []Seen
		for _, line := range strings.Split(d.Input, "\n") {
			words := strings.Fields(line)
			if len(words) < 2 {
				continue
			}
			s := Seen{ID: words[0], Name: words[0], Addr: words[0] + ":1", Expect: 3,
				State: map[string]Presence{"alive": Alive, "failed": Failed, "left": Left}[words[1]]}
			for _, w := range words[2:] {
				switch key, value, _ := strings.Cut(w, "="); key {
				case "name":
					s.Name = value
				case "addr":
					s.Addr = value
				case "started":
					s.Started = true
				case "expect":
					if _, err := fmt.Sscan(value, &s.Expect); err != nil {
						t.Fatal(err)
					}
				}
			}
			seen = append(seen, s)
		}
		if d.Cmd == "first" {
			list, err := firstServers(Seen{ID: self, Addr: self + ":1", State: Alive, Expect: expect}, seen)
			if err != nil {
				return err.Error()
			}
			return fmt.Sprint(list)
		}
		var have []Server
		for _, arg := range d.CmdArgs {
			if arg.Key == "have" {
				for _, id := range arg.Vals {
					have = append(have, Server{id, id + ":1"})
				}
			}
		}
		c := nextChange(self, have, seen)
		return strings.TrimSpace(fmt.Sprintf("%s %s %s %s", c.Kind, c.Server.ID, c.Server.Addr, c.Why))
	})
}
