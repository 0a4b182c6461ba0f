package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// beats are the times of results in a directory, in microseconds since 1970, sorted.
func beats(dir string) ([]int64, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.beats"))
	if err != nil {
		return nil, fmt.Errorf("looking for the times of results: %w", err)
	}
	var all []int64
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("reading the times of results: %w", err)
		}
		// A last line without its end is one of a process that was killed.
		for line := range bytes.Lines(data) {
			text, whole := bytes.CutSuffix(line, []byte("\n"))
			if n, err := strconv.ParseInt(string(text), 10, 64); err == nil && whole {
				all = append(all, n)
			}
		}
	}
	slices.Sort(all)
	return all, nil
}

// gap is the longest time without a result that began or ended between two moments, and
// false where nothing has come after the second: it is not over.
func gap(beats []int64, from, to time.Time) (longest time.Duration, over bool) {
	first, last := from.UnixMicro(), to.UnixMicro()
	before := int64(0)
	for _, at := range beats {
		if before != 0 && at >= first && before <= last {
			longest = max(longest, time.Duration(at-before)*time.Microsecond)
		}
		before = at
	}
	return longest, before > last
}

// firstAfter is the first result behind a moment.
func firstAfter(beats []int64, at time.Time) (time.Duration, bool) {
	i, _ := slices.BinarySearch(beats, at.UnixMicro())
	if i == len(beats) {
		return 0, false
	}
	return time.Duration(beats[i]-at.UnixMicro()) * time.Microsecond, true
}
