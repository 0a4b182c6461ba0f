package run_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/weirflow/weir/connector/collect"
	"github.com/weirflow/weir/connector/datagen"
	"github.com/weirflow/weir/connector/slice"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/sdk"
	"github.com/weirflow/weir/sdk/run"
)

// configurations are the ways in which each failure is provoked: the message must
// be the same in all.
var configurations = []run.Options{
	{Parallelism: 1}, {Parallelism: 2}, {Parallelism: 2, NoChaining: true}, {Parallelism: 3, BatchSize: 1},
}

func inAll(t *testing.T, f func(t *testing.T, o run.Options)) {
	for _, o := range configurations {
		t.Run(fmt.Sprintf("parallelism=%d,nochaining=%t,batch=%d", o.Parallelism, o.NoChaining, o.BatchSize), func(t *testing.T) { f(t, o) })
	}
}

func wants(t *testing.T, err error, domain flow.Domain, parts ...string) {
	t.Helper()
	var f *flow.Failure
	if !errors.As(err, &f) {
		t.Fatalf("got %v, not a failure", err)
	}
	if f.Domain != domain {
		t.Errorf("domain %s, want %s: %v", f.Domain, domain, err)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("%q does not say %q", err, p)
		}
	}
}

func TestUserPanicNamesOperatorAndRecord(t *testing.T) {
	inAll(t, func(t *testing.T, o run.Options) {
		p := sdk.New("p")
		s := sdk.Map(sdk.Read(p, slice.Of(1, 2, 0, 4)), func(v int) int { return 10 / v }, sdk.Name("divide"))
		sdk.Write(s, collect.New[int]())
		err := run.Run(t.Context(), p, o)
		wants(t, err, flow.DomainUser, `operator "divide"`, "integer divide by zero", "record 3 of this subtask's input: 0")
		var f *flow.Failure
		if errors.As(err, &f); !strings.Contains(f.Stack, "failure_test.go") {
			t.Errorf("the stack does not show the user's line: %s", f.Stack)
		}
	})
}

func TestPanicInKeyedFunctionAndTimer(t *testing.T) {
	build := func(inTimer bool) *sdk.Pipeline {
		p := sdk.New("p")
		src := sdk.ReadTimed(p, slice.Of("a", "b"), sdk.Ascending(func(string) sdk.Time { return 5 }))
		out := sdk.Process(sdk.KeyBy(src, func(s string) string { return s }), func(*sdk.Setup[string]) sdk.Processor[string, string, string] {
			return sdk.Processor[string, string, string]{
				Each: func(c *sdk.Context[string], v string, _ *sdk.Out[string]) {
					c.SetTimer(7)
					if !inTimer && v == "b" {
						panic("no b")
					}
				},
				Timer: func(*sdk.Context[string], sdk.Timer, *sdk.Out[string]) {
					if inTimer {
						panic("no timer")
					}
				},
			}
		}, sdk.Name("keyed"))
		sdk.Write(out, collect.New[string]())
		return p
	}
	inAll(t, func(t *testing.T, o run.Options) {
		wants(t, run.Run(t.Context(), build(false), o), flow.DomainUser, `operator "keyed"`, "no b", ": b")
		wants(t, run.Run(t.Context(), build(true), o), flow.DomainUser, `operator "keyed"`, "no timer", "timer of 1970-01-01T00:00:00.000007Z for key ")
	})
}

func TestPanicInKeyFunction(t *testing.T) {
	inAll(t, func(t *testing.T, o run.Options) {
		p := sdk.New("p")
		s := sdk.Map(sdk.Read(p, slice.Of(1, 0)), func(v int) int { return v }, sdk.Name("before"))
		sdk.Write(sdk.Distinct(sdk.KeyBy(s, func(v int) int { return 10 / v })), collect.New[int]())
		wants(t, run.Run(t.Context(), p, o), flow.DomainUser, `operator "before"`, "divide by zero", "the key of one of the")
	})
}

