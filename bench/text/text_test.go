package text

import (
	"bytes"
	"crypto/sha256"
	"math"
	"os"
	"path/filepath"
	"testing"
)

func TestWriteIsSeededAndLineAligned(t *testing.T) {
	read := func(size int64, parts int, seed uint64) [][]byte {
		dir := filepath.Join(t.TempDir(), "made")
		if err := Write(dir, size, parts, seed); err != nil {
			t.Fatal(err)
		}
		names, err := filepath.Glob(filepath.Join(dir, "part-*.txt"))
		if err != nil || len(names) != parts {
			t.Fatalf("%d parts, want %d (%v)", len(names), parts, err)
		}
		var out [][]byte
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, b)
		}
		return out
	}
	const size, parts = 1 << 20, 3
	first, again, other := read(size, parts, 7), read(size, parts, 7), read(size, parts, 8)
	total := 0
	for i := range first {
		if sha256.Sum256(first[i]) != sha256.Sum256(again[i]) {
			t.Errorf("part %d differs between two runs with one seed", i)
		}
		if bytes.Equal(first[i], other[i]) {
			t.Errorf("part %d is the same with another seed", i)
		}
		total += len(first[i])
		lines := bytes.SplitAfter(first[i], []byte("\n"))
		if last := lines[len(lines)-1]; len(last) != 0 {
			t.Errorf("part %d ends within a line: %q", i, last)
		}
		for n, line := range lines[:len(lines)-1] {
			if words := bytes.Fields(line); len(words) != WordsPerLine {
				t.Fatalf("part %d line %d has %d words: %q", i, n+1, len(words), line)
			}
		}
	}
	if bytes.Equal(first[0][:100], first[1][:100]) {
		t.Error("two parts begin alike")
	}
	if longestLine := (longest + 1) * WordsPerLine; total < size || total > size+parts*longestLine {
		t.Errorf("%d bytes, want %d and at most one line a part more", total, size)
	}
	if empty := read(0, 2, 1); len(empty[0])+len(empty[1]) != 0 {
		t.Error("a text of no bytes is not empty")
	}
}

func TestWriteRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mine"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := Write(dir, 1, 1, 1); err == nil || !bytes.Contains([]byte(err.Error()), []byte("mine")) {
		t.Errorf("a directory in use: %v", err)
	}
	if Write(t.TempDir(), 1, 0, 1) == nil || Write(t.TempDir(), -1, 1, 1) == nil {
		t.Error("no parts or less than no bytes: no error")
	}
}

func TestWordsFollowZipf(t *testing.T) {
	g := New(3)
	words := map[string]int{}
	for rank, e := range g.vocabulary.words {
		w := string(e.letters[:e.length])
		if _, dup := words[w]; dup || len(w) < shortest || len(w) > longest {
			t.Fatalf("rank %d is %q: a duplicate or of a wrong length", rank+1, w)
		}
		words[w] = rank
	}
	const draws = 2_000_000
	counts := make([]int, VocabularySize)
	for range draws {
		counts[words[string(g.Word())]]++
	}
	p := zipf(VocabularySize)
	for _, rank := range []int{1, 2, 3, 10, 100, 1000} {
		want := p[rank-1] * draws
		if got := float64(counts[rank-1]); math.Abs(got-want) > 6*math.Sqrt(want) {
			t.Errorf("rank %d was drawn %v times, want about %.0f", rank, got, want)
		}
	}
	tail, want := 0, 0.0
	for i := VocabularySize / 2; i < VocabularySize; i++ {
		tail += counts[i]
		want += p[i] * draws
	}
	if math.Abs(float64(tail)-want) > 6*math.Sqrt(want) {
		t.Errorf("the rarer half was drawn %d times, want about %.0f", tail, want)
	}
}

func BenchmarkAppendLine(b *testing.B) {
	g := New(1)
	var line []byte
	for b.Loop() {
		line = g.AppendLine(line[:0])
		b.SetBytes(int64(len(line)))
	}
}
