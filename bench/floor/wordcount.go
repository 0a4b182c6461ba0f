package floor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// rangeSize is how much of a file a goroutine takes at once.
const rangeSize = 1 << 20

// space says which bytes part words: ASCII white space, as for tr and wc in the
// C locale.
var space = [256]bool{' ': true, '\t': true, '\n': true, '\v': true, '\f': true, '\r': true}

// WordCount counts the words of the files in dir, split at white space.
// Events is the number of words, Results that of different ones, Max the
// count of the most common, Check the sum of [CheckWord] over words and counts.
//
// The files are cut into ranges that the goroutines take one after the other.
// Each goroutine counts into a hash table of its own, and the first table takes
// in the others at the end. The hash is computed while the word's end is searched;
// a map[string]*int64 looked up with the word's bytes took 1.5 times as long.
func WordCount(dir string, parallelism int) (Result, error) {
	var err error
	r := timed(func() (r Result) {
		var t *wordTable
		if t, err = countWords(dir, parallelism); err == nil {
			r = t.result()
		}
		return r
	})
	return r, err
}

func countWords(dir string, parallelism int) (*wordTable, error) {
	ranges, err := listRanges(dir)
	if err != nil {
		return nil, fmt.Errorf("floor: count words in %s: %w", dir, err)
	}
	tables := make([]*wordTable, max(1, parallelism))
	var next atomic.Int64
	var group errgroup.Group
	for i := range tables {
		tables[i] = newWordTable()
		group.Go(func() error {
			buf := make([]byte, rangeSize+1)
			for n := next.Add(1); n <= int64(len(ranges)); n = next.Add(1) {
				words, err := ranges[n-1].read(buf)
				if err != nil {
					return fmt.Errorf("floor: count words: %w", err)
				}
				tables[i].countAll(words)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for _, t := range tables[1:] {
		tables[0].merge(t)
	}
	return tables[0], nil
}

// fileRange is the part of a file from off to end.
type fileRange struct {
	name     string
	off, end int64
}

func listRanges(dir string) ([]fileRange, error) {
	entries, err := os.ReadDir(dir)
	var ranges []fileRange
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		for off := int64(0); off < info.Size() && info.Mode().IsRegular(); off += rangeSize {
			ranges = append(ranges, fileRange{filepath.Join(dir, e.Name()), off, min(off+rangeSize, info.Size())})
		}
	}
	return ranges, err
}

// read returns, in buf's memory if they fit, the words that begin in the range.
// buf has room for a range and one byte more. It reads from the byte before the range, which tells whether a word of the range before goes
// on in this one, to the end of the range's last word.
func (r fileRange) read(buf []byte) ([]byte, error) {
	f, err := os.Open(r.name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	from := max(0, r.off-1)
	buf = buf[:r.end-from]
	if _, err := f.ReadAt(buf, from); err != nil {
		return nil, err
	}
	skip := 0
	if r.off > 0 {
		for skip < len(buf) && !space[buf[skip]] {
			skip++
		}
		if skip == len(buf) {
			return buf[:0], nil
		}
	}
	var more [64]byte
	for at := r.end; !space[buf[len(buf)-1]]; {
		n, err := f.ReadAt(more[:], at)
		for i, c := range more[:n] {
			if space[c] {
				n, err = i+1, nil
				break
			}
		}
		buf, at = append(buf, more[:n]...), at+int64(n)
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
	}
	return buf[skip:], nil
}
