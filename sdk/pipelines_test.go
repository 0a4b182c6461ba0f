package sdk_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/weirflow/weir/connector/collect"
	"github.com/weirflow/weir/sdk"
	"github.com/weirflow/weir/sdk/run"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// everyWay runs what build makes at several parallelisms, batch sizes, and with
// and without chaining; each run must give the results in want, in any order.
func everyWay[T any](t *testing.T, build func(p *sdk.Pipeline) *sdk.Stream[T], want ...string) {
	t.Helper()
	eachWay(t, build, func(t *testing.T, got []T) {
		t.Helper()
		s := make([]string, len(got))
		for i, v := range got {
			s[i] = fmt.Sprintf("%v", v)
		}
		slices.Sort(s)
		slices.Sort(want)
		if !slices.Equal(s, want) {
			t.Errorf("got  %s\nwant %s", strings.Join(s, " "), strings.Join(want, " "))
		}
	})
}

func eachWay[T any](t *testing.T, build func(p *sdk.Pipeline) *sdk.Stream[T], check func(*testing.T, []T)) {
	t.Helper()
	for _, par := range []int{1, 2, 3} {
		for _, nochain := range []bool{false, true} {
			for _, batch := range []int{1, 1024} {
				t.Run(fmt.Sprintf("parallelism=%d/nochain=%t/batch=%d", par, nochain, batch), func(t *testing.T) {
					p := sdk.New("test")
					got := collect.New[T]()
					sdk.Write(build(p), got)
					if err := run.Run(t.Context(), p, run.Options{Parallelism: par, NoChaining: nochain, BatchSize: batch}); err != nil {
						t.Fatal(err)
					}
					check(t, got.Results())
				})
			}
		}
	}
}

// refused checks that a pipeline is refused when it is built, with all of the
// texts in the message.
func refused(t *testing.T, build func(p *sdk.Pipeline), texts ...string) {
	t.Helper()
	p := sdk.New("test")
	build(p)
	_, err := p.Graph()
	if err == nil {
		t.Errorf("the pipeline was accepted; want an error about %q", texts)
		return
	}
	for _, s := range texts {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("error %q does not say %q", err, s)
		}
	}
}
