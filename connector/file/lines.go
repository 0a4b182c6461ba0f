package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unsafe"

	"github.com/weirflow/weir/operator"
)

// lines cuts a split into lines.
//
// It reads blocks into memory and hands out parts of them. A block is written
// only behind what was handed out: into its unused end, as long as there is one.
// What is left of a line when a block is full is copied to the next. So a
// line is valid for good, and costs no allocation; what keeps one keeps its block.
//
//	block    |handed out|at      rest of a line|full     unused|
//	file     base                                ^base+full
type lines struct {
	in   *input
	src  io.ReadCloser // in or a decoder over it
	env  *environment
	d    splitData
	kind codec

	block []byte
	base  int64 // offset in the uncompressed file of block[0]
	prev  int   // the last line began here, unless the block was filled since
	at    int   // the next line begins here
	seen  int   // no newline between at and seen
	full  int
	eof   bool

	end      int64 // a line that begins at or after it is the next split's
	line     int64 // lines of the split before at
	first    int64 // where the last line handed out began
	extended bool  // the next line is joined to the one before
	tooLong  bool  // within a line above MaxRecord
	start    int64 // where that began
	raw      []byte
}

// noEnd is the end of a split that ends with its file.
const noEnd = int64(1)<<62 - 1

// mark is UTF-8's byte order mark.
var mark = []byte("\xef\xbb\xbf")

// skipStep bounds what one call reads without handing out a line.
const skipStep = 1 << 20

// errOpenRecord is returned by next for a record that was extended and is longer
// than MaxRecord. It begins at block[at].
var errOpenRecord = errors.New("record above MaxRecord")

// openLines stands where d.At says.
func openLines(in *input, d splitData, env *environment) (*lines, error) {
	l := &lines{in: in, d: d, env: env, end: noEnd, line: d.At.Line}
	if d.whole() {
		var err error
		if l.kind, err = sniff(in); err != nil {
			return nil, err
		}
	} else if d.End < d.Size {
		l.end = d.End
	}
	var err error
	if l.src, err = decompress(in, l.kind); err != nil {
		return nil, err
	}
	if err := l.seek(); err != nil {
		return nil, errors.Join(err, l.src.Close())
	}
	return l, nil
}

// seek goes to the first line of the split, or to where reading was left.
func (l *lines) seek() error {
	l.base = l.d.Start
	switch {
	case l.d.At.Started:
		l.base = l.d.At.Offset
	case l.d.Start > 0:
		// The line that begins at Start is ours, and then a newline comes before it.
		l.base--
	}
	switch {
	case l.base == 0:
	case l.kind == plain:
		if _, err := l.in.Seek(l.base, io.SeekStart); err != nil {
			return external(true, fmt.Errorf("going to byte %d of %s: %w", l.base, l.in.path, err))
		}
	default:
		if n, err := io.CopyN(io.Discard, l.src, l.base); err != nil {
			if errors.Is(err, io.EOF) {
				err = fmt.Errorf("%w: it ends at byte %d, but had been read to %d", errCorrupt, n, l.base)
			}
			return err
		}
	}
	if l.d.At.Started || l.d.Start == 0 {
		return nil
	}
	return l.skipPartial()
}

// skipPartial passes over the end of a line that began in an earlier split.
func (l *lines) skipPartial() error {
	for {
		if i := bytes.IndexByte(l.block[l.at:l.full], '\n'); i >= 0 {
			l.at += i + 1
			l.seen = l.at
			return nil
		}
		l.at, l.seen = l.full, l.full
		if l.eof || l.offset() >= l.end {
			return nil
		}
		if err := l.fill(); err != nil {
			return err
		}
	}
}

// offset is where the next line begins.
func (l *lines) offset() int64 { return l.base + int64(l.at) }

// next returns the next line with its end removed. more is false when there is
// none to hand out: at the end if done, else after a step within a long line.
func (l *lines) next() (line []byte, more, done bool, err error) {
	for read := 0; ; {
		if l.tooLong {
			if done, err := l.skipLong(); err != nil || !done {
				return nil, false, false, err
			}
			continue
		}
		if l.offset() >= l.end {
			return nil, false, true, nil
		}
		if i := bytes.IndexByte(l.block[l.seen:l.full], '\n'); i >= 0 {
			i += l.seen
			line = l.block[l.at:i:i]
			l.took(i + 1)
		} else if l.seen = l.full; !l.eof {
			if l.full-l.at > l.env.set.maxRecord {
				if l.extended {
					return nil, false, false, errOpenRecord
				}
				l.startLong()
				continue
			}
			if read > skipStep {
				return nil, false, false, nil
			}
			before := l.full - l.at
			if err := l.fill(); err != nil {
				return nil, false, false, err
			}
			read += l.full - l.at - before
			continue
		} else if l.at < l.full {
			line = l.block[l.at:l.full:l.full]
			l.took(l.full)
		} else {
			return nil, false, true, nil
		}
		if len(line) > l.env.set.maxRecord {
			if l.extended {
				l.at, l.seen = l.prev, l.prev
				return nil, false, false, errOpenRecord
			}
			if err := l.badLong(l.first, line); err != nil {
				return nil, false, false, err
			}
			continue
		}
		l.extended = false
		if l.first == 0 && bytes.HasPrefix(line, mark) {
			if line = line[len(mark):]; len(line) == 0 && l.ended() && l.offset() == int64(len(mark)) {
				return nil, false, true, nil // nothing but the mark
			}
		}
		if n := len(line); n > 0 && line[n-1] == '\r' {
			line = line[:n-1]
		}
		return line, true, false, nil
	}
}

