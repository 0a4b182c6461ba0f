// Command iot watches temperature sensors: the mean and the highest temperature of
// the last minute, every ten seconds, and the readings that came too late for
// that. See README.md.
package main

import (
	"flag"
	"fmt"
	"path/filepath"
	"time"

	"github.com/weirflow/weir/connector/console"
	"github.com/weirflow/weir/connector/file"
	"github.com/weirflow/weir/sdk"
	"github.com/weirflow/weir/sdk/run"
)

// Reading is one measurement, as it stands in the input.
type Reading struct {
	Time    time.Time `csv:"time" json:"time"`
	Sensor  string    `csv:"sensor" json:"sensor"`
	Celsius float64   `csv:"celsius" json:"celsius"`
}

// Climate is what a sensor measured in a minute.
type Climate struct {
	Sensor   string    `json:"sensor"`
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
	Mean     float64   `json:"mean"`
	Highest  float64   `json:"highest"`
	Readings int64     `json:"readings"`
}

// LateCount is how many readings of an hour came too late from a sensor.
type LateCount struct {
	Sensor string    `json:"sensor"`
	Hour   time.Time `json:"hour"`
	Count  int64     `json:"count"`
}

const (
	span     = time.Minute
	every    = 10 * time.Second
	disorder = 20 * time.Second // the radio delivers readings so much out of order
)

type config struct {
	input, output string
	watch         bool
	hot           float64
}

func main() {
	var c config
	flag.StringVar(&c.input, "input", "examples/iot/testdata/readings", "read the CSV files in `DIR`")
	flag.StringVar(&c.output, "output", "", "also write all results and all late readings to `DIR`, as JSON Lines")
	flag.BoolVar(&c.watch, "watch", false, "go on with files that are added to the input")
	flag.Float64Var(&c.hot, "hot", 30.4, "print minutes with a mean of at least so many `DEGREES`")
	run.Main("iot", func(p *sdk.Pipeline) error {
		r := build(p, c)
		sdk.Write(sdk.Filter(r.climate, func(m Climate) bool { return m.Mean >= c.hot }), console.Print(nil, Climate.String))
		if c.output != "" {
			sdk.Write(r.climate, file.JSONLinesSink[Climate](filepath.Join(c.output, "climate")))
			sdk.Write(r.late, file.JSONLinesSink[Reading](filepath.Join(c.output, "late")))
		}
		sdk.Write(r.lateCounts, console.Print(nil, LateCount.String))
		return nil
	})
}

// results are the streams that the pipeline ends in.
type results struct {
	climate    *sdk.Stream[Climate]
	late       *sdk.Stream[Reading]
	lateCounts *sdk.Stream[LateCount]
}

// build is the pipeline. The gateway writes one file after the other, so event time
// may advance while they are read, by one subtask in this order: what is late in a
// run over the live folder is late in a run over last month's files too.
func build(p *sdk.Pipeline, c config) results {
	var opts []file.CSVOption
	if c.watch {
		opts = append(opts, file.Watch(time.Second))
	}
	times := sdk.OutOfOrder(disorder, Reading.time).InOrder()
	readings := sdk.ReadTimed(p, file.CSV[Reading](c.input, opts...), times, sdk.Parallelism(1))

	bySensor := sdk.KeyBy(readings, Reading.sensor)
	minutes, late := sdk.AggregateWindow(sdk.Window(bySensor, sdk.Sliding(span, every)), climate, sdk.Name("climate"))

	// A late reading would be late for other windows in event time too: all of them
	// are counted in one window that does not end.
	lateness := sdk.Window(sdk.KeyBy(late, Reading.lateKey), sdk.Global(), lateTrigger(c.watch)...)
	lateCounts, _ := sdk.AggregateWindow(lateness, sdk.Count[Reading](), sdk.Name("count late"))

	return results{
		climate: sdk.Map(minutes, func(w sdk.WindowResult[string, Climate]) Climate {
			m := w.Value
			m.Sensor, m.From, m.To = w.Key, w.Window.Start.Std(), w.Window.End.Std()
			return m
		}),
		late: late,
		lateCounts: sdk.Map(lateCounts, func(w sdk.WindowResult[lateKey, int64]) LateCount {
			return LateCount{w.Key.Sensor, w.Key.Hour.Std(), w.Value}
		}),
	}
}

// lateTrigger says when late readings are told: at the end, where there is one, and
// otherwise every ten seconds of the clock.
func lateTrigger(watch bool) []sdk.WindowOption {
	if !watch {
		return nil
	}
	return []sdk.WindowOption{sdk.TriggerOn(sdk.Every(10 * time.Second))}
}

// climate keeps sums and not readings. Sliding windows are put together from
// pieces of ten seconds, which is why there is a Merge.
var climate = sdk.Aggregator[Reading, sums, Climate]{
	Add:   func(s *sums, r Reading) { s.merge(sums{1, r.Celsius, r.Celsius}) },
	Merge: func(into, from *sums) { into.merge(*from) },
	Result: func(s *sums) Climate {
		return Climate{Mean: s.Celsius / float64(s.Readings), Highest: s.Highest, Readings: s.Readings}
	},
}

type sums struct {
	Readings         int64
	Celsius, Highest float64
}

func (s *sums) merge(o sums) {
	if s.Readings == 0 || o.Readings > 0 && o.Highest > s.Highest {
		s.Highest = o.Highest
	}
	s.Readings += o.Readings
	s.Celsius += o.Celsius
}

// lateKey is by what late readings are counted.
type lateKey struct {
	Sensor string
	Hour   sdk.Time
}

func (r Reading) time() sdk.Time { return sdk.TimeOf(r.Time) }
func (r Reading) sensor() string { return r.Sensor }
func (r Reading) lateKey() lateKey {
	return lateKey{r.Sensor, sdk.TimeOf(r.Time.Truncate(time.Hour))}
}

// String is a line for the terminal.
func (m Climate) String() string {
	return fmt.Sprintf("%s  %s to %s  mean %5.2f  highest %5.2f", m.Sensor, m.From.Format(time.TimeOnly), m.To.Format(time.TimeOnly), m.Mean, m.Highest)
}

// String is a line for the terminal.
func (l LateCount) String() string {
	return fmt.Sprintf("%s  %d readings of %s came too late", l.Sensor, l.Count, l.Hour.Format("15:04"))
}
