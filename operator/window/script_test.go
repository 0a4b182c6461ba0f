package window

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/weirflow/weir/flow"
)

// TestScripts runs testdata/*: windows under triggers, in processing time, and
// whatever else is read better than described.
//
//	window KIND size=.. slide=.. gap=.. lateness=.. mode=discarding trigger=.. processing-time
//	send KEY@TIME ...     each record gets the next number
//	watermark TIME|max
//	clock TIME
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var d *drive[rec, Result[int, string]]
		id := 0
		datadriven.RunTest(t, path, func(t *testing.T, td *datadriven.TestData) string {
			var b strings.Builder
			switch td.Cmd {
			case "window":
				spec, err := parseSpec(td)
				if err != nil {
					return err.Error()
				}
				op, err := NewAggregate(testConfig(spec), idAggregator())
				if err != nil {
					return err.Error()
				}
				d, id = newDrive[rec, Result[int, string]](t, op, nil), 0
				for _, a := range spec.Attrs() {
					fmt.Fprintf(&b, "%s: %s\n", a.Key, a.Value)
				}
				return b.String()
			case "send":
				var batch flow.Batch[rec]
				for _, a := range td.CmdArgs {
					var r rec
					if n, _ := fmt.Sscanf(a.Key, "%d@%d", &r.Key, &r.At); n < 2 {
						r.At = flow.MinTime
					}
					id++
					r.ID = id
					batch.Append(r, r.At)
				}
				if err := d.in.Receive(&batch); err != nil {
					return err.Error()
				}
			case "watermark":
				var at flow.Time
				if at = flow.MaxTime; td.CmdArgs[0].Key != "max" {
					fmt.Sscan(td.CmdArgs[0].Key, &at)
				}
				d.watermark(t, at)
			case "clock":
				var at flow.Time
				fmt.Sscan(td.CmdArgs[0].Key, &at)
				d.clock(t, at)
			default:
				t.Fatalf("%s: unknown command %s", td.Pos, td.Cmd)
			}
			rs, times := d.out.take()
			for i, r := range rs {
				w := r.Window.String()
				if r.Window != All {
					w = fmt.Sprintf("[%d,%d)", r.Window.Start, r.Window.End)
				}
				last := ""
				if r.Pane.Last {
					last = " last"
				}
				at := fmt.Sprint(int64(times[i]))
				if times[i] == All.Last() || times[i] == flow.MinTime {
					at = "-"
				}
				fmt.Fprintf(&b, "%d %s %s, pane %d %v%s, at %s\n", r.Key, w, r.Value, r.Pane.Index, r.Pane.Timing, last, at)
			}
			late, _ := d.late.take()
			for _, r := range late {
				fmt.Fprintf(&b, "late: %d\n", r.ID)
			}
			if b.Len() == 0 {
				return "-"
			}
			return b.String()
		})
	})
}

func parseSpec(td *datadriven.TestData) (Spec, error) {
	var s Spec
	num := func(key string) (n int) {
		for _, a := range td.CmdArgs {
			if a.Key == key && len(a.Vals) > 0 {
				fmt.Sscan(a.Vals[0], &n)
			}
		}
		return n
	}
	d := func(key string) duration { return duration(num(key)) * micro }
	switch td.CmdArgs[0].Key {
	case "tumbling":
		s.Assigner = Tumbling(d("size"))
	case "sliding":
		s.Assigner = Sliding(d("size"), d("slide"))
	case "cumulative":
		s.Assigner = Cumulative(d("size"), d("slide"))
	case "session":
		s.Assigner = Session(d("gap"))
	case "global":
		s.Assigner = Global()
	case "count":
		s.Assigner = CountSliding(int64(num("size")), int64(num("slide")))
	}
	s.Lateness = d("lateness")
	for _, a := range td.CmdArgs {
		switch a.Key {
		case "processing-time":
			s.Assigner = s.Assigner.InProcessingTime()
		case "mode":
			if slices.Contains(a.Vals, "discarding") {
				s.Mode = Discarding
			}
		case "trigger":
			for _, v := range a.Vals {
				s.Trigger = parseTrigger(v)
			}
		}
	}
	return s, nil
}

// parseTrigger reads count:N, every:N, early:(T), late:(T), both:(T):(T).
func parseTrigger(v string) Trigger {
	kind, arg, _ := strings.Cut(v, ":")
	var n int
	fmt.Sscan(arg, &n)
	switch kind {
	case "count":
		return EveryCount(int64(n))
	case "every":
		return Every(duration(n) * micro)
	case "early":
		return EarlyLate(parseTrigger(arg), nil)
	case "late":
		return EarlyLate(nil, parseTrigger(arg))
	case "both":
		a, b, _ := strings.Cut(arg, ";")
		return EarlyLate(parseTrigger(a), parseTrigger(b))
	case "purge":
		return Purging(parseTrigger(arg))
	}
	return AtWatermark()
}