func TestBadRecordFailsByDefaultAndGoesToDeadLetters(t *testing.T) {
	parse := func(s string) (int, error) {
		if s == "x" {
			return 0, errors.New("not a number")
		}
		return len(s), nil
	}
	inAll(t, func(t *testing.T, o run.Options) {
		p := sdk.New("p")
		sdk.Write(sdk.TryMap(sdk.Read(p, slice.Of("aa", "x")), parse, sdk.Name("parse")), collect.New[int]())
		err := run.Run(t.Context(), p, o)
		wants(t, err, flow.DomainUser, `operator "parse"`, "record 2", "not a number", `begins "x"`)
		if !errors.Is(err, operator.ErrBadRecord) {
			t.Errorf("%v is not ErrBadRecord", err)
		}

		p = sdk.New("p")
		good, bad := collect.New[int](), collect.New[sdk.BadRecord]()
		parsed := sdk.TryMap(sdk.Read(p, slice.Of("aa", "x", "b", "x")), parse, sdk.Name("parse"), sdk.DeadLetterBad(0, 0))
		sdk.Write(parsed, good)
		sdk.Write(sdk.DeadLetters(parsed), bad)
		if err := run.Run(t.Context(), p, o); err != nil {
			t.Fatal(err)
		}
		if len(good.Results()) != 2 || len(bad.Results()) != 2 || bad.Results()[0].Reason != "not a number" {
			t.Errorf("good %v, bad %v", good.Results(), bad.Results())
		}

		p = sdk.New("p")
		sdk.Write(sdk.TryMap(sdk.Read(p, slice.Of("x", "x", "b", "x")), parse, sdk.Name("parse"), sdk.SkipBad(2, 0)), collect.New[int]())
		wants(t, run.Run(t.Context(), p, o), flow.DomainUser, "limit of 2 bad records")
	})
}

