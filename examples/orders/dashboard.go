package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weirflow/weir/sdk"
)

// figure is a number on the dashboard.
type figure struct {
	Rank  int // of a product; 0 is a region
	Name  string
	Cents int64
}

// dashboard is a line for each minute, when it is complete, and one more when there
// is a new ranking of products. It is made in one place, so that lines are in order.
func dashboard(revenue *sdk.Stream[Revenue], sellers *sdk.Stream[Seller]) *sdk.Stream[string] {
	figures := sdk.Union(
		sdk.Map(revenue, func(r Revenue) figure { return figure{0, r.Region, r.Cents} }),
		sdk.Map(sellers, func(s Seller) figure { return figure{s.Rank, s.Product, s.Cents} }),
	)
	all := sdk.KeyBy(figures, func(figure) bool { return true })
	lines, _ := sdk.ProcessWindow(sdk.Window(all, sdk.Tumbling(time.Minute)),
		func(_ bool, minute sdk.WindowSpan, _ sdk.Pane, figures []figure, emit func(string)) {
			emit(lines(minute.Start.Std(), slices.Clone(figures)))
		}, sdk.Name("dashboard"), sdk.Parallelism(1))
	return lines
}

func lines(minute time.Time, figures []figure) string {
	slices.SortFunc(figures, func(a, b figure) int { return cmp.Or(cmp.Compare(a.Rank, b.Rank), cmp.Compare(a.Name, b.Name)) })
	var b strings.Builder
	fmt.Fprintf(&b, "%s ", minute.Format("2006-01-02 15:04"))
	top := false
	for _, f := range figures {
		if f.Rank > 0 && !top {
			top = true
			b.WriteString("\n    best sellers of the hour:")
		}
		fmt.Fprintf(&b, "  %s %d.%02d", f.Name, f.Cents/100, f.Cents%100)
	}
	return b.String()
}
