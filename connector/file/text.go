package file

import (
	"strings"

	"github.com/weirflow/weir/operator"
)

// Text reads lines: each line of the files at path is a record, without its "\n"
// or "\r\n". Empty lines are records; the bytes need not be UTF-8. A byte order
// mark at the beginning of a file is left out.
//
// The strings of one block of 256 KB share its memory. Whoever keeps a few of
// them for long, in a map of his own, does well to keep strings.Clone of them.
func Text(path string, opts ...TextOption) operator.Source[string] {
	var set settings
	for _, o := range opts {
		o.text(&set)
	}
	s := newSource[string]("text", path, set)
	s.plan, s.open = planBytes, openText
	return s
}

type textCursor struct{ *lines }

func openText(in *input, d splitData, env *environment) (cursor[string], error) {
	l, err := openLines(in, d, env)
	if err != nil {
		return nil, err
	}
	return textCursor{l}, nil
}

func (c textCursor) read(into *operator.Records[string], max int) (bool, error) {
	values := into.Values
	for len(values) < max {
		n := len(values)
		if values = c.run(values, max); len(values) > n {
			continue
		}
		line, more, done, err := c.next()
		if err != nil || !more {
			into.Values = values
			return done, err
		}
		values = append(values, stringOf(line))
	}
	into.Values = values
	return false, nil
}

// run appends the lines that lie in the block, as far as there is nothing to say
// about them: it is what next does, for many lines at once. The file's first line
// is left to next, and so is one that is too long or not complete.
func (c textCursor) run(values []string, max int) []string {
	l := c.lines
	if l.tooLong || l.offset() == 0 {
		return values
	}
	block, at, begin := stringOf(l.block[:l.full]), l.at, l.prev
	stop := min(l.end-l.base, int64(len(block))) // a line that begins there is not ours
	lines := 0
	for int64(at) < stop && len(values) < max {
		n := strings.IndexByte(block[at:], '\n')
		if n < 0 || n > l.env.set.maxRecord {
			break
		}
		begin = at
		at += n + 1
		if n > 0 && block[begin+n-1] == '\r' {
			n--
		}
		values = append(values, block[begin:begin+n])
		lines++
	}
	if lines > 0 {
		l.first, l.prev = l.base+int64(begin), begin
		l.at, l.seen = at, at
		l.line += int64(lines)
	}
	return values
}
