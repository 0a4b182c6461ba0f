// Command job is the program whose processes package chaos kills: one pipeline for each
// of its parts, over one or two inputs, with a folder of results for each sink.
//
// What it writes depends on nothing but the input: where the order of records matters
// it is that of their event times, and what is counted is counted by key, so that each
// number comes once. So a result that is lost, doubled or made from state that lost or
// doubled something differs from that of a program that reads the input from its
// beginning to its end.
package main

import (
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/weirflow/weir/connector/file"
	"github.com/weirflow/weir/connector/kafka"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/sdk"
	"github.com/weirflow/weir/sdk/run"
)

// Event is one record of the input.
type Event struct {
	ID    int64 `json:"id"`
	Key   int64 `json:"key"`
	Time  int64 `json:"t"` // milliseconds
	Value int64 `json:"v"`
}

// disorder is how far behind an earlier one an event's time may be.
const disorder = time.Second

type config struct {
	left, right, output, parts string
	pace, slow                 time.Duration
	brokers, in, out           string // Kafka
}

func main() {
	var c config
	flag.StringVar(&c.left, "left", "", "read events from the files of `DIR`")
	flag.StringVar(&c.right, "right", "", "read the events to join with from the files of `DIR`")
	flag.StringVar(&c.output, "output", "", "write results to folders of `DIR`")
	flag.StringVar(&c.parts, "parts", "map", "run these `PARTS`: map, keyed, windows, joins, timers")
	flag.DurationVar(&c.pace, "pace", 0, "rest for so long for each 64 records that are read")
	flag.DurationVar(&c.slow, "slow", 0, "rest for so long at each 64 records behind an exchange")
	flag.StringVar(&c.brokers, "kafka", "", "read events from Kafka, and write there what the part keyed counts: `BROKERS`")
	flag.StringVar(&c.in, "in", "", "the `TOPIC` to read")
	flag.StringVar(&c.out, "out", "", "the `TOPIC` to write")
	run.Main("chaos", func(p *sdk.Pipeline) error { return c.build(p) })
}

// at is an event's time.
func at(e Event) sdk.Time { return sdk.TimeOf(time.UnixMilli(e.Time)) }

// events reads a folder, whose files follow one another in event time.
func (c *config) events(p *sdk.Pipeline, dir, name string) *sdk.Stream[Event] {
	times := sdk.OutOfOrder(disorder, at).InOrder()
	return sdk.ReadTimed(p, paced{file.JSONLines[Event](dir, file.SplitSize(32<<10)), c.pace}, times, sdk.ID(name))
}

// paced is a source whose readers rest.
type paced struct {
	operator.Source[Event]
	rest time.Duration
}

func (s paced) Reader(ctx *operator.ReaderContext) (operator.Reader[Event], error) {
	r, err := s.Source.Reader(ctx)
	return pacedReader{r, s.rest}, err
}

type pacedReader struct {
	operator.Reader[Event]
	rest time.Duration
}

func (r pacedReader) Read(into *operator.Records[Event], most int) (operator.Status, error) {
	status, err := r.Reader.Read(into, min(most, 64))
	time.Sleep(r.rest * time.Duration(into.Len()) / 64)
	return status, err
}

func (c *config) build(p *sdk.Pipeline) error {
	parts := strings.Split(c.parts, ",")
	for _, part := range parts {
		if !slices.Contains([]string{"map", "keyed", "windows", "joins", "timers"}, part) {
			return fmt.Errorf("there is no part %q", part)
		}
	}
	on := func(part string) bool { return slices.Contains(parts, part) }
	var left *sdk.Stream[Event]
	if c.brokers != "" {
		source := kafka.Source(c.addresses(), []string{c.in}, kafka.JSON[Event](), kafka.EndLatest())
		left = sdk.ReadTimed(p, paced{source, c.pace}, sdk.OutOfOrder(disorder, at), sdk.ID("left"))
	} else {
		left = c.events(p, c.left, "left")
	}
	// What waits in front of it is overtaken by epochs that do not align.
	left = sdk.Map(sdk.Rebalance(left), func(e Event) Event {
		if e.ID%64 == 0 {
			time.Sleep(c.slow)
		}
		return e
	}, sdk.ID("slow"))
	if on("map") {
		kept := sdk.Filter(left, func(e Event) bool { return e.Value%3 != 0 }, sdk.ID("filter"))
		c.write("map", sdk.Map(kept, func(e Event) string { return fmt.Sprintf("%d %d", e.ID, 2*e.Value) }, sdk.ID("map")))
	}
	if on("keyed") {
		c.keyed(left)
	}
	if on("windows") {
		c.windows(left)
	}
	if on("timers") {
		c.timers(left)
	}
	if on("joins") {
		c.joins(left, c.events(p, c.right, "right"))
	}
	return nil
}

