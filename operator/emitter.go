package operator

import "github.com/weirflow/weir/flow"

// Emitter collects the records that user code emits and sends them in batches.
// A record gets the time of the record or timer that is being handled.
//
// An emitter belongs to one operator instance and to its task's goroutine; user
// code must not keep it beyond the call that it was given to.
type Emitter[T any] struct {
	batch flow.Batch[T]
	limit int
	now   flow.Time
	timed bool // the next record may need a time; see Stamp
	out   *Output[T]
	err   error
}

// Bind prepares the emitter to send batches of at most limit records to out.
func (e *Emitter[T]) Bind(out *Output[T], limit int) {
	e.out, e.limit, e.now, e.timed = out, limit, flow.MinTime, false
	e.batch.Values = make([]T, 0, limit)
}

// At sets the time of the records emitted from now on.
func (e *Emitter[T]) At(t flow.Time) {
	e.now = t
	e.timed = t != flow.MinTime || len(e.batch.Times) > 0
}

// Emit sends one record behind the others.
func (e *Emitter[T]) Emit(v T) {
	e.batch.Values = append(e.batch.Values, v)
	if e.timed || len(e.batch.Values) >= e.limit {
		e.emitted()
	}
}

// emitted does for the record just added what most do not need; it is apart so that
// Emit is small enough to be inlined.
func (e *Emitter[T]) emitted() {
	if e.timed {
		e.batch.Stamp(e.now)
	}
	if len(e.batch.Values) >= e.limit {
		e.send()
	}
}

// EmitAt sends one record with a time of its own.
func (e *Emitter[T]) EmitAt(v T, t flow.Time) {
	e.timed = e.timed || t != flow.MinTime
	e.batch.Append(v, t)
	if len(e.batch.Values) >= e.limit {
		e.send()
	}
}

// Flush sends what was collected and returns the first error since the last
// Flush. After an error records are dropped until Flush has told it.
func (e *Emitter[T]) Flush() error {
	if len(e.batch.Values) > 0 {
		e.send()
	}
	err := e.err
	e.err = nil
	return err
}

// Failed reports whether sending failed since the last Flush.
func (e *Emitter[T]) Failed() bool { return e.err != nil }

func (e *Emitter[T]) send() {
	if e.err == nil {
		e.err = e.out.Send(&e.batch)
	}
	e.batch.Truncate()
}
