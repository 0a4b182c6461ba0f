package flow_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/weirflow/weir/flow"
)

func TestFailureError(t *testing.T) {
	task := flow.TaskID{Chain: "map", Subtask: 1}
	for _, c := range []struct {
		f    flow.Failure
		want string
	}{
		{flow.Failure{}, "internal failure"},
		{flow.Failure{Cause: io.EOF}, "EOF"},
		{flow.Failure{Message: "bad", Cause: io.EOF}, "bad"},
		{flow.Failure{Task: task, Message: "bad"}, "task map/1: bad"},
		{flow.Failure{Task: task, Operator: "op", Message: "bad"}, `task map/1: operator "op": bad`},
		{flow.Failure{Task: task, Operator: "op", Name: "op", Message: "bad"}, `task map/1: operator "op": bad`},
		{flow.Failure{Operator: "op", Name: "parse", Message: "bad"}, `operator "parse" (op): bad`},
		{flow.Failure{Name: "parse", Domain: flow.DomainUser}, `operator "parse": user failure`},
	} {
		if got := c.f.Error(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestFailureOf(t *testing.T) {
	if flow.FailureOf(nil) != nil {
		t.Error("FailureOf(nil) is not nil")
	}
	f := &flow.Failure{Operator: "op", Domain: flow.DomainExternal, Retryable: true, Cause: io.ErrUnexpectedEOF}
	if flow.FailureOf(f) != f {
		t.Error("a failure is not itself")
	}
	w := flow.FailureOf(fmt.Errorf("reading split 3: %w", f))
	if w.Operator != "op" || w.Domain != flow.DomainExternal || !w.Retryable {
		t.Errorf("a wrapped failure lost its fields: %+v", w)
	}
	if want := `operator "op": reading split 3: unexpected EOF`; w.Error() != want {
		t.Errorf("got %q, want %q", w.Error(), want)
	}
	if !errors.Is(w, io.ErrUnexpectedEOF) {
		t.Error("errors.Is does not reach the cause")
	}
	if p := flow.FailureOf(io.EOF); p.Domain != flow.DomainInternal || !p.Retryable || !errors.Is(p, io.EOF) {
		t.Errorf("plain error: %+v", p)
	}
}
