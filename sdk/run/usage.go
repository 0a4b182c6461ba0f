package run

import (
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// usage writes the help text: the program's own flags first, then the engine's.
func usage(w io.Writer, program, job string, fs *flag.FlagSet) {
	var own, engine []*flag.Flag
	byName := map[string]*flag.Flag{}
	fs.VisitAll(func(f *flag.Flag) {
		byName[f.Name] = f
		if _, ok := f.Value.(*setting); !ok {
			own = append(own, f)
		}
	})
	// The engine's flags keep the order in which they are best read.
	for _, s := range new(Flags).settings() {
		engine = append(engine, byName[s.name])
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s runs the pipeline %q in this process, to the end of its input or until Ctrl-C.\n\n", program, job)
	fmt.Fprintf(&b, "usage: %s [flags]\n", program)
	if len(own) > 0 {
		b.WriteString("\nflags of the pipeline:\n")
		list(&b, own)
	}
	b.WriteString("\nflags of the engine (the environment variable sets the default):\n")
	list(&b, engine)
	fmt.Fprintf(&b, `
examples:
  %[1]s --parallelism 1            all in order, for a look at what happens
  %[1]s --quiet -o json            for scripts: one JSON object at the end
  WEIR_EPOCH=10s %[1]s             commit less often
  %[1]s --state ./state            go on after failures, and when it is started again
  weir graph %[1]s                 show what would run

Ctrl-C (or SIGTERM) ends the sources; what was accepted is finished and committed.
With --state it takes a checkpoint, and the same command goes on from there (--on-stop).
Once more cancels the job at once.

exit code: 0 finished, 1 failed, 2 wrong flags or a pipeline with mistakes, 130 stopped
`, program)
	io.WriteString(w, b.String())
}

// list writes flags with their texts in a column.
func list(b *strings.Builder, flags []*flag.Flag) {
	const column = 28
	for _, f := range flags {
		arg, text := flag.UnquoteUsage(f)
		s, engine := f.Value.(*setting)
		if engine && s.toggle {
			arg = ""
		}
		if !engine && !slices.Contains([]string{"", "0", "false", "0s"}, f.DefValue) {
			text += " (default " + f.DefValue + ")"
		}
		head := "  " + dashed(f.Name)
		if arg != "" {
			head += " " + arg
		}
		if len(head) < column {
			head += strings.Repeat(" ", column-len(head))
		} else {
			head += "\n" + strings.Repeat(" ", column)
		}
		b.WriteString(head)
		b.WriteString(fold(text, 100-column, "\n"+strings.Repeat(" ", column)))
		b.WriteString("\n")
	}
}

// fold breaks a text into lines of at most width, where words allow.
func fold(text string, width int, newline string) string {
	var b strings.Builder
	n := 0
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case n+1+len(word) > width:
			b.WriteString(newline)
			n = 0
		default:
			b.WriteByte(' ')
			n++
		}
		b.WriteString(word)
		n += len(word)
	}
	return b.String()
}
