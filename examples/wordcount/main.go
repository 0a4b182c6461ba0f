// Command wordcount counts the words of text files: the smallest pipeline that is
// of use. See README.md.
package main

import (
	"errors"
	"flag"
	"strconv"
	"time"

	"github.com/weirflow/weir/connector/file"
	"github.com/weirflow/weir/sdk"
	"github.com/weirflow/weir/sdk/run"
)

type config struct {
	input, output string
	watch         bool
}

func main() {
	var c config
	flag.StringVar(&c.input, "input", "examples/wordcount/testdata/input", "count the words of the files in `DIR`, or of one file or glob")
	flag.StringVar(&c.output, "output", "", "write lines of word, tab, count to files in `DIR`")
	flag.BoolVar(&c.watch, "watch", false, "go on with files that are added to the input; every second, write the new counts of words that changed")
	run.Main("wordcount", func(p *sdk.Pipeline) error { return build(p, c) })
}

// build is the whole pipeline: lines, words, counts, lines.
func build(p *sdk.Pipeline, c config) error {
	if c.output == "" {
		return errors.New("say where the counts go: --output DIR")
	}
	var source []file.TextOption
	var window []sdk.WindowOption
	if c.watch {
		source = append(source, file.Watch(time.Second))
		window = append(window, sdk.TriggerOn(sdk.Every(time.Second)))
	}
	lines := sdk.Read(p, file.Text(c.input, source...))
	words := sdk.KeyBy(sdk.FlatMap(lines, split, sdk.Name("split")), func(word string) string { return word })
	counts, _ := sdk.AggregateWindow(sdk.Window(words, sdk.Global(), window...), sdk.Count[string](), sdk.Name("count"))
	sdk.Write(sdk.Map(counts, format, sdk.Name("format")), file.TextSink(c.output))
	return nil
}

// split emits the words of a line. They are parts of the line's own memory. White
// space is that of ASCII, as for tr and wc in the C locale.
func split(line string, out *sdk.Out[string]) {
	start := 0
	for i := range len(line) {
		if space[line[i]] {
			if i > start {
				out.Emit(line[start:i])
			}
			start = i + 1
		}
	}
	if start < len(line) {
		out.Emit(line[start:])
	}
}

var space = [256]bool{' ': true, '\t': true, '\n': true, '\v': true, '\f': true, '\r': true}

// format makes a line of the output: the word, a tab, and its count.
func format(r sdk.WindowResult[string, int64]) string {
	return r.Key + "\t" + strconv.FormatInt(r.Value, 10)
}
