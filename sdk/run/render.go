package run

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/weirflow/weir/flow"
)

// block is the view as lines for a terminal of the given size.
func block(v view, width, height int) []string {
	head := fmt.Sprintf("%s  %s %s", clean(v.Job), state(v), elapsed(v.Elapsed))
	if v.Epoch > 0 {
		head += fmt.Sprintf("  epoch %d", v.Epoch)
	}
	head += history(v, "  ")
	head += troubles(v, "  ")
	lines := []string{head}
	var rows [][5]string
	var columns [5]int
	for i := range v.Ports {
		row := v.Ports[i].row()
		for c, cell := range row {
			columns[c] = max(columns[c], utf8.RuneCountInString(cell))
		}
		rows = append(rows, row)
	}
	for i, row := range rows {
		if height > 3 && len(rows) > height-2 && i == height-3 {
			lines = append(lines, fmt.Sprintf("  and %d more", len(rows)-i))
			break
		}
		var b strings.Builder
		for c, cell := range row {
			pad := strings.Repeat(" ", columns[c]-utf8.RuneCountInString(cell))
			switch {
			case columns[c] == 0:
			case c < 2: // words to the left, numbers to the right
				b.WriteString("  " + cell + pad)
			default:
				b.WriteString("  " + pad + cell)
			}
		}
		lines = append(lines, strings.TrimRight(b.String()+"  "+v.Ports[i].progress(), " "))
	}
	for i := range lines {
		lines[i] = cut(lines[i], width-1)
	}
	return lines
}

// nameWidth is what a name may take of a line.
const nameWidth = 24

func (p *port) row() [5]string {
	kind := "sink"
	if p.Source {
		kind = "source"
	}
	row := [5]string{kind, cut(clean(p.Name), nameWidth), thousands(p.Records), si(p.RecordRate) + "/s"}
	if p.Bytes > 0 {
		row[4] = volume(p.ByteRate) + "/s"
	}
	return row
}

// progress is how far a source has come: in its input, or in event time.
func (p *port) progress() string {
	var parts []string
	if p.Bounded {
		s := bar(p.share(), 20) + fmt.Sprintf(" %3.0f%%", 100*p.share())
		if p.ETA > 0 {
			s += "  ETA " + elapsed(p.ETA)
		}
		parts = append(parts, s)
	}
	if t := p.eventTime(); t != "" {
		parts = append(parts, t)
	}
	if p.Bad > 0 {
		parts = append(parts, "bad "+thousands(p.Bad))
	}
	return strings.Join(parts, "  ")
}

// eventTime is the lag of a source that keeps up with the clock, and the event
// time itself for one that reads history.
func (p *port) eventTime() string {
	switch {
	case !p.Source || p.Watermark == flow.MinTime:
		return ""
	case p.Lag > -time.Hour && p.Lag < time.Hour:
		return "lag " + elapsed(p.Lag)
	}
	return "at " + p.Watermark.Std().Format("2006-01-02 15:04:05")
}

// progressLine is the view as one line of a log.
func progressLine(v view) string {
	var b strings.Builder
	fmt.Fprintf(&b, "weir: job %q %s %s:", v.Job, state(v), elapsed(v.Elapsed))
	for i := range v.Ports {
		p := &v.Ports[i]
		notes := []string{si(p.RecordRate) + "/s"}
		if p.Bounded {
			notes = append(notes, fmt.Sprintf("%.0f%%", 100*p.share()))
			if p.ETA > 0 {
				notes = append(notes, "ETA "+elapsed(p.ETA))
			}
		}
		if t := p.eventTime(); t != "" {
			notes = append(notes, t)
		}
		fmt.Fprintf(&b, "%s %s %s (%s)", separator(i), p.flows(), thousands(p.Records), strings.Join(notes, ", "))
	}
	return b.String() + ending(v)
}

