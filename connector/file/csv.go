package file

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"github.com/weirflow/weir/operator"
)

// CSV reads comma-separated values into structs. The first line of each file names
// the columns, or [Columns] does. A column goes to the field with the tag
// `csv:"name"` or of that name, in any case of letters; other columns are passed
// over, and a field without a column is an error unless it is a pointer.
//
// Fields may be integers, floats, bool, string, []byte and time.Time (RFC 3339,
// "2006-01-02 15:04:05" or "2006-01-02" in UTC, or what the tag says:
// `csv:"when,layout=02.01.2006"`), and pointers to them, which are nil where the
// column is empty. Quoting is that of RFC 4180; empty lines are passed over. A
// record that cannot be read is bad, and reading goes on with the line that follows
// the first line of it.
func CSV[T any](path string, opts ...CSVOption) operator.Source[T] {
	var set settings
	for _, o := range opts {
		o.csv(&set)
	}
	s := newSource[T]("csv", path, set)
	s.plan = planWhole
	if set.singleLine {
		s.plan = planBytes
	}
	fields, err := fieldsOf[T]("CSV", "csv")
	if s.err == nil {
		s.err = err
	}
	if s.err == nil && set.columns != nil {
		_, s.err = newCSVTable(fields, set.columns, "the option Columns")
	}
	s.open = func(in *input, d splitData, env *environment) (cursor[T], error) {
		return openCSV[T](in, d, env, fields)
	}
	return s
}

// csvCursor reads records.
type csvCursor[T any] struct {
	*lines
	table  *csvTable
	comma  byte
	single bool

	// A record that is being extended: the length of its first line, with its end,
	// the lines before it, and what of it was searched for quotes.
	open      bool
	firstLen  int
	firstLine int64
	searched  int
	odd       bool
	values    []string // of a record with quotes
}

func openCSV[T any](in *input, d splitData, env *environment, fields []field) (cursor[T], error) {
	l, err := openLines(in, d, env)
	if err != nil {
		return nil, err
	}
	c := &csvCursor[T]{lines: l, comma: env.set.comma, single: env.set.singleLine}
	if names := env.set.columns; names != nil {
		c.table, err = newCSVTable(fields, names, "the option Columns")
	} else if d.Start == 0 && !d.At.Started {
		c.table, err = c.header(fields)
	} else {
		c.table, err = headerOf[T](d, env, fields)
	}
	if err != nil {
		return nil, errors.Join(err, l.close())
	}
	return c, nil
}

// headerOf reads the header of a file whose middle is to be read.
func headerOf[T any](d splitData, env *environment, fields []field) (*csvTable, error) {
	d.Start, d.End, d.At = 0, d.Size, position{}
	in, err := openInput(env.set.testing.fs, &d)
	if err != nil {
		return nil, err
	}
	l, err := openLines(in, d, env)
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	c := &csvCursor[T]{lines: l, comma: env.set.comma, single: env.set.singleLine}
	table, err := c.header(fields)
	return table, errors.Join(err, l.close(), in.Close())
}

// header reads the first record as the names of the columns.
func (c *csvCursor[T]) header(fields []field) (*csvTable, error) {
	for {
		rec, more, done, err := c.record()
		switch {
		case err != nil:
			return nil, err
		case done:
			return &csvTable{}, nil
		case !more || len(rec) == 0:
			continue
		}
		names, reason := c.split(rec)
		if reason != "" {
			return nil, fmt.Errorf("file: the header at %s cannot be read: %s; it begins %q",
				c.where(), reason, operator.Excerpt(string(rec), 120))
		}
		return newCSVTable(fields, names, c.lines.d.Path)
	}
}

func (c *csvCursor[T]) read(into *operator.Records[T], max int) (bool, error) {
	for i := 0; i < max; {
		rec, more, done, err := c.record()
		if err != nil || !more {
			return done, err
		}
		if len(rec) == 0 {
			i++ // it costs time too
			continue
		}
		i++
		n := len(into.Values)
		var zero T
		into.Values = append(into.Values, zero)
		if reason := c.parse(rec, unsafe.Pointer(&into.Values[n])); reason != "" {
			into.Values[n] = zero
			into.Values = into.Values[:n]
			if err := c.env.bad(c.where(), rec, reason); err != nil {
				return false, err
			}
		}
	}
	return false, nil
}

// record returns the next record; see lines.next. A bad one that was not closed is
// handed over, and more is false.
func (c *csvCursor[T]) record() (rec []byte, more, done bool, err error) {
	for {
		before := c.line
		rec, more, done, err = c.next()
		if errors.Is(err, errOpenRecord) {
			return nil, false, false, c.unclosed(c.at, fmt.Sprintf("a quote is not closed within MaxRecord, %d bytes", c.lines.env.set.maxRecord))
		}
		if err != nil || !more {
			return nil, more, done, err
		}
		if !c.open {
			if bytes.IndexByte(rec, '"') < 0 {
				return rec, true, false, nil
			}
			if c.single || c.state(rec) != quoteOpen {
				return rec, true, false, nil
			}
			c.open, c.firstLen, c.firstLine, c.searched, c.odd = true, c.at-c.prev, before+1, 0, false
		}
		if bytes.Count(rec[c.searched:], []byte{'"'})%2 == 1 {
			c.odd = !c.odd
		}
		c.searched = len(rec)
		switch {
		case !c.odd:
			c.open = false
			if reason := c.check(rec); reason != "" {
				return nil, false, false, c.unclosed(c.prev, reason)
			}
			return rec, true, false, nil
		case c.ended():
			return nil, false, false, c.unclosed(c.prev, "a quote is not closed before the end of the file")
		}
		c.extend()
	}
}

