package operator

import (
	"errors"

	"github.com/weirflow/weir/flow"
)

// badOutput counts an operator's bad records and sends them to its dead-letter
// outlet.
type badOutput struct {
	out   Output[BadRecord]
	batch flow.Batch[BadRecord]
}

// refuse applies the policy; seen is the number of records so far.
func (o *badOutput) refuse(ctx *Context, p BadPolicy, rec BadRecord, seen int64) error {
	bad := ctx.Metrics.Bad.Add(1)
	if rec.Operator == "" {
		rec.Operator = ctx.Name
	}
	if len(rec.Raw) > MaxBadRaw {
		rec.Raw = rec.Raw[:MaxBadRaw]
	}
	if err := p.Check(rec, bad, seen+bad); err != nil {
		return asDomain(err, flow.DomainUser, false)
	}
	if p.Mode == BadDeadLetter && o.out.Attached() {
		rec.Raw = append([]byte(nil), rec.Raw...)
		o.batch.Append(rec, rec.Time)
	}
	return nil
}

func (o *badOutput) pending() bool { return len(o.batch.Values) > 0 }

func (o *badOutput) flush() error {
	if !o.pending() {
		return nil
	}
	err := o.out.Send(&o.batch)
	o.batch.Reset()
	return err
}

// asDomain makes err a failure of the domain, unless it says already whose it is.
func asDomain(err error, d flow.Domain, retryable bool) error {
	var f *flow.Failure
	if errors.As(err, &f) || errors.Is(err, ErrBadRecord) && d != flow.DomainUser {
		return err
	}
	return &flow.Failure{Domain: d, Retryable: retryable, Message: err.Error(), Cause: err}
}