// summary is what is said of a job at its end.
func summary(v view) string {
	var b strings.Builder
	fmt.Fprintf(&b, "weir: job %q %s %s:", v.Job, state(v), elapsed(v.Elapsed))
	for i := range v.Ports {
		p := &v.Ports[i]
		fmt.Fprintf(&b, "%s %s %s", separator(i), p.flows(), thousands(p.Records))
		if p.Bytes > 0 {
			fmt.Fprintf(&b, " (%s)", volume(float64(p.Bytes)))
		}
	}
	return b.String() + ending(v)
}

func (p *port) flows() string {
	if p.Source {
		return "in " + clean(p.Name)
	}
	return "out " + clean(p.Name)
}

func separator(i int) string {
	if i == 0 {
		return ""
	}
	return ","
}

func ending(v view) string {
	s := ""
	if v.Epochs > 0 {
		s = fmt.Sprintf("; epochs %d", v.Epochs)
	}
	return s + history(v, "; ") + troubles(v, "; ")
}

// history is what a job that keeps its state has been through.
func history(v view, before string) string {
	s := ""
	switch {
	case v.Restored > 0 && v.Savepoint:
		s = fmt.Sprintf("%sfrom savepoint %d", before, v.Restored)
	case v.Restored > 0:
		s = fmt.Sprintf("%sfrom epoch %d", before, v.Restored)
	}
	if v.Restarts > 0 {
		s += fmt.Sprintf("%srestarts %d", before, v.Restarts)
	}
	return s
}

// state is the state as it stands before a time: "finished in 3s", "failed after 3s".
func state(v view) string {
	switch v.State {
	case "finished":
		return "finished in"
	case "stopped", "failed", "cancelled":
		return v.State + " after"
	}
	return v.State
}

// troubles counts what went wrong, if anything did.
func troubles(v view, before string) string {
	s := ""
	if v.Bad > 0 {
		s += before + "bad " + thousands(v.Bad)
	}
	if v.Late > 0 {
		s += before + "late " + thousands(v.Late)
	}
	return s
}

func bar(share float64, width int) string {
	full := int(share*float64(width) + 0.5)
	return strings.Repeat("█", full) + strings.Repeat("░", width-full)
}

// thousands is 1,234,567.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// si is a number with three digits and a unit prefix: 950, 1.23k, 45.6M.
func si(f float64) string { return prefixed(f, "", "k", "M", "G", "T") }

func volume(f float64) string { return prefixed(f, " B", " kB", " MB", " GB", " TB") }

func prefixed(f float64, units ...string) string {
	u := 0
	for f >= 999.5 && u < len(units)-1 {
		f /= 1000
		u++
	}
	switch {
	case u == 0 || f >= 99.95:
		return fmt.Sprintf("%.0f%s", f, units[u])
	case f >= 9.995:
		return fmt.Sprintf("%.1f%s", f, units[u])
	}
	return fmt.Sprintf("%.2f%s", f, units[u])
}

// elapsed is a time with as much precision as people read: 12ms, 3.4s, 2m05s, 1h02m.
func elapsed(d time.Duration) string {
	sign := ""
	if d < 0 {
		sign, d = "-", -d
	}
	switch {
	case 0 < d && d < 10*time.Millisecond:
		return fmt.Sprintf("%s%.1fms", sign, d.Seconds()*1000)
	case d < time.Second:
		return fmt.Sprintf("%s%dms", sign, d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%s%.1fs", sign, d.Truncate(100*time.Millisecond).Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%s%dm%02ds", sign, d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%s%dh%02dm", sign, d/time.Hour, d%time.Hour/time.Minute)
}

// clean keeps what users wrote on one line, and terminals unharmed.
func clean(s string) string {
	if strings.ContainsFunc(s, unicode.IsControl) {
		return strconv.Quote(s)
	}
	return s
}

// cut shortens s to at most n characters.
func cut(s string, n int) string {
	if n < 1 || utf8.RuneCountInString(s) <= n {
		return s
	}
	r := []rune(s)
	return string(r[:n-1]) + "…"
}