func (c *config) addresses() []string { return strings.Split(c.brokers, ",") }

func (c *config) write(folder string, s *sdk.Stream[string]) {
	sdk.Write(s, file.TextSink(filepath.Join(c.output, folder)), sdk.ID("write "+folder))
}

// byKey is the events by their key.
func byKey(s *sdk.Stream[Event]) *sdk.Keyed[int64, Event] {
	return sdk.KeyBy(s, func(e Event) int64 { return e.Key })
}

func (c *config) windows(s *sdk.Stream[Event]) {
	type span struct{ From, To, Count, Sum int64 }
	sum := sdk.Aggregator[Event, span, string]{
		Add: func(a *span, e Event) {
			if a.Count == 0 {
				a.From, a.To = e.Time, e.Time
			}
			a.From, a.To = min(a.From, e.Time), max(a.To, e.Time)
			a.Count, a.Sum = a.Count+1, a.Sum+e.Value
		},
		Merge: func(into, from *span) {
			if into.Count == 0 || from.Count == 0 {
				if into.Count == 0 {
					*into = *from
				}
				return
			}
			into.From, into.To = min(into.From, from.From), max(into.To, from.To)
			into.Count, into.Sum = into.Count+from.Count, into.Sum+from.Sum
		},
		Result: func(a *span) string { return fmt.Sprintf("%d-%d %d %d", a.From, a.To, a.Count, a.Sum) },
	}
	// In an order: all executors of a job build the same pipeline.
	for _, by := range []struct {
		folder string
		w      sdk.Windowing
	}{
		{"tumbling", sdk.Tumbling(time.Second)},
		{"sliding", sdk.Sliding(2*time.Second, 500*time.Millisecond)},
		{"session", sdk.Session(1500 * time.Millisecond)},
	} {
		results, late := sdk.AggregateWindow(sdk.Window(byKey(s), by.w), sum, sdk.ID(by.folder))
		lines := sdk.Map(results, func(r sdk.WindowResult[int64, string]) string {
			return fmt.Sprintf("%d %d: %s", r.Key, r.Window.Start.Std().UnixMilli(), r.Value)
		}, sdk.ID(by.folder+" lines"))
		c.write(by.folder, lines)
		c.late(by.folder, late)
	}
}

// late writes what came too late: nothing, by the input's times.
func (c *config) late(folder string, s *sdk.Stream[Event]) {
	lines := sdk.Map(s, func(e Event) string { return fmt.Sprintf("%d at %d", e.ID, e.Time) }, sdk.ID(folder+" late lines"))
	c.write(folder+"-late", lines)
}

func (c *config) joins(l, r *sdk.Stream[Event]) {
	pair := func(l, r Event) string { return fmt.Sprintf("%d %d", l.ID, r.ID) }
	near, lateL, lateR := sdk.IntervalJoin(byKey(l), byKey(r), -time.Second, time.Second, pair, sdk.ID("interval"))
	c.write("interval", near)
	c.late("interval", sdk.Union(lateL, lateR))

	within, lateL, lateR := sdk.WindowJoin(byKey(l), byKey(r), sdk.Tumbling(2*time.Second), sdk.InnerJoin,
		func(_ sdk.WindowSpan, p sdk.Pair[Event, Event]) string { return pair(p.Left, p.Right) }, sdk.ID("within"))
	c.write("within", within)
	c.late("within", sdk.Union(lateL, lateR))

	byValue := func(s *sdk.Stream[Event]) *sdk.Keyed[int64, Event] {
		return sdk.KeyBy(s, func(e Event) int64 { return e.Value })
	}
	c.write("always", sdk.Join(byValue(l), byValue(r), sdk.InnerJoin,
		func(p sdk.Pair[Event, Event]) string { return pair(p.Left, p.Right) }, sdk.ID("always")))
}
