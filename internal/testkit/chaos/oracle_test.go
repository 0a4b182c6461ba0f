package chaos

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
)

// event is one record of the input, as the program job reads it.
type event struct {
	ID    int64 `json:"id"`
	Key   int64 `json:"key"`
	Time  int64 `json:"t"`
	Value int64 `json:"v"`
}

// makeEvents makes n events, one for each 10 ms, that come out of order by less than a
// second. keys is the number of keys.
func makeEvents(r *rand.Rand, n, keys int) []event {
	all := make([]event, n)
	for i := range all {
		all[i] = event{int64(i), r.Int64N(int64(keys)), int64(i)*10 - r.Int64N(900) + 1_700_000_000_000, r.Int64N(int64(n) / 2)}
	}
	return all
}

// results are the lines of each folder, with the number of times that each comes.
type results map[string]map[string]int

func (r results) add(folder, format string, args ...any) {
	if r[folder] == nil {
		r[folder] = map[string]int{}
	}
	r[folder][fmt.Sprintf(format, args...)]++
}

// oracle computes the results of the program's parts, on one goroutine from whole
// inputs.
func oracle(parts []string, left, right []event) results {
	out := results{}
	byKey, keys := grouped(left, func(e event) int64 { return e.Key })
	for _, part := range parts {
		switch part {
		case "map":
			for _, e := range left {
				if e.Value%3 != 0 {
					out.add("map", "%d %d", e.ID, 2*e.Value)
				}
			}
		case "keyed":
			for _, k := range keys {
				out.total(k, byKey[k])
			}
		case "windows":
			for _, k := range keys {
				out.spans("tumbling", k, byKey[k], 1000, 1000)
				out.spans("sliding", k, byKey[k], 2000, 500)
				out.sessions(k, byKey[k], 1500)
			}
		case "timers":
			for _, k := range keys {
				sums := map[int64]int64{}
				for _, e := range byKey[k] {
					sums[(e.Time/700+1)*700] += e.Value
					out.add("delayed", "%d", e.ID)
				}
				for end, sum := range sums {
					out.add("sums", "%d %d %d", k, end, sum)
				}
			}
		case "joins":
			out.joins(left, right)
		}
	}
	return out
}

func grouped(all []event, key func(event) int64) (map[int64][]event, []int64) {
	by := map[int64][]event{}
	for _, e := range all {
		by[key(e)] = append(by[key(e)], e)
	}
	return by, slices.Sorted(maps.Keys(by))
}

func (r results) total(k int64, of []event) {
	var sum, most int64
	kinds, ids := map[int64]int{}, []string{}
	for i, e := range of {
		r.add("counts", "%d %d", k, i+1)
		sum, most = sum+e.Value, max(most, e.Value)
		kinds[e.Value%10]++
		ids = append(ids, fmt.Sprint(e.ID)) // events are in the order of their ids
	}
	line := fmt.Sprintf("%d: %d, most %d, mean %d/%d, kinds", k, len(of), most, sum, len(of))
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		line += fmt.Sprintf(" %d:%d", kind, kinds[kind])
	}
	r.add("totals", "%s, ids %s", line, strings.Join(ids, " "))
}

func (r results) span(folder string, k, start int64, of []event) {
	var sum int64
	from, to := of[0].Time, of[0].Time
	for _, e := range of {
		from, to, sum = min(from, e.Time), max(to, e.Time), sum+e.Value
	}
	r.add(folder, "%d %d: %d-%d %d %d", k, start, from, to, len(of), sum)
}

// spans adds the windows of a size that start at multiples of slide.
func (r results) spans(folder string, k int64, of []event, size, slide int64) {
	windows := map[int64][]event{}
	for _, e := range of {
		for start := e.Time / slide * slide; start > e.Time-size; start -= slide {
			windows[start] = append(windows[start], e)
		}
	}
	for start, in := range windows {
		r.span(folder, k, start, in)
	}
}

func (r results) sessions(k int64, of []event, gap int64) {
	of = slices.Clone(of)
	slices.SortFunc(of, func(a, b event) int { return int(a.Time - b.Time) })
	first := 0
	for i := range of {
		if i == len(of)-1 || of[i+1].Time-of[i].Time >= gap {
			r.span("session", k, of[first].Time, of[first:i+1])
			first = i + 1
		}
	}
}

func (r results) joins(left, right []event) {
	byKey, _ := grouped(right, func(e event) int64 { return e.Key })
	byValue, _ := grouped(right, func(e event) int64 { return e.Value })
	for _, a := range left {
		for _, b := range byKey[a.Key] {
			if d := b.Time - a.Time; -1000 <= d && d <= 1000 {
				r.add("interval", "%d %d", a.ID, b.ID)
			}
			if a.Time/2000 == b.Time/2000 {
				r.add("within", "%d %d", a.ID, b.ID)
			}
		}
		for _, b := range byValue[a.Value] {
			r.add("always", "%d %d", a.ID, b.ID)
		}
	}
}

// differences says what got has more or less often than want, at most a few lines.
func (r results) differences(got results) string {
	var b strings.Builder
	folders := map[string]bool{}
	for _, of := range []results{r, got} {
		for f := range of {
			folders[f] = true
		}
	}
	for _, f := range slices.Sorted(maps.Keys(folders)) {
		lost, more, shown := 0, 0, 0
		lines := map[string]bool{}
		for _, of := range []results{r, got} {
			for line := range of[f] {
				lines[line] = true
			}
		}
		for _, line := range slices.Sorted(maps.Keys(lines)) {
			d := got[f][line] - r[f][line]
			if d == 0 {
				continue
			}
			lost, more = lost+max(0, -d), more+max(0, d)
			if shown++; shown <= 5 {
				fmt.Fprintf(&b, "  %s: %q comes %d times, should %d\n", f, line[:min(len(line), 200)], got[f][line], r[f][line])
			}
		}
		if lost+more > 0 {
			fmt.Fprintf(&b, "%s: %d lines are missing and %d are too many\n", f, lost, more)
		}
	}
	return b.String()
}