func TestBuildErrorsAreToldTogether(t *testing.T) {
	p := sdk.New("p")
	s := sdk.Read(p, slice.Of(1))
	type noHash struct{ F *int }
	keyed := sdk.KeyBy(s, func(int) noHash { return noHash{} })
	sdk.Write(sdk.Process(keyed, func(st *sdk.Setup[noHash]) sdk.Processor[noHash, int, int] {
		sdk.NewValue[chan int](st, "c")
		return sdk.Processor[noHash, int, int]{}
	}, sdk.Name("bad")), collect.New[int]())
	_, err := p.Graph()
	for _, want := range []string{`operator "bad"`, "noHash", "F", "chan int", `state "c"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

func TestUnencodableRecordsAreRefusedAtExchanges(t *testing.T) {
	type order struct{ Done chan int }
	p := sdk.New("p")
	s := sdk.Map(sdk.Read(p, slice.Of(1)), func(int) order { return order{} }, sdk.Name("make"))
	sdk.Write(sdk.Rebalance(s), collect.New[order]())
	err := run.Run(t.Context(), p, run.Options{})
	for _, want := range []string{"order", "Done", "chan int"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

func TestTwoOperatorsWithOneID(t *testing.T) {
	p := sdk.New("p")
	s := sdk.Read(p, slice.Of(1), sdk.ID("x"))
	sdk.Write(s, collect.New[int](), sdk.ID("x"))
	if err := run.Run(t.Context(), p, run.Options{}); err == nil || !strings.Contains(err.Error(), `"x"`) {
		t.Errorf("got %v", err)
	}
}

func TestStopFinishesWhatWasAccepted(t *testing.T) {
	inAll(t, func(t *testing.T, o run.Options) {
		p := sdk.New("p")
		stop := make(chan struct{})
		var once bool
		src := sdk.Read(p, datagen.New(func(i int64) int64 { return i }, datagen.Splits(1)), sdk.Parallelism(1))
		tapped := sdk.Map(src, func(i int64) int64 {
			if i == 5000 && !once {
				once = true
				close(stop)
			}
			return i
		}, sdk.Parallelism(1))
		got := collect.New[int64]()
		sdk.Write(sdk.Rebalance(tapped), got)
		o.Stop = stop
		if err := run.Run(t.Context(), p, o); !errors.Is(err, run.ErrStopped) {
			t.Fatalf("got %v", err)
		}
		seen := map[int64]bool{}
		for _, v := range got.Results() {
			seen[v] = true
		}
		for i := range int64(len(seen)) {
			if !seen[i] {
				t.Fatalf("record %d of %d is missing", i, len(seen))
			}
		}
		if len(seen) <= 5000 {
			t.Errorf("only %d records", len(seen))
		}
	})
}

func TestCancelEndsAJobThatWaits(t *testing.T) {
	inAll(t, func(t *testing.T, o run.Options) {
		ctx, cancel := context.WithCancel(t.Context())
		p := sdk.New("p")
		s := sdk.Map(sdk.Read(p, datagen.New(func(i int64) int64 { return i })), func(i int64) int64 {
			if i == 100 {
				cancel()
			}
			return i
		})
		// A sink that hangs until it is cancelled holds up everything before it.
		sdk.Write(sdk.Rebalance(s), hangingSink{})
		if err := run.Run(ctx, p, o); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

type hangingSink struct{}

func (hangingSink) Info() operator.SinkInfo                                          { return operator.SinkInfo{Kind: "hang"} }
func (hangingSink) Committer(*operator.CommitterContext) (operator.Committer, error) { return nil, nil }
func (hangingSink) Writer(ctx *operator.WriterContext) (operator.Writer[int64], error) {
	return hangingWriter{ctx.Context}, nil
}

type hangingWriter struct{ ctx context.Context }

func (w hangingWriter) Write(*flow.Batch[int64]) error {
	<-w.ctx.Done()
	return w.ctx.Err()
}
func (hangingWriter) Idle() error                          { return nil }
func (hangingWriter) Prepare(flow.Barrier) ([]byte, error) { return nil, nil }
func (hangingWriter) Tick(flow.Time) error                 { return nil }
func (hangingWriter) Close() error                         { return nil }

func TestSinkFailureIsTheCause(t *testing.T) {
	inAll(t, func(t *testing.T, o run.Options) {
		p := sdk.New("p")
		s := sdk.Read(p, datagen.New(func(i int64) int64 { return i }))
		sdk.Write(sdk.Rebalance(s), failingSink{}, sdk.Name("broken"))
		wants(t, run.Run(t.Context(), p, o), flow.DomainExternal, `operator "broken"`, "disk full")
	})
}

type failingSink struct{ hangingSink }

func (failingSink) Writer(*operator.WriterContext) (operator.Writer[int64], error) {
	return &failingWriter{}, nil
}

type failingWriter struct {
	hangingWriter
	n int
}

func (w *failingWriter) Write(b *flow.Batch[int64]) error {
	if w.n += b.Len(); w.n > 50_000 {
		return errors.New("disk full")
	}
	return nil
}

func TestEnumeratorFailure(t *testing.T) {
	p := sdk.New("p")
	sdk.Write(sdk.Read(p, failingSource{}, sdk.Name("lost")), collect.New[int64]())
	wants(t, run.Run(t.Context(), p, run.Options{}), flow.DomainExternal, `operator "lost"`, "finding input", "no such topic")
}

type failingSource struct{}

func (failingSource) Info() operator.SourceInfo { return operator.SourceInfo{Kind: "failing"} }
func (failingSource) Enumerator() (operator.Enumerator, error) {
	return nil, errors.New("no such topic")
}
func (failingSource) Reader(*operator.ReaderContext) (operator.Reader[int64], error) {
	return datagen.New(func(i int64) int64 { return i }).Reader(&operator.ReaderContext{Now: func() flow.Time { return 0 }})
}
