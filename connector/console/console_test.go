package console_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/weirflow/weir/connector/console"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
)

func write[T any](t *testing.T, w operator.Writer[T], values ...T) {
	t.Helper()
	if err := w.Write(&flow.Batch[T]{Values: values}); err != nil {
		t.Error(err)
	}
}

func TestFlush(t *testing.T) {
	var out bytes.Buffer
	w, err := console.Print(&out, func(i int) string { return fmt.Sprint("<", i, ">") }).Writer(nil)
	if err != nil {
		t.Fatal(err)
	}
	write(t, w, 1, 2)
	if out.Len() > 0 {
		t.Error("not buffered")
	}
	if err := w.Idle(); err != nil || out.String() != "<1>\n<2>\n" {
		t.Error(out.String(), err)
	}
	write(t, w, 3)
	if _, err := w.Prepare(flow.Barrier{}); err != nil || !strings.HasSuffix(out.String(), "<3>\n") {
		t.Error(out.String(), err)
	}
	write(t, w, 4)
	if err := w.Close(); err != nil || !strings.HasSuffix(out.String(), "<4>\n") {
		t.Error(out.String(), err)
	}
}

func TestDefaultFormat(t *testing.T) {
	var out bytes.Buffer
	w, _ := console.Print[any](&out, nil).Writer(nil)
	write(t, w, any("a b"), any(7), any(struct{ A, B int }{1, 2}))
	if err := w.Idle(); err != nil || out.String() != "a b\n7\n{1 2}\n" {
		t.Error(out.String(), err)
	}
}

func TestLinesDoNotMix(t *testing.T) {
	var out bytes.Buffer
	sink := console.Print(&out, func(s string) string { return s })
	var wg sync.WaitGroup
	for i := range 4 {
		w, _ := sink.Writer(nil)
		wg.Go(func() {
			for range 500 {
				write(t, w, strings.Repeat(string(rune('a'+i)), 300))
			}
			if err := w.Idle(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 2000 {
		t.Fatalf("%d lines", len(lines))
	}
	for _, l := range lines {
		if l != strings.Repeat(l[:1], 300) {
			t.Fatalf("mixed line %q", l)
		}
	}
}

type broken struct{}

var errPipe = errors.New("broken pipe")

func (broken) Write([]byte) (int, error) { return 0, errPipe }

func TestErrorSaysWhere(t *testing.T) {
	w, _ := console.Print[int](broken{}, nil).Writer(nil)
	write(t, w, 1)
	err := w.Idle()
	if !errors.Is(err, errPipe) || flow.FailureOf(err).Domain != flow.DomainExternal || !strings.Contains(err.Error(), "printing to output") {
		t.Fatal(err)
	}
}
