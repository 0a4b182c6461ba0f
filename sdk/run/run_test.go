package run_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/connector/collect"
	"github.com/weirflow/weir/connector/slice"
	"github.com/weirflow/weir/sdk"
	"github.com/weirflow/weir/sdk/run"
)

// TestMain is the program of a job as well: tests start themselves as its executors.
func TestMain(m *testing.M) {
	if os.Getenv(api.ExecutorEnv) != "" {
		numbers()
	}
	goleak.VerifyTestMain(m)
}

func TestWordCount(t *testing.T) {
	for _, par := range []int{1, 2, 3} {
		for _, nochain := range []bool{false, true} {
			t.Run(fmt.Sprintf("parallelism=%d/nochain=%t", par, nochain), func(t *testing.T) {
				p := sdk.New("wordcount")
				lines := sdk.Read(p, slice.Of("a b a", "c a", "b"))
				words := sdk.FlatMap(lines, func(l string, out *sdk.Out[string]) {
					for _, w := range strings.Fields(l) {
						out.Emit(w)
					}
				})
				counts := sdk.Process(sdk.KeyBy(words, func(w string) string { return w }),
					func(s *sdk.Setup[string]) sdk.Processor[string, string, string] {
						n := sdk.NewValue[int](s, "n")
						return sdk.Processor[string, string, string]{
							Each: func(c *sdk.Context[string], w string, out *sdk.Out[string]) {
								v, _ := n.Get()
								n.Set(v + 1)
								out.Emit(fmt.Sprintf("%s=%d", w, v+1))
							},
						}
					})
				got := collect.New[string]()
				sdk.Write(counts, got)
				if err := run.Run(t.Context(), p, run.Options{Parallelism: par, NoChaining: nochain}); err != nil {
					t.Fatal(err)
				}
				r := got.Results()
				slices.Sort(r)
				if s := strings.Join(r, " "); s != "a=1 a=2 a=3 b=1 b=2 c=1" {
					t.Errorf("got %s", s)
				}
			})
		}
	}
}

func TestRunIsNoExecutor(t *testing.T) {
	t.Setenv(api.ExecutorEnv, api.ExecutorProtocol)
	if err := run.Run(t.Context(), sdk.New("x"), run.Options{}); err == nil || !strings.Contains(err.Error(), "run.Main") {
		t.Error(err)
	}
}
