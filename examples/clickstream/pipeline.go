package main

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/sdk"
)

// Click is one click, as it stands in the input.
type Click struct {
	Time time.Time `json:"time"`
	User string    `json:"user"`
	Page string    `json:"page"`
}

// PageMinute is how often a page was clicked in a minute.
type PageMinute struct {
	Minute time.Time `json:"minute"`
	Page   string    `json:"page"`
	Clicks int64     `json:"clicks"`
}

// PageHour is how often a page was viewed in an hour, and by how many users.
type PageHour struct {
	Hour     time.Time `json:"hour"`
	Page     string    `json:"page"`
	Views    int64     `json:"views"`
	Visitors int       `json:"visitors"`
}

// Visit is a session of a user: clicks with less than visitGap between them.
type Visit struct {
	User   string    `json:"user"`
	Start  time.Time `json:"start"`
	End    time.Time `json:"end"` // the last click
	Clicks int       `json:"clicks"`
	Path   string    `json:"path"` // the pages in their order
}

// PathHour is a path that was among the most common ones of the visits that ended
// in an hour.
type PathHour struct {
	Hour   time.Time `json:"hour"`
	Rank   int       `json:"rank"`
	Path   string    `json:"path"`
	Visits int64     `json:"visits"`
}

const (
	disorder = 5 * time.Second // clicks arrive at most so much out of order
	silence  = time.Minute     // of a Kafka partition that the others do not wait for
	visitGap = 5 * time.Minute
	topPaths = 10
)

// results are the streams that the pipeline ends in.
type results struct {
	minutes *sdk.Stream[PageMinute]
	hours   *sdk.Stream[PageHour]
	visits  *sdk.Stream[Visit]
	paths   *sdk.Stream[PathHour]
}

// build is the pipeline, whatever the source is. One click in a hundred may be
// broken; with more the job fails.
func build(p *sdk.Pipeline, source operator.Source[Click], opts ...sdk.SourceOption) (r results) {
	times := sdk.OutOfOrder(disorder, func(c Click) sdk.Time { return sdk.TimeOf(c.Time) })
	opts = append(opts, sdk.SkipBad(0, 0.01), sdk.Name("clicks"))
	clicks := sdk.ReadTimed(p, source, times.WithIdle(silence), opts...)

	byPage := sdk.KeyBy(clicks, func(c Click) string { return c.Page })
	perMinute, _ := sdk.AggregateWindow(sdk.Window(byPage, sdk.Tumbling(time.Minute)), sdk.Count[Click](), sdk.Name("clicks by minute"))
	r.minutes = sdk.Map(perMinute, func(w sdk.WindowResult[string, int64]) PageMinute {
		return PageMinute{w.Window.Start.Std(), w.Key, w.Value}
	})

	perHour, _ := sdk.AggregateWindow(sdk.Window(byPage, sdk.Tumbling(time.Hour)), countViews, sdk.Name("visitors by hour"))
	r.hours = sdk.Map(perHour, func(w sdk.WindowResult[string, PageHour]) PageHour {
		w.Value.Hour, w.Value.Page = w.Window.Start.Std(), w.Key
		return w.Value
	})

	byUser := sdk.KeyBy(clicks, func(c Click) string { return c.User })
	sessions, _ := sdk.AggregateWindow(sdk.Window(byUser, sdk.Session(visitGap)), followPath, sdk.Name("visits"))
	r.visits = sdk.Map(sessions, func(w sdk.WindowResult[string, Visit]) Visit {
		w.Value.User = w.Key
		return w.Value
	})

	r.paths = rankPaths(r.visits)
	return r
}

// rankPaths counts the paths of the visits that ended in an hour, in parallel, and
// then ranks the counts of the hour in one place.
func rankPaths(visits *sdk.Stream[Visit]) *sdk.Stream[PathHour] {
	type counted = sdk.WindowResult[string, int64]
	byPath := sdk.KeyBy(visits, func(v Visit) string { return v.Path })
	counts, _ := sdk.AggregateWindow(sdk.Window(byPath, sdk.Tumbling(time.Hour)), sdk.Count[Visit](), sdk.Name("count paths"))
	byHour := sdk.KeyBy(counts, func(c counted) sdk.Time { return c.Window.Start })
	mostCommon := sdk.TopNAggregator(topPaths, func(a, b counted) bool {
		if a.Value != b.Value {
			return a.Value > b.Value
		}
		return a.Key < b.Key
	})
	top, _ := sdk.AggregateWindow(sdk.Window(byHour, sdk.Tumbling(time.Hour)), mostCommon, sdk.Name("rank paths"))
	return sdk.FlatMap(top, func(w sdk.WindowResult[sdk.Time, []counted], out *sdk.Out[PathHour]) {
		for i, c := range w.Value {
			out.Emit(PathHour{w.Window.Start.Std(), i + 1, c.Key, c.Value})
		}
	})
}

// views is what is kept of a page in an hour.
type views struct {
	Clicks int64
	Users  map[string]bool
}

var countViews = sdk.Aggregator[Click, views, PageHour]{
	New: func() views { return views{Users: map[string]bool{}} },
	Add: func(v *views, c Click) {
		v.Clicks++
		v.Users[c.User] = true
	},
	Result: func(v *views) PageHour { return PageHour{Views: v.Clicks, Visitors: len(v.Users)} },
}

// followPath keeps the clicks of a visit: they may come out of order, and parts of
// a visit are merged when a click closes the gap between them.
var followPath = sdk.Aggregator[Click, []Click, Visit]{
	Add:   func(visit *[]Click, c Click) { *visit = append(*visit, c) },
	Merge: func(into, from *[]Click) { *into = append(*into, *from...) },
	Result: func(visit *[]Click) Visit {
		clicks := slices.SortedFunc(slices.Values(*visit), func(a, b Click) int {
			return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Page, b.Page))
		})
		pages := make([]string, len(clicks))
		for i, c := range clicks {
			pages[i] = c.Page
		}
		return Visit{Start: clicks[0].Time, End: clicks[len(clicks)-1].Time, Clicks: len(clicks), Path: strings.Join(pages, " > ")}
	},
}
