package run

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/weirflow/weir/flow"
)

// complain writes what is wrong, each mistake on a line of its own.
func complain(w io.Writer, err error) {
	for _, line := range mistakes(err) {
		fmt.Fprintf(w, "weir: %s\n", line)
	}
}

// mistakes takes apart errors that were joined, also below errors that wrap them.
// What a wrapping error says in front stands before each.
func mistakes(err error) []string {
	switch e := err.(type) { //nolint:errorlint // this is the walk over the tree itself
	case interface{ Unwrap() []error }:
		// Only errors.Join sets one below the other; fmt.Errorf with several %w makes one text.
		var texts, lines []string
		for _, sub := range e.Unwrap() {
			texts = append(texts, sub.Error())
			lines = append(lines, mistakes(sub)...)
		}
		if strings.Join(texts, "\n") == err.Error() {
			return lines
		}
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			below := mistakes(inner)
			if before, ok := strings.CutSuffix(err.Error(), inner.Error()); ok && len(below) > 1 {
				for i := range below {
					below[i] = before + below[i]
				}
				return below
			}
		}
	}
	return []string{oneLine(err.Error())}
}

func oneLine(s string) string { return strings.ReplaceAll(strings.TrimSpace(s), "\n", "; ") }

// failed writes why a job failed: one line, and the stack below it where a
// function panicked. The stack is that of the user's function; all of it is shown
// where the engine itself is at fault, or where everything is asked for.
func failed(w io.Writer, job string, err error, everything bool) {
	text := oneLine(err.Error())
	f, ok := errors.AsType[*flow.Failure](err)
	if ok {
		text = oneLine(f.Text())
		if name := operatorName(f); name != "" {
			text = fmt.Sprintf("operator %q: %s", name, text)
		}
		if f.Stack != "" && f.Domain == flow.DomainInternal {
			text += " (this is a fault of Weir itself: please report it with the stack below)"
		}
	}
	fmt.Fprintf(w, "weir: job %q failed: %s\n", job, text)
	if !ok || f.Stack == "" {
		return
	}
	stack, hidden := f.Stack, 0
	if !everything && f.Domain != flow.DomainInternal {
		stack, hidden = userStack(f.Stack)
	}
	fmt.Fprintf(w, "\n%s\n", strings.TrimRight(stack, "\n"))
	if hidden > 0 {
		fmt.Fprintf(w, "(and %d frames of the engine: --log-level debug shows them)\n", hidden)
	}
}

func operatorName(f *flow.Failure) string {
	if f.Name != "" {
		return f.Name
	}
	return string(f.Operator)
}

// enginePath is how the names of the engine's functions begin.
const enginePath = "github.com/weirflow/weir/"

// engines are how they begin, and those of what runs tasks for it.
var engines = []string{enginePath, "runtime/pprof.", "created by "}

func ofEngine(function string) bool {
	return slices.ContainsFunc(engines, func(p string) bool { return strings.HasPrefix(function, p) })
}

// userStack cuts a stack down to the functions between the panic and the engine
// that called them, and counts what it hides. A stack in which it does not find
// these is left whole.
func userStack(stack string) (string, int) {
	lines := strings.Split(strings.TrimRight(stack, "\n"), "\n")
	if len(lines) < 3 {
		return stack, 0
	}
	var frames [][2]string // function, file
	for i := 1; i+1 < len(lines); i += 2 {
		frames = append(frames, [2]string{lines[i], lines[i+1]})
	}
	first := 0
	for i, f := range frames {
		if strings.HasPrefix(f[0], "panic(") {
			first = i + 1
			break
		}
	}
	for first < len(frames) && strings.HasPrefix(frames[first][0], "runtime.") {
		first++
	}
	last := first
	for i := first; i < len(frames); i++ {
		if !ofEngine(frames[i][0]) {
			last = i + 1
		}
	}
	if last == first {
		return stack, 0
	}
	var b strings.Builder
	for _, f := range frames[first:last] {
		b.WriteString(f[0] + "\n" + f[1] + "\n")
	}
	return b.String(), len(frames) - (last - first)
}
