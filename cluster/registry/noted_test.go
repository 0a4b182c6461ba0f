package registry

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weirflow/weir/api"
)

// TestNoted wants each line that a coordinator notes to become an event once, as far as it
// could be told in time.
func TestNoted(t *testing.T) {
	c := &change{s: &state{jobs: map[string]*Job{"j": {Name: "j"}}}}
	heard := func() string {
		var all []string
		for _, e := range c.s.jobs["j"].Events {
			if e.Kind != EventTask {
				t.Errorf("%+v", e)
			}
			all = append(all, e.Text)
		}
		c.s.jobs["j"].Events = nil
		return strings.Join(all, " ")
	}
	var was api.JobReport
	tell := func(attempt, noted uint64, notes ...string) {
		now := api.JobReport{Attempt: attempt, Noted: noted}
		c.noted("j", strings.Join(notes, "\n"), now, was)
		was = now
	}
	var many []string
	for i := range 2 * maxNotes {
		many = append(many, fmt.Sprint("n", i))
	}
	for i, step := range []struct {
		attempt, noted uint64
		notes          []string
		want           string
	}{
		{1, 0, nil, ""},
		{1, 2, []string{"a", "b"}, "a b"},
		{1, 2, []string{"a", "b"}, ""},
		{1, 3, []string{"a", "b", "c"}, "c"},
		{1, 9, []string{"h", "i"}, "h i"}, // others were not told in time
		{2, 1, []string{"x"}, "x"},        // another coordinator
		{3, 9, []string{"y", "z"}, "y z"}, // and one more, that has noted as much as the first
		{3, 1 << 60, many, strings.Join(many[maxNotes:], " ")},
		{3, 1<<60 + 1, nil, ""},
	} {
		tell(step.attempt, step.noted, step.notes...)
		if got := heard(); got != step.want {
			t.Errorf("step %d: %q, not %q", i, got, step.want)
		}
	}
}
