package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/weirflow/weir/bench/floor"
	"github.com/weirflow/weir/bench/text"
	"github.com/weirflow/weir/connector/file"
	"github.com/weirflow/weir/sdk"
	"github.com/weirflow/weir/sdk/run"
)

var wordcount = Case{
	Name: "wordcount",
	What: "count the words of a directory of text; without --input 100 MB of Zipf text are made",
	run:  runWordCount,
}

const textSize = 100_000_000

// inputText is the directory of the text: the given one, or one that is made and
// kept in the system's temporary directory.
func inputText(dir string) (string, error) {
	if dir != "" {
		return dir, nil
	}
	dir = filepath.Join(os.TempDir(), "weir-bench-text-100mb-1")
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	made, err := os.MkdirTemp(os.TempDir(), "weir-bench-text-")
	if err != nil {
		return "", err
	}
	if err := text.Write(made, textSize, 4, 1); err != nil {
		return "", fmt.Errorf("making the text: %w", err)
	}
	return dir, os.Rename(made, dir)
}

// splitWords emits the words of a line, split at ASCII white space.
func splitWords(line string, out *sdk.Out[string]) {
	start := -1
	for i := range len(line) {
		c := line[i]
		if c == ' ' || c-'\t' < 5 {
			if start >= 0 {
				out.Emit(line[start:i])
				start = -1
			}
		} else if start < 0 {
			start = i
		}
	}
	if start >= 0 {
		out.Emit(line[start:])
	}
}

func runWordCount(ctx context.Context, o Options) (Result, error) {
	dir, err := inputText(o.Input)
	if err != nil {
		return Result{}, err
	}
	type count = sdk.WindowResult[string, int64]
	var words int64
	sink := &checkSink[count]{batch: func(vals []count) (check uint64, total int64) {
		for i := range vals {
			check += floor.CheckWord(vals[i].Key, vals[i].Value)
		}
		return check, 0
	}}
	p := sdk.New("wordcount")
	all := sdk.FlatMap(sdk.Read(p, file.Text(dir)), splitWords)
	counts, _ := sdk.AggregateWindow(sdk.Window(sdk.KeyBy(all, func(w string) string { return w }), sdk.Global()), sdk.Count[string]())
	sdk.Write(counts, sink)
	r, err := measure(func() int64 { return words }, func() error {
		return run.Run(ctx, p, run.Options{Parallelism: o.Parallelism})
	})
	if err != nil {
		return r, err
	}
	f, err := floor.WordCount(dir, o.Parallelism)
	if err != nil {
		return r, err
	}
	words = f.Events
	r.Events, r.EventsPerS, r.AllocsPerEvent = words, float64(words)/r.WallS, r.AllocsPerEvent/float64(words)
	if !o.NoFloor {
		r.FloorPerS = f.EventsPerSecond()
	}
	if sink.results != f.Results || sink.check != f.Check {
		return r, mismatch("number of different words", sink.results, f.Results)
	}
	return r, nil
}