// check tells what is wrong with a record of several lines, so that only its first
// line is given up. What is wrong with its values is not looked at.
func (c *csvCursor[T]) check(rec []byte) string {
	_, reason := c.split(rec)
	return reason
}

// unclosed gives up the first line of a record that begins at block[from].
func (c *csvCursor[T]) unclosed(from int, reason string) error {
	c.first = c.base + int64(from)
	raw := c.block[from : from+c.firstLen]
	c.retreat(from, c.firstLen, c.firstLine)
	c.open = false
	return c.env.bad(c.where(), bytes.TrimRight(raw, "\r\n"), reason)
}

func (c *csvCursor[T]) position() position {
	p := c.lines.position()
	if c.open {
		// A record that is being extended is begun again.
		p.Line = c.firstLine - 1
	}
	return p
}

type quoteState uint8

const (
	quoteNone quoteState = iota
	quoteOpen            // the text ends within a quoted field
	quoteBad             // a quote stands where none may
)

// state tells how a line with quotes ends.
func (c *csvCursor[T]) state(rec []byte) quoteState {
	for {
		if len(rec) == 0 || rec[0] != '"' {
			i := bytes.IndexByte(rec, c.comma)
			if i < 0 {
				i = len(rec)
			}
			if bytes.IndexByte(rec[:i], '"') >= 0 {
				return quoteBad
			}
			if i == len(rec) {
				return quoteNone
			}
			rec = rec[i+1:]
			continue
		}
		end := closing(rec)
		switch {
		case end < 0:
			return quoteOpen
		case end+1 == len(rec):
			return quoteNone
		case rec[end+1] != c.comma:
			return quoteBad
		}
		rec = rec[end+2:]
	}
}

// closing is the index of the quote that closes the field at the beginning of
// rec, or -1.
func closing(rec []byte) int {
	for i := 1; ; i += 2 {
		j := bytes.IndexByte(rec[i:], '"')
		if j < 0 {
			return -1
		}
		i += j
		if i+1 == len(rec) || rec[i+1] != '"' {
			return i
		}
	}
}

// split returns the values of a record. It reuses the slice.
func (c *csvCursor[T]) split(rec []byte) (values []string, reason string) {
	v := c.values[:0]
	defer func() { c.values = v }()
	for {
		if len(rec) == 0 || rec[0] != '"' {
			i := bytes.IndexByte(rec, c.comma)
			field := rec
			if i >= 0 {
				field = rec[:i]
			}
			if bytes.IndexByte(field, '"') >= 0 {
				return nil, fmt.Sprintf("column %d has a quote within a field that is not quoted", len(v)+1)
			}
			v = append(v, stringOf(field))
			if i < 0 {
				return v, ""
			}
			rec = rec[i+1:]
			continue
		}
		end := closing(rec)
		if end < 0 {
			if c.single {
				return nil, fmt.Sprintf("column %d has a quote that is not closed in its line, against the option SingleLine", len(v)+1)
			}
			return nil, fmt.Sprintf("column %d has a quote that is not closed", len(v)+1)
		}
		s := stringOf(rec[1:end])
		if strings.Contains(s, `""`) {
			s = strings.ReplaceAll(s, `""`, `"`)
		}
		v = append(v, s)
		if end+1 == len(rec) {
			return v, ""
		}
		if rec[end+1] != c.comma {
			return nil, fmt.Sprintf("column %d goes on after its closing quote", len(v))
		}
		rec = rec[end+2:]
	}
}

// parse sets the fields of the record at p. It returns what is wrong.
func (c *csvCursor[T]) parse(rec []byte, p unsafe.Pointer) string {
	if bytes.IndexByte(rec, '"') >= 0 {
		values, reason := c.split(rec)
		if reason != "" {
			return reason
		}
		return c.table.set(values, p)
	}
	// Without quotes no slice of values is needed.
	for i := 0; ; i++ {
		value := rec
		j := bytes.IndexByte(rec, c.comma)
		if j >= 0 {
			value = rec[:j]
		}
		if i >= len(c.table.set1) {
			return fmt.Sprintf("it has %d fields, but there are %d columns", bytes.Count(rec, []byte{c.comma})+i+1, len(c.table.set1))
		}
		if set := c.table.set1[i]; set != nil {
			if err := set(p, stringOf(value)); err != nil {
				return c.table.complain(i, err)
			}
		}
		if j < 0 {
			if i+1 < len(c.table.set1) {
				return fmt.Sprintf("it has %d fields, but there are %d columns", i+1, len(c.table.set1))
			}
			return ""
		}
		rec = rec[j+1:]
	}
}
