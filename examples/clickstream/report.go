package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/weirflow/weir/sdk"
)

// row is a result as people read it.
type row struct {
	Table string
	Cells string
	Rank  int64 // those with the largest come first
}

// headings are the tables' headings, in their order.
var headings = []struct{ table, columns string }{
	{"minutes", "Clicks by page and minute\n\nminute   clicks  page"},
	{"hours", "Views and visitors by page and hour\n\nhour      views  visitors  page"},
	{"visits", "Visits by user\n\nstart     clicks  user   pages"},
	{"paths", "The most common paths of the hour\n\nhour     visits  path"},
}

const shown = 8 // rows of each table

// report is all results for the terminal. Where the input ends, they are tables,
// the largest figures first; where it does not, each is a line as soon as it is
// known.
func (r results) report(endless bool) *sdk.Stream[string] {
	rows := sdk.Union(
		sdk.Map(r.minutes, func(m PageMinute) row {
			return row{"minutes", fmt.Sprintf("%s  %8d  %s", m.Minute.Format("15:04"), m.Clicks, m.Page), m.Clicks}
		}),
		sdk.Map(r.hours, func(h PageHour) row {
			return row{"hours", fmt.Sprintf("%s  %8d  %8d  %s", h.Hour.Format("15:04"), h.Views, h.Visitors, h.Page), h.Views}
		}),
		sdk.Map(r.visits, func(v Visit) row {
			return row{"visits", fmt.Sprintf("%s  %6d  %-5s  %s", v.Start.Format("15:04:05"), v.Clicks, v.User, cut(v.Path)), int64(v.Clicks)}
		}),
		sdk.Map(r.paths, func(h PathHour) row {
			return row{"paths", fmt.Sprintf("%s  %8d  %s", h.Hour.Format("15:04"), h.Visits, h.Path), h.Visits}
		}),
	)
	if endless {
		return sdk.Map(rows, func(r row) string { return fmt.Sprintf("%-8s  %s", r.Table, r.Cells) })
	}
	all := sdk.KeyBy(rows, func(row) bool { return true })
	tables, _ := sdk.ProcessWindow(sdk.Window(all, sdk.Global()), func(_ bool, _ sdk.WindowSpan, _ sdk.Pane, rows []row, emit func(string)) {
		emit(tables(rows))
	}, sdk.Name("tables"), sdk.Parallelism(1))
	return tables
}

// cut leaves of a path what fits on a line.
func cut(path string) string {
	if len(path) > 64 {
		return path[:64] + "..."
	}
	return path
}

// tables writes all tables.
func tables(rows []row) string {
	var b strings.Builder
	for _, h := range headings {
		var of []row
		for _, r := range rows {
			if r.Table == h.table {
				of = append(of, r)
			}
		}
		slices.SortFunc(of, func(a, b row) int { return cmp.Or(cmp.Compare(b.Rank, a.Rank), cmp.Compare(a.Cells, b.Cells)) })
		fmt.Fprintf(&b, "\n%s\n", h.columns)
		for _, r := range of[:min(len(of), shown)] {
			fmt.Fprintln(&b, r.Cells)
		}
		if more := len(of) - shown; more > 0 {
			fmt.Fprintf(&b, "... and %d more\n", more)
		}
	}
	return b.String()
}
