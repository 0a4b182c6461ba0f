// Package obs holds the counters that a running job keeps about itself.
//
// An operator instance owns one [Operator]; it adds to it once a batch, never once
// a record. Anyone may read it at any time: fields are atomics and a reader sees
// values that are each right, though not of one instant. What the time of a task goes into
// is kept by its [Task].
package obs

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
)

// Operator counts what one instance of an operator did.
type Operator struct {
	ID      string
	Name    string
	Kind    string
	Subtask int
	// Task is that of which it is a part.
	Task *Task

	RecordsIn  atomic.Int64
	RecordsOut atomic.Int64
	// Bytes counts what a source read or a sink wrote, in the outside's bytes.
	Bytes atomic.Int64
	// Late counts records that came after their window was closed for good.
	Late atomic.Int64
	// Bad counts records that could not be read or handled and were skipped or
	// sent to the dead-letter output.
	Bad atomic.Int64
	// Watermark is the operator's event time, in microseconds since the Unix epoch;
	// math.MinInt64 while nothing is known, math.MaxInt64 at the end.
	Watermark atomic.Int64
	// Done and Total are a source's progress over bounded input, in units of its
	// choice (bytes, offsets, records); Total is 0 where there is no end.
	Done  atomic.Int64
	Total atomic.Int64
	// Retries counts repeated calls to the outside (async calls, brokers).
	Retries atomic.Int64
	// StateMemory and StateDisk are what the operator's keyed state took at the last
	// barrier, in bytes. Asking a store costs more than a count, so that it is done once an
	// epoch.
	StateMemory atomic.Int64
	StateDisk   atomic.Int64
}

// Registry lists the operators of a process.
type Registry struct {
	mu struct {
		sync.Mutex
		operators []*Operator
	}
}

// Operator registers an instance in a task and returns its counters, all 0. It takes the
// place of the same subtask of an earlier attempt. One of an earlier attempt that runs in
// another process now stays: its task's attempt tells.
func (r *Registry) Operator(t *Task, id, name, kind string, subtask int) *Operator {
	o := &Operator{ID: id, Name: name, Kind: kind, Subtask: subtask, Task: t}
	o.Watermark.Store(math.MinInt64)
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, was := range r.mu.operators {
		if was.ID == id && was.Subtask == subtask {
			r.mu.operators[i] = o
			return o
		}
	}
	r.mu.operators = append(r.mu.operators, o)
	return o
}

// Newest returns the instances of the newest attempt, which is least or a later one, oldest
// first: what an earlier attempt has left counts for nothing any more.
func (r *Registry) Newest(least uint64) ([]*Operator, uint64) {
	all := r.Operators()
	for _, o := range all {
		least = max(least, o.Task.Attempt)
	}
	return slices.DeleteFunc(all, func(o *Operator) bool { return o.Task.Attempt != least }), least
}

// Operators returns the registered instances, oldest first.
func (r *Registry) Operators() []*Operator {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*Operator(nil), r.mu.operators...)
}
