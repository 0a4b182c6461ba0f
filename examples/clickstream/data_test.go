package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/weirflow/weir/examples/internal/exampletest"
)

var dayStart = time.Date(2026, 1, 15, 10, 0, 0, 0, time.UTC)

// links are the pages that follow a page; the first ones are the more common.
var links = map[string][]string{
	"/":          {"/search", "/search", "/offers", "/product/a", "/help"},
	"/search":    {"/product/a", "/product/b", "/product/a", "/search", "/"},
	"/offers":    {"/product/b", "/product/b", "/"},
	"/product/a": {"/cart", "/search", "/product/b"},
	"/product/b": {"/cart", "/cart", "/offers", "/product/a"},
	"/cart":      {"/checkout", "/checkout", "/search"},
	"/help":      {"/"},
}

// makeClicks makes the visits of 60 users within 50 minutes, and gives each click a
// delay of up to four seconds: what is returned is in the order of arrival.
func makeClicks() []Click {
	r := rand.New(rand.NewPCG(15, 1))
	type arriving struct {
		Click
		arrives time.Time
	}
	var all []arriving
	for u := range 60 {
		at := dayStart.Add(time.Duration(r.Int64N(int64(20 * time.Minute))))
		for at.Before(dayStart.Add(42 * time.Minute)) {
			for page := "/"; page != "" && at.Before(dayStart.Add(50*time.Minute)); {
				at = at.Truncate(time.Millisecond)
				all = append(all, arriving{Click{at, fmt.Sprintf("u%02d", u), page}, at.Add(time.Duration(r.Int64N(int64(4 * time.Second))))})
				at = at.Add(2*time.Second + time.Duration(r.ExpFloat64()*20)*time.Second)
				if next := links[page]; len(next) == 0 || r.IntN(5) == 0 {
					page = ""
				} else {
					page = next[r.IntN(len(next))]
				}
			}
			at = at.Add(visitGap + time.Duration(r.Int64N(int64(8*time.Minute))))
		}
	}
	slices.SortFunc(all, func(a, b arriving) int { return a.arrives.Compare(b.arrives) })
	clicks := make([]Click, len(all))
	for i, a := range all {
		clicks[i] = a.Click
	}
	return clicks
}

// TestData checks that the shipped files are what makeClicks makes: one file for
// each quarter of an hour.
func TestData(t *testing.T) {
	files := map[string]*bytes.Buffer{}
	name := ""
	for _, c := range makeClicks() {
		// A click that comes late is in the file of the quarter in which it came.
		if n := c.Time.Truncate(15 * time.Minute).Format("testdata/clicks/15-04.jsonl"); n > name {
			name = n
			files[name] = &bytes.Buffer{}
		}
		if err := json.NewEncoder(files[name]).Encode(c); err != nil {
			t.Fatal(err)
		}
	}
	for name, made := range files {
		exampletest.Data(t, name, made.Bytes())
	}
}
