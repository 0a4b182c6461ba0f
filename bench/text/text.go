// Package text writes the text that the benchmarks count: seeded, with words as
// unevenly common as in a language.
//
// Its words: the vocabulary is [VocabularySize] different words of 3 to 10
// letters; the word of rank r (from 1) is drawn with a probability in proportion
// to r^-1.1, Zipf's law. A line is ten words with one blank between them. A part
// is one file, part-00000.txt and so on.
//
// Invariants:
//
//  1. The same seed gives the same bytes, on every machine and with any number
//     of processors: each part has its own random source, made from seed and part.
//  2. A part ends with a line's end: no word and no line crosses parts.
//
// A [Generator] belongs to one goroutine; [Generator.Fork] makes one for another.
package text

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// WordsPerLine is the number of words in every line.
const WordsPerLine = 10

// Generator makes lines of text.
type Generator struct {
	vocabulary *vocabulary
	seed       uint64
	random     *rand.PCG
}

// New makes a generator. It builds the vocabulary, which takes some 50 ms.
func New(seed uint64) *Generator {
	return &Generator{newVocabulary(seed), seed, rand.NewPCG(seed, 0)}
}

// Fork returns a generator over the same vocabulary with a random source of its
// own, chosen by n.
func (g *Generator) Fork(n uint64) *Generator {
	return &Generator{g.vocabulary, g.seed, rand.NewPCG(g.seed, n+1)}
}

// Word draws a word. The bytes belong to the generator and must not be changed.
func (g *Generator) Word() []byte { return g.vocabulary.draw(g.random.Uint64()) }

// AppendLine appends a line and its newline to dst.
func (g *Generator) AppendLine(dst []byte) []byte {
	for range WordsPerLine {
		dst = append(dst, g.Word()...)
		dst = append(dst, ' ')
	}
	dst[len(dst)-1] = '\n'
	return dst
}

// Write fills dir, which it makes if need be, with parts files that together hold
// size bytes or a few more: each part ends with the line that reaches its share.
// A directory that holds something already is refused, for whoever counts the
// words of dir would count that too.
func Write(dir string, size int64, parts int, seed uint64) error {
	if size < 0 || parts < 1 {
		return fmt.Errorf("text: write %d bytes in %d parts: want a size of 0 or more and at least one part", size, parts)
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("text: make directory: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("text: look into directory: %w", err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("text: write into %s: it holds %s already; name an empty directory", dir, entries[0].Name())
	}
	root := New(seed)
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for part := range parts {
		group.Go(func() error {
			share := size/int64(parts) + min(1, max(0, size%int64(parts)-int64(part)))
			name := filepath.Join(dir, fmt.Sprintf("part-%05d.txt", part))
			if err := writePart(name, share, root.Fork(uint64(part))); err != nil {
				return fmt.Errorf("text: write part %d: %w", part, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// writePart writes lines until size bytes are reached.
func writePart(name string, size int64, g *Generator) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriterSize(f, 1<<18)
	for written := int64(0); written < size; {
		line := g.AppendLine(w.AvailableBuffer())
		if _, err := w.Write(line); err != nil {
			return err
		}
		written += int64(len(line))
	}
	return w.Flush()
}
