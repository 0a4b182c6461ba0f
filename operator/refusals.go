package operator

// Refusals applies a [BadPolicy] for operators of other packages: it counts
// refused records, and sends them to the dead-letter output where the policy says
// so.
type Refusals struct{ bad badOutput }

// Outlet is the dead-letter output, the operator's outlet [DeadLetter].
func (r *Refusals) Outlet() Attacher { return &r.bad.out }

// Refuse applies the policy to a record when seen have come before it. An error
// means that the job fails with it.
func (r *Refusals) Refuse(ctx *Context, p BadPolicy, rec BadRecord, seen int64) error {
	return r.bad.refuse(ctx, p, rec, seen)
}

// Flush sends the refused records that were collected.
func (r *Refusals) Flush() error { return r.bad.flush() }
