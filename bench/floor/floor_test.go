package floor

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirflow/weir/bench/text"
)

func TestWordCountAgainstNaive(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	words := func(n int) []byte {
		var b bytes.Buffer
		for range n {
			b.WriteString(strings.Repeat(string(rune('a'+random.IntN(26))), random.IntN(4)))
			b.WriteByte(" \t\n\v\f\r"[random.IntN(6)])
		}
		return b.Bytes()
	}
	long := bytes.Repeat([]byte("x"), 2*rangeSize+10)
	cases := map[string][]string{
		"empty directory":        {},
		"empty file":             {""},
		"blanks":                 {"  \n\t "},
		"no blank at the end":    {"a b a", "b"},
		"many ranges":            {string(words(1 << 20)), string(words(1 << 18))},
		"a word over two ranges": {string(long) + " y " + string(long)},
		"border before blank":    {strings.Repeat("x", rangeSize) + " y"},
		"border after blank":     {strings.Repeat("x", rangeSize-1) + " y"},
		"border within word":     {strings.Repeat("x", rangeSize-2) + " yyy z"},
		"bytes above ASCII":      {"größe\u00a0x größe"},
	}
	for name, files := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			want := map[string]int64{}
			for i, content := range files {
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), []byte(content), 0o666); err != nil {
					t.Fatal(err)
				}
				for w := range strings.FieldsFuncSeq(content, func(r rune) bool { return r < 128 && space[r] }) {
					want[w]++
				}
			}
			for parallelism := range 4 {
				table, err := countWords(dir, parallelism)
				if err != nil {
					t.Fatal(err)
				}
				var sum Result
				got := 0
				for _, s := range table.slots {
					if s.count > 0 {
						got++
						if want[s.word] != s.count {
							t.Fatalf("parallelism %d: %.20q counted %d times, want %d", parallelism, s.word, s.count, want[s.word])
						}
					}
				}
				if got != len(want) {
					t.Fatalf("parallelism %d: %d different words, want %d", parallelism, got, len(want))
				}
				for w, n := range want {
					sum.add(Result{Events: n, Results: 1, Check: CheckWord(w, n), Max: n})
				}
				compare(t, parallelism, table.result(), sum)
			}
		})
	}
}

func TestWordCountNoDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "absent")
	if _, err := WordCount(dir, 2); err == nil || !strings.Contains(err.Error(), dir) {
		t.Fatalf("error %v, want one that names %s", err, dir)
	}
}

func TestKeyedSumAgainstNaive(t *testing.T) {
	for _, c := range []struct{ events, keys int64 }{{0, 1}, {1, 1}, {1000, 1}, {100_003, 1000}, {50_000, 1 << 40}} {
		sums := map[uint64]int64{}
		want := Result{Events: c.events, Results: c.events}
		for i := range c.events {
			e := GenerateEvent(i, uint64(c.keys))
			sums[e.Key] += e.Value
		}
		for key, sum := range sums {
			want.add(Result{Check: CheckKey(key, sum), Max: sum})
		}
		for parallelism := range 6 {
			compare(t, parallelism, KeyedSum(c.events, c.keys, parallelism), want)
		}
	}
}

func TestWindowAgainstNaive(t *testing.T) {
	for _, c := range []struct{ events, keys, size int64 }{
		{0, 1, 1000}, {1, 1, 1000}, {1000, 7, 1000}, {1001, 7, 1000}, {300_003, 100, 100_000}, {300_003, 100, 3000}, {100_000, 10, 7}, {5000, 3, WindowSize},
	} {
		type cell struct {
			start int64
			key   uint64
		}
		sums := map[cell]int64{}
		want := Result{Events: c.events}
		for i := range c.events {
			e := GenerateEvent(i, uint64(c.keys))
			sums[cell{e.Time / c.size * c.size, e.Key}] += e.Value
		}
		for k, sum := range sums {
			want.add(Result{Results: 1, Check: CheckWindow(k.start, k.key, sum), Max: sum})
		}
		for _, parallelism := range []int{1, 2, 3, 5} {
			compare(t, parallelism, window(c.events, c.keys, parallelism, c.size), want)
		}
	}
}

func TestPassthroughAgainstNaive(t *testing.T) {
	const events = 10_001
	want := Result{Events: events, Results: events}
	for i := range int64(events) {
		r := GenerateRecord(i)
		r.Price *= 0.5
		r.Amount *= 2
		r.Kind += uint32(r.Amount >> 4)
		want.Check += CheckRecord(&r)
	}
	for parallelism := range 4 {
		compare(t, parallelism, Passthrough(events, parallelism), want)
	}
}

// compare compares all but the cost.
func compare(t *testing.T, parallelism int, got, want Result) {
	t.Helper()
	got.Wall, got.CPU = 0, 0
	if got != want {
		t.Errorf("parallelism %d:\n got %+v\nwant %+v", parallelism, got, want)
	}
}

func BenchmarkWordCount(b *testing.B) {
	dir := b.TempDir()
	if err := text.Write(dir, 100<<20, 4, 1); err != nil {
		b.Fatal(err)
	}
	bench(b, func() (Result, error) { return WordCount(dir, 2) })
}

func BenchmarkKeyedSum(b *testing.B) {
	bench(b, func() (Result, error) { return KeyedSum(20_000_000, 100_000, 2), nil })
}

func BenchmarkWindow(b *testing.B) {
	bench(b, func() (Result, error) { return Window(30_000_000, 100_000, 2), nil })
}

func BenchmarkPassthrough(b *testing.B) {
	bench(b, func() (Result, error) { return Passthrough(50_000_000, 2), nil })
}

func bench(b *testing.B, run func() (Result, error)) {
	var sum Result
	for b.Loop() {
		r, err := run()
		if err != nil {
			b.Fatal(err)
		}
		sum.Events += r.Events
		sum.Wall += r.Wall
		sum.CPU += r.CPU
	}
	b.ReportMetric(sum.EventsPerSecond()/1e6, "Mevents/s")
	b.ReportMetric(sum.CPU.Seconds()/sum.Wall.Seconds(), "cpus")
}
