package obs

import (
	"sync"
	"time"
)

// Task measures what the time of one task goes into; the operators of its chain share
// it. The task tells it when it waits: time between waits is work, so that it costs
// nothing to work. Its methods may be called from any goroutine.
type Task struct {
	Attempt uint64

	mu struct {
		sync.Mutex
		running bool
		// since is when what goes on just now began.
		since time.Time
		doing doing
		spent [kinds]time.Duration // before since
		// inputs are told until the task ends.
		inputs []Input
	}
}

// Input is one exchange that ends at a task.
type Input struct {
	// Edge names the exchange, Operator and Name the consumer.
	Edge, Operator, Name string
	// Credit is how many bytes may wait in it, of all producers.
	Credit int64
	// Queued reads how many do. It may be called from any goroutine.
	Queued func() int
}

// doing is what a task does with its time.
type doing uint8

const (
	working doing = iota
	idling
	stemmed // backpressured
	kinds
)

// Times is what a task's time went into since it began.
type Times struct {
	// Busy is work, and what an operator waits for in the middle of it.
	Busy time.Duration
	// Idle is waiting for something to do.
	Idle time.Duration
	// Backpressured is waiting for consumers: there may be something to do, but no room for
	// what would come of it.
	Backpressured time.Duration
}

// All is the sum.
func (t Times) All() time.Duration { return t.Busy + t.Idle + t.Backpressured }

// Sub is what was added since u.
func (t Times) Sub(u Times) Times {
	return Times{t.Busy - u.Busy, t.Idle - u.Idle, t.Backpressured - u.Backpressured}
}

// Begin starts the clock: the task works.
func (t *Task) Begin(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.running, t.mu.since, t.mu.doing = true, now, working
}

// Wait says that the task waits from now on, for consumers if backpressured is set, else
// for something to do.
func (t *Task) Wait(now time.Time, backpressured bool) {
	d := idling
	if backpressured {
		d = stemmed
	}
	t.turn(now, d)
}

// Work says that the task works again.
func (t *Task) Work(now time.Time) { t.turn(now, working) }

// End stops the clock.
func (t *Task) End(now time.Time) {
	t.turn(now, working)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.running, t.mu.inputs = false, nil
}

// Takes says what exchanges end at the task. It is called before Begin.
func (t *Task) Takes(inputs []Input) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.inputs = inputs
}

// Inputs are the exchanges that end at the task; none when it has ended.
func (t *Task) Inputs() []Input {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.inputs
}

func (t *Task) turn(now time.Time, d doing) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.running {
		t.mu.spent[t.mu.doing] += now.Sub(t.mu.since)
		t.mu.since, t.mu.doing = now, d
	}
}

// Times reads the clock, with what goes on just now.
func (t *Task) Times(now time.Time) Times {
	t.mu.Lock()
	defer t.mu.Unlock()
	spent := t.mu.spent
	if t.mu.running {
		// Who asks may have looked at the clock before the task did.
		spent[t.mu.doing] += max(0, now.Sub(t.mu.since))
	}
	return Times{Busy: spent[working], Idle: spent[idling], Backpressured: spent[stemmed]}
}
