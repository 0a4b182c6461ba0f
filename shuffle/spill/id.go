package spill

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/weirflow/weir/flow"
)

// ID names an output.
type ID struct {
	Job      flow.JobID   `msgpack:"job"`
	Exchange flow.EdgeID  `msgpack:"exchange"`
	Producer int          `msgpack:"producer"` // subtask
	Attempt  flow.Attempt `msgpack:"attempt"`
}

// String is for logs and errors.
func (id ID) String() string {
	return fmt.Sprintf("job %s, exchange %s, producer %d, attempt %d", id.Job, id.Exchange, id.Producer, id.Attempt)
}

// line is what the attempts of one producer have in common.
func (id ID) line() ID { id.Attempt = 0; return id }

// check refuses what cannot be stored.
func (id ID) check() error {
	if id.Job == "" || id.Exchange.To == "" || id.Producer < 0 || id.Attempt == 0 {
		return fmt.Errorf("shuffle/spill: %s: an output needs a job, an exchange, a producer from 0 and an attempt from 1", id)
	}
	if n := max(len(escape(string(id.Job))), len(id.file())); n > 240 {
		return fmt.Errorf("shuffle/spill: %s: its names are too long for a file's", id)
	}
	return nil
}

const suffix = ".spill"

// file is the name of the output's file in its job's directory.
func (id ID) file() string {
	return fmt.Sprintf("%s@%d@%d@%d@%d%s", escape(string(id.Exchange.To)), id.Exchange.Port, id.Exchange.Index, id.Producer, id.Attempt, suffix)
}

// escape makes a file name of a name that others have chosen: nothing in it can
// lead out of the directory.
func escape(name string) string {
	var b strings.Builder
	for _, c := range []byte(name) {
		switch {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '-', c == '_':
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteString(strconv.FormatUint(uint64(c)+0x100, 16)[1:])
		}
	}
	return b.String()
}

// Range is the half-open range of sub-partitions [First, End).
type Range struct {
	First int `msgpack:"first"`
	End   int `msgpack:"end"`
}

// Len is the number of sub-partitions.
func (r Range) Len() int { return r.End - r.First }

// String is "[first,end)".
func (r Range) String() string { return fmt.Sprintf("[%d,%d)", r.First, r.End) }
