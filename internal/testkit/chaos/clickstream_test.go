package chaos

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestClickstream runs the example by `weir run`, kills it at ten random times, and wants
// what an undisturbed run gives.
func TestClickstream(t *testing.T) {
	kills, clicks := 10, 400_000
	if !whole() {
		kills, clicks = 3, 30_000
	}
	weir, dir, in := program(t, "cmd/weir"), t.TempDir(), t.TempDir()
	writeClicks(t, in, clicks)
	example := "github.com/weirflow/weir/examples/clickstream"
	args := func(output string, more ...string) []string {
		args := append([]string{"run", "--quiet", "--parallelism=2"}, more...)
		return append(args, example, "--", "--input="+in, "--output="+filepath.Join(dir, output))
	}
	calm := start(t, weir, args("calm", "--state="+filepath.Join(dir, "calm-state"), "--epoch=20ms"), nil)
	begun(calm, filepath.Join(dir, "calm-state"), 0)
	began := time.Now()
	if err := calm.finish(); err != nil {
		t.Fatal(err)
	}
	undisturbed := time.Since(began)
	out := folder{root: filepath.Join(dir, "calm")}
	want, err := out.look()
	if err != nil {
		t.Fatal(err)
	}

	out = folder{root: filepath.Join(dir, "out")}
	rnd := rand.New(rand.NewPCG(4, uint64(kills)))
	state := filepath.Join(dir, "state")
	killed, times, printed := 0, []string{}, []byte{}
	var last *process
	for {
		was := newestEntry(state)
		last = start(t, weir, args("out", "--state="+state, "--epoch=20ms"), nil)
		if killed == kills {
			break
		}
		begun(last, state, was)
		wait := time.Duration(rnd.Int64N(int64(undisturbed / 4)))
		timer := time.NewTimer(wait)
		select {
		case <-last.ended:
		case <-timer.C:
		}
		timer.Stop()
		if !last.kill() {
			if last.err != nil {
				t.Fatalf("after kills at %v: %v\n%s", times, last.err, last.output.String())
			}
			break
		}
		printed = append(printed, last.output.Bytes()...)
		killed++
		epoch, err := newestEpoch(t.Context(), state, "clickstream")
		if err != nil {
			t.Fatal(err)
		}
		times = append(times, fmt.Sprintf("%v with epoch %d", wait.Round(time.Millisecond), epoch))
		got, err := out.look()
		if err != nil {
			t.Fatalf("after kills at %v: %v", times, err)
		}
		if extra := want.extra(got); extra != "" {
			t.Fatalf("after kills at %v, what is no result is there: %s", times, extra)
		}
	}
	if err := last.finish(); err != nil {
		t.Fatalf("after kills at %v: %v", times, err)
	}
	got, err := out.look()
	if err != nil {
		t.Fatal(err)
	}
	if d := want.differences(got); d != "" {
		t.Errorf("after kills at %v:\n%s", times, d)
	}
	if printed = append(printed, last.output.Bytes()...); !bytes.Contains(printed, calm.output.Bytes()) {
		t.Errorf("the report differs after kills at %v:\n%s\nnot\n%s", times, printed, calm.output.Bytes())
	}
	if killed < kills {
		t.Errorf("%d kills; then it came to its end before it was killed: make the input larger", killed)
	}
	t.Logf("undisturbed %v; killed at %s", undisturbed.Round(time.Millisecond), strings.Join(times, ", "))
}

// begun waits until a process has begun to run its job: what comes before that is of
// `weir run`, which builds the program. was is the newest entry before.
func begun(p *process, state string, was int) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for newestEntry(state) <= was {
		select {
		case <-p.ended:
			return
		case <-tick.C:
		}
	}
}

// writeClicks makes clicks in four files, as the example's own are: out of order by less
// than 5 s.
func writeClicks(t *testing.T, dir string, n int) {
	t.Helper()
	r := rand.New(rand.NewPCG(15, 4))
	pages := []string{"/", "/search", "/offers", "/product/a", "/product/b", "/cart", "/checkout", "/help"}
	first := time.Date(2026, 1, 15, 10, 0, 0, 0, time.UTC)
	var b bytes.Buffer
	for i := range n {
		at := first.Add(time.Duration(i)*100*time.Millisecond - time.Duration(r.Int64N(int64(4*time.Second))))
		click := map[string]any{"time": at, "user": fmt.Sprintf("u%03d", r.IntN(400)), "page": pages[r.IntN(len(pages))]}
		line, err := json.Marshal(click)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(line, '\n'))
		if (i+1)%((n+3)/4) == 0 || i == n-1 {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%02d.jsonl", i*4/n)), b.Bytes(), 0o666); err != nil {
				t.Fatal(err)
			}
			b.Reset()
		}
	}
}
