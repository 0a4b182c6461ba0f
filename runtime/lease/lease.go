package lease

import (
	"fmt"
	"slices"
	"time"
)

// Options of a Lease.
type Options struct {
	// Margin is how long before its end a lease is over for its holder: what it takes to
	// kill executors. A lease that is not longer than it is none. Default: 500 ms.
	Margin time.Duration
	// Every is the time between two reports. Default: 200 ms.
	Every time.Duration
}

// EnsureDefaults fills what is not set.
func (o *Options) EnsureDefaults() {
	if o.Margin == 0 {
		o.Margin = 500 * time.Millisecond
	}
	if o.Every == 0 {
		o.Every = 200 * time.Millisecond
	}
}

// Validate refuses what cannot work.
func (o *Options) Validate() error {
	if o.Margin < 0 || o.Every < 0 {
		return fmt.Errorf("lease: margin %v and time between reports %v must be above 0", o.Margin, o.Every)
	}
	return nil
}

// State is what an agent may do.
type State uint8

const (
	// None: no leader has answered yet. Nothing may be started.
	None State = iota
	// Held: executors may run.
	Held
	// Over: executors must end, and none may be started.
	Over
)

// String names the state.
func (s State) String() string { return [...]string{"none", "held", "over"}[s] }

// Action is what the shell has to do now.
type Action struct {
	// Report: send one, and say so with Sent.
	Report bool
	// Stop: kill all executors at once, without grace, and say so with Stopped when they
	// are gone.
	Stop bool
	// Reason says why they are killed.
	Reason string
}

// outstanding bounds the reports that wait for an answer. An answer names the newest
// report that was read, so that older ones do not matter.
const outstanding = 64

// Lease is an agent's. Times are given by the caller, from a clock that never goes
// back and that goes on while the process or the machine is suspended: see Clock.
type Lease struct {
	o      Options
	state  State
	tenure uint64
	until  time.Duration // its end as the leader has it, or earlier; for Held
	now    time.Duration // the newest time that was told
	sent   []report      // by sequence
	next   time.Duration // of the report to come
	said   bool          // Stop, in this tenure
	alive  bool          // executors may be: from Stop until Stopped
	reason string
}

type report struct {
	seq uint64
	at  time.Duration
}

// New is a Lease that nobody has given yet.
func New(o Options) (*Lease, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o.EnsureDefaults()
	return &Lease{o: o}, nil
}

// advance lets time do what it does, before anything else is looked at. A clock that
// goes back stands still instead.
func (l *Lease) advance(now time.Duration) {
	l.now = max(l.now, now)
	if l.state == Held && l.now >= l.end() {
		reason := fmt.Sprintf("the agent's lease ends in %v and was not renewed", l.until-l.now)
		if l.now > l.until {
			reason = fmt.Sprintf("the agent's lease ended %v ago, while it was suspended or its clock jumped", l.now-l.until)
		}
		l.lose(reason)
	}
}

// end is when the lease is over for its holder.
func (l *Lease) end() time.Duration { return l.until - l.o.Margin }

// lose ends the tenure. What was sent in it renews nothing.
func (l *Lease) lose(reason string) {
	l.state, l.reason = Over, reason
	l.said, l.alive = false, true
	l.sent = l.sent[:0]
	l.next = l.now
}

// Sent says that a report is on its way. Now must be read before it is handed to the
// network.
func (l *Lease) Sent(now time.Duration, seq uint64) {
	l.advance(now)
	if n := len(l.sent); n > 0 && l.sent[n-1].seq >= seq {
		return
	}
	if len(l.sent) == outstanding {
		l.sent = slices.Delete(l.sent, 0, 1)
	}
	l.sent = append(l.sent, report{seq, l.now})
	l.next = l.now + l.o.Every
}

// Answered takes the leader's answer: the agent may go on for d from when it sent the
// report seq. It returns false where the answer renews nothing: the report is not
// known or is from an earlier tenure, or executors that had to end are not gone yet.
func (l *Lease) Answered(now time.Duration, seq uint64, d time.Duration) bool {
	l.advance(now)
	i := slices.IndexFunc(l.sent, func(r report) bool { return r.seq == seq })
	if i < 0 || l.alive {
		return false
	}
	at := l.sent[i].at
	l.sent = slices.Delete(l.sent, 0, i) // an older answer says less
	until := at + min(d, time.Hour)      // no leader means more, and nothing overflows
	if l.now >= until-l.o.Margin {
		return false
	}
	if l.state != Held {
		l.state, l.tenure, l.until = Held, l.tenure+1, until
	}
	l.until = max(l.until, until)
	return true
}

// Refused takes the leader's word that the agent has no lease: it was declared lost, or
// removed.
func (l *Lease) Refused(now time.Duration, reason string) {
	l.advance(now)
	if l.state == Held {
		l.lose("the leader has ended the agent's lease: " + reason)
	}
}

// Stopped says that no executor lives any more.
func (l *Lease) Stopped(now time.Duration) {
	l.advance(now)
	if l.state == Over && l.said && l.alive {
		l.alive = false
		l.sent = l.sent[:0] // what was sent with executors alive told of them
		l.next = l.now
	}
}

// Poll says what to do now.
func (l *Lease) Poll(now time.Duration) Action {
	l.advance(now)
	a := Action{Report: l.now >= l.next}
	if l.state == Over && !l.said {
		l.said = true
		a.Stop, a.Reason = true, l.reason
	}
	return a
}

// Next is when to Poll again, if nothing happens before.
func (l *Lease) Next() time.Duration {
	if l.state == Over && !l.said {
		return l.now
	}
	if l.state == Held {
		return min(l.next, l.end())
	}
	return l.next
}

// State is what the agent may do now. Whoever starts an executor asks for it right
// before.
func (l *Lease) State(now time.Duration) State {
	l.advance(now)
	return l.state
}

// Tenure counts how many times the lease was held anew. What was ordered in an earlier
// one does not hold any more.
func (l *Lease) Tenure() uint64 { return l.tenure }

// Left is how long the agent may go on, 0 if it may not.
func (l *Lease) Left(now time.Duration) time.Duration {
	if l.State(now) != Held {
		return 0
	}
	return l.end() - l.now
}

// Describe is the state on one line, for logs and scripts.
func (l *Lease) Describe() string {
	s := fmt.Sprintf("%v: %v, tenure %d", l.now, l.state, l.tenure)
	switch {
	case l.state == Held:
		s += fmt.Sprintf(", over at %v", l.end())
	case l.alive:
		s += ", executors are dying"
	}
	return s + fmt.Sprintf(", next %v", l.Next())
}
