package operator

import (
	"errors"
	"fmt"

	"github.com/weirflow/weir/flow"
)

// BadRecord is a record that could not be read or handled. It is what a
// dead-letter output carries.
type BadRecord struct {
	// Operator is the name of the operator that refused it.
	Operator string
	// Where tells the record's place: file and line, topic and offset.
	Where string
	// Raw is the record's beginning, at most MaxBadRaw bytes.
	Raw []byte
	// Reason says what is wrong with it.
	Reason string
	// Time is its event time, or flow.MinTime.
	Time flow.Time
}

// MaxBadRaw bounds the part of a bad record that is kept, in bytes.
const MaxBadRaw = 4096

// BadMode says what is done with bad records.
type BadMode uint8

const (
	// BadFail fails the job at the first one. The default.
	BadFail BadMode = iota
	// BadSkip counts and drops them.
	BadSkip
	// BadDeadLetter counts them and sends them to the dead-letter output.
	BadDeadLetter
)

// BadPolicy is an operator's rule for bad records. The zero value fails the job
// at the first.
type BadPolicy struct {
	Mode BadMode
	// MaxCount fails the job when more than this many were bad in one subtask. 0
	// sets no limit.
	MaxCount int64
	// MaxShare fails the job when more than this share of a subtask's records was
	// bad, after its first 1,000 records. 0 sets no limit.
	MaxShare float64
}

// ErrBadRecord is wrapped by the error of a record that the policy does not
// tolerate.
var ErrBadRecord = errors.New("bad record")

// minShareSample is the number of records before MaxShare counts: one bad record
// among the first ten is no reason to stop.
const minShareSample = 1000

// Check says what becomes of rec, when it is number bad (from 1) among seen
// records: nil means that it is skipped or sent to the dead-letter output.
func (p BadPolicy) Check(rec BadRecord, bad, seen int64) error {
	switch {
	case p.Mode == BadFail:
		return fmt.Errorf("%w: %s: %s; it begins %q (to go on, choose skip or dead-letter for %q)",
			ErrBadRecord, rec.Where, rec.Reason, Excerpt(string(rec.Raw), 120), rec.Operator)
	case p.MaxCount > 0 && bad > p.MaxCount:
		return fmt.Errorf("%w: %s: %s; the limit of %d bad records of %q is passed",
			ErrBadRecord, rec.Where, rec.Reason, p.MaxCount, rec.Operator)
	case p.MaxShare > 0 && seen >= minShareSample && float64(bad) > p.MaxShare*float64(seen):
		return fmt.Errorf("%w: %s: %s; %d of %d records of %q are bad, the limit is %.3g %%",
			ErrBadRecord, rec.Where, rec.Reason, bad, seen, rec.Operator, 100*p.MaxShare)
	}
	return nil
}