// took moves on to the line that begins at block[to].
func (l *lines) took(to int) {
	l.first, l.prev = l.offset(), l.at
	l.at, l.seen = to, to
	l.line++
}

// extend makes the next line begin where the last one did, for a record that goes
// on. It must follow next at once.
func (l *lines) extend() { l.at, l.extended = l.prev, true }

// retreat goes on n bytes behind the beginning of the record that was handed out
// last or was being extended. line is the number of lines then.
func (l *lines) retreat(from int, n int, line int64) {
	l.at, l.seen, l.line, l.extended = from+n, from+n, line, false
}

// ended reports whether the last line was the file's last.
func (l *lines) ended() bool { return l.eof && l.at == l.full }

// startLong begins to pass over a line that is too long to hold.
func (l *lines) startLong() {
	l.tooLong, l.start = true, l.offset()
	l.raw = append(l.raw[:0], l.block[l.at:l.at+min(operator.MaxBadRaw, l.full-l.at)]...)
	l.drop()
}

// drop forgets the block: nothing of it from at on was handed out.
func (l *lines) drop() {
	l.base += int64(l.full)
	l.block, l.at, l.seen, l.full = l.block[l.full:], 0, 0, 0
}

// skipLong reads on in a line that is too long; done when its end was found.
func (l *lines) skipLong() (done bool, err error) {
	for read := 0; read < skipStep; {
		if err := l.fill(); err != nil {
			return false, err
		}
		read += l.full
		i := bytes.IndexByte(l.block[:l.full], '\n')
		switch {
		case i >= 0:
			l.at, l.seen = i+1, i+1
		case l.eof:
			l.at, l.seen = l.full, l.full
		default:
			l.drop()
			continue
		}
		l.tooLong = false
		l.line++
		return true, l.badLong(l.start, l.raw)
	}
	return false, nil
}

func (l *lines) badLong(from int64, raw []byte) error {
	return l.env.bad(l.place(l.line, from), raw, fmt.Sprintf("the line has %d bytes, more than MaxRecord, which is %d",
		l.offset()-from, l.env.set.maxRecord))
}

// fill reads at least one byte more, or notes the end.
func (l *lines) fill() error {
	if l.full == len(l.block) {
		l.grow()
	}
	n, err := io.ReadAtLeast(l.src, l.block[l.full:], min(len(l.block)-l.full, 32<<10))
	l.full += n
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		l.eof = true
		return l.checkEnd()
	}
	// What came before the error are good lines: they are handed out first, and
	// the error comes again with the next read.
	if n > 0 {
		return nil
	}
	return err
}

// checkEnd refuses a file that ends before it did when it was found.
func (l *lines) checkEnd() error {
	if l.kind == plain && l.base+int64(l.full) < l.d.Size {
		return l.in.check(l.base + int64(l.full))
	}
	return nil
}

// grow makes a new block and takes the rest of a line along.
func (l *lines) grow() {
	rest := l.block[l.at:l.full]
	size := max(l.env.set.testing.blockSize, 2*len(rest))
	if l.kind == plain {
		// One more byte than there is makes the end of the file show itself.
		left := l.d.Size - (l.base + int64(l.full)) + 1
		size = int(min(int64(size), int64(len(rest))+max(left, 1)))
	}
	block := make([]byte, size)
	copy(block, rest)
	l.base += int64(l.at)
	l.seen -= l.at
	l.full = len(rest)
	l.at = 0
	l.block = block
}

// rest is what has been read and not handed out.
func (l *lines) rest() []byte { return l.block[l.at:l.full] }

// place says where a line is: its number where that is known, its bytes else.
func (l *lines) place(line, offset int64) string {
	if l.d.Start == 0 {
		return fmt.Sprintf("%s:%d", l.d.Path, line)
	}
	return fmt.Sprintf("%s: byte %d (line %d of the part that begins at byte %d)", l.d.Path, offset, line, l.d.Start)
}

// where is the place of the last line.
func (l *lines) where() string { return l.place(l.line, l.first) }

// position is the beginning of the next line.
func (l *lines) position() position {
	p := position{Started: true, Offset: l.offset(), Line: l.line}
	if l.tooLong {
		// A long line is begun again.
		p.Offset = l.start
	}
	if l.kind == plain {
		p.Read = min(max(p.Offset-l.d.Start, 0), l.d.End-l.d.Start)
	} else {
		p.Read = min(l.in.read, l.d.Size)
	}
	return p
}

func (l *lines) close() error { return l.src.Close() }

// stringOf makes a string of a line without copying. Lines are never written again.
func stringOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
