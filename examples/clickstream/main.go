// Command clickstream analyses the clicks on a web site, from files of JSON Lines
// or from a Kafka topic: clicks by page and minute, views and visitors by page and
// hour, visits, and the most common paths through the site. See README.md.
package main

import (
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/weirflow/weir/connector/console"
	"github.com/weirflow/weir/connector/file"
	"github.com/weirflow/weir/connector/kafka"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/sdk"
	"github.com/weirflow/weir/sdk/run"
)

type config struct {
	input string // files
	watch bool

	brokers, topic, until string // Kafka

	output string
}

func main() {
	var c config
	flag.StringVar(&c.input, "input", "examples/clickstream/testdata/clicks", "read clicks from the JSON Lines files in `DIR`")
	flag.BoolVar(&c.watch, "watch", false, "go on with files that are added to the input")
	flag.StringVar(&c.brokers, "kafka", "", "read clicks from Kafka, not from files: `BROKERS` as host:port,host:port")
	flag.StringVar(&c.topic, "topic", "clicks", "the `TOPIC` to read")
	flag.StringVar(&c.until, "until", "", "end at `TIME`, as in 2026-01-15T11:00:00Z, or at \"latest\", which is what the topic holds now; without it, never")
	flag.StringVar(&c.output, "output", "", "also write the results to `DIR`, as JSON Lines")
	run.Main("clickstream", func(p *sdk.Pipeline) error {
		clicks, opts, err := c.source()
		if err != nil {
			return err
		}
		r := build(p, clicks, opts...)
		if c.output != "" {
			r.write(c.output)
		}
		sdk.Write(r.report(c.endless()), console.Print[string](nil, nil))
		return nil
	})
}

// endless reports whether the input has no end.
func (c config) endless() bool { return c.watch || c.brokers != "" && c.until == "" }

// source is where the clicks come from. The pipeline is the same for all.
//
// Files that are added to a folder are read by one subtask, in their order: what
// stands in the next one happened later.
func (c config) source() (operator.Source[Click], []sdk.SourceOption, error) {
	if c.brokers == "" {
		if c.until != "" {
			return nil, nil, errors.New("--until is for --kafka: files have an end, unless --watch is given")
		}
		if c.watch {
			return file.JSONLines[Click](c.input, file.Watch(time.Second)), []sdk.SourceOption{sdk.Parallelism(1)}, nil
		}
		return file.JSONLines[Click](c.input), nil, nil
	}
	var opts []kafka.SourceOption
	switch c.until {
	case "":
	case "latest":
		opts = append(opts, kafka.EndLatest())
	default:
		t, err := time.Parse(time.RFC3339, c.until)
		if err != nil {
			return nil, nil, fmt.Errorf("--until: %w", err)
		}
		opts = append(opts, kafka.EndAt(t))
	}
	return kafka.Source(strings.Split(c.brokers, ","), []string{c.topic}, kafka.JSON[Click](), opts...), nil, nil
}

// write sends each result to files in a folder of its own.
func (r results) write(dir string) {
	sdk.Write(r.minutes, file.JSONLinesSink[PageMinute](filepath.Join(dir, "minutes")))
	sdk.Write(r.hours, file.JSONLinesSink[PageHour](filepath.Join(dir, "hours")))
	sdk.Write(r.visits, file.JSONLinesSink[Visit](filepath.Join(dir, "visits")))
	sdk.Write(r.paths, file.JSONLinesSink[PathHour](filepath.Join(dir, "paths")))
}
