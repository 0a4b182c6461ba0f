package window

import (
	"fmt"
	"time"

	"github.com/weirflow/weir/flow"
)

// MaxWords is the most that a trigger can keep for one window.
const MaxWords = 4

// Decision is a trigger's answer.
type Decision uint8

const (
	// Continue does nothing.
	Continue Decision = iota
	// Fire gives a result. In discarding mode it also purges.
	Fire
	// FireAndPurge gives a result and forgets the records.
	FireAndPurge
)

// Trigger decides when a window gives a result. It is data and keeps nothing
// itself: what it has to remember of a window are the words that its methods are
// given, 0 at first, and kept with the window's accumulator.
//
// Timers are hints. A trigger may be called for times that it has not asked for,
// or has asked for in an earlier life of the window: it compares with its words.
type Trigger interface {
	// Words is how many words it needs for a window, at most MaxWords.
	Words() int
	// OnElement is called after a record has been added to the window.
	OnElement(c *Call, words []int64) Decision
	// OnEventTime is called when the watermark has reached c.Time: a time asked
	// for, or the window's last instant, of which every trigger is told once.
	OnEventTime(c *Call, words []int64) Decision
	// OnProcessingTime is called when the clock has reached c.Time.
	OnProcessingTime(c *Call, words []int64) Decision
	// OnMerge is called when a session takes in another, whose words are from. It
	// asks again for the timers that it needs.
	OnMerge(c *Call, words, from []int64)
	// String is what explain shows.
	String() string
}

// Call is what a trigger is called with. It is valid for the call only.
type Call struct {
	Window Window
	// Time is the record's time, or the timer's.
	Time flow.Time
	// Watermark is the operator's event time. In processing-time windows it is
	// the clock.
	Watermark flow.Time
	// Now is the processing time.
	Now flow.Time

	event, processing []flow.Time // timers asked for
}

// Complete reports whether the watermark has reached the window's last instant.
func (c *Call) Complete() bool { return c.Watermark >= c.Window.Last() }

// EventTimer asks for a call of OnEventTime at t.
func (c *Call) EventTimer(t flow.Time) { c.event = append(c.event, t) }

// ProcessingTimer asks for a call of OnProcessingTime at t.
func (c *Call) ProcessingTimer(t flow.Time) { c.processing = append(c.processing, t) }

// AtWatermark fires once when the watermark reaches the window's last instant,
// and then at each late record within the allowed lateness.
func AtWatermark() Trigger { return atWatermark{} }

type atWatermark struct{}

func (atWatermark) Words() int { return 0 }
func (atWatermark) OnElement(c *Call, _ []int64) Decision {
	return fireIf(c.Complete())
}
func (atWatermark) OnEventTime(c *Call, _ []int64) Decision {
	return fireIf(c.Time == c.Window.Last())
}
func (atWatermark) OnProcessingTime(*Call, []int64) Decision { return Continue }
func (atWatermark) OnMerge(*Call, []int64, []int64)          {}
func (atWatermark) String() string                           { return "at watermark" }

func fireIf(b bool) Decision {
	if b {
		return Fire
	}
	return Continue
}

// EveryCount fires whenever n more records have come. It does not fire at the
// window's end.
func EveryCount(n int64) Trigger { return everyCount{n} }

type everyCount struct{ n int64 }

func (everyCount) Words() int { return 1 }
func (t everyCount) OnElement(_ *Call, words []int64) Decision {
	words[0]++
	if words[0] < t.n {
		return Continue
	}
	words[0] = 0
	return Fire
}
func (everyCount) OnEventTime(*Call, []int64) Decision          { return Continue }
func (everyCount) OnProcessingTime(*Call, []int64) Decision     { return Continue }
func (everyCount) OnMerge(_ *Call, words []int64, from []int64) { words[0] += from[0] }
func (t everyCount) String() string                             { return fmt.Sprintf("every %d records", t.n) }

// Every fires when d has passed on the clock since the first record that no
// result covers yet. It does not fire at the window's end.
func Every(d time.Duration) Trigger { return every{d} }

type every struct{ d time.Duration }

func (every) Words() int { return 1 }
func (t every) OnElement(c *Call, words []int64) Decision {
	if words[0] == 0 {
		words[0] = int64(c.Now.Add(t.d))
		c.ProcessingTimer(flow.Time(words[0]))
	}
	return Continue
}
func (every) OnEventTime(*Call, []int64) Decision { return Continue }
func (every) OnProcessingTime(c *Call, words []int64) Decision {
	if words[0] == 0 || c.Now < flow.Time(words[0]) {
		return Continue
	}
	words[0] = 0
	return Fire
}
func (every) OnMerge(c *Call, words, from []int64) {
	switch {
	case words[0] == 0:
		words[0] = from[0]
	case from[0] != 0:
		words[0] = min(words[0], from[0])
	}
	if words[0] != 0 {
		c.ProcessingTimer(flow.Time(words[0]))
	}
}
func (t every) String() string { return "every " + t.d.String() }

// EarlyLate fires as early says until the watermark reaches the window's last
// instant, then once, and from then on as late says. A nil early fires not
// before, a nil late fires at each late record.
func EarlyLate(early, late Trigger) Trigger { return earlyLate{early, late} }

type earlyLate struct{ early, late Trigger }

func wordsOf(t Trigger) int {
	if t == nil {
		return 0
	}
	return t.Words()
}

func (t earlyLate) Words() int { return wordsOf(t.early) + wordsOf(t.late) }

// now is the trigger in charge and its words.
func (t earlyLate) now(c *Call, words []int64) (Trigger, []int64) {
	if n := wordsOf(t.early); c.Complete() {
		return t.late, words[n:]
	} else {
		return t.early, words[:n]
	}
}

func (t earlyLate) OnElement(c *Call, words []int64) Decision {
	s, words := t.now(c, words)
	if s == nil {
		return fireIf(c.Complete())
	}
	return s.OnElement(c, words)
}

func (t earlyLate) OnEventTime(c *Call, words []int64) Decision {
	if c.Time == c.Window.Last() {
		return Fire
	}
	if s, words := t.now(c, words); s != nil {
		return s.OnEventTime(c, words)
	}
	return Continue
}

func (t earlyLate) OnProcessingTime(c *Call, words []int64) Decision {
	if s, words := t.now(c, words); s != nil {
		return s.OnProcessingTime(c, words)
	}
	return Continue
}

func (t earlyLate) OnMerge(c *Call, words, from []int64) {
	n := wordsOf(t.early)
	if t.early != nil {
		t.early.OnMerge(c, words[:n], from[:n])
	}
	if t.late != nil {
		t.late.OnMerge(c, words[n:], from[n:])
	}
}

func (t earlyLate) String() string {
	s := "at watermark"
	if t.early != nil {
		s += ", early " + t.early.String()
	}
	if t.late != nil {
		s += ", late " + t.late.String()
	}
	return s
}

// Purging makes every result of t discard what it covered, whatever the mode is.
func Purging(t Trigger) Trigger { return purging{t} }

type purging struct{ Trigger }

func (t purging) purge(d Decision) Decision {
	if d == Fire {
		return FireAndPurge
	}
	return d
}
func (t purging) OnElement(c *Call, words []int64) Decision {
	return t.purge(t.Trigger.OnElement(c, words))
}
func (t purging) OnEventTime(c *Call, words []int64) Decision {
	return t.purge(t.Trigger.OnEventTime(c, words))
}
func (t purging) OnProcessingTime(c *Call, words []int64) Decision {
	return t.purge(t.Trigger.OnProcessingTime(c, words))
}
func (t purging) String() string { return t.Trigger.String() + ", purging" }

// validTrigger refuses built-in triggers that could never fire.
func validTrigger(t Trigger) error {
	switch t := t.(type) {
	case everyCount:
		if t.n < 1 {
			return fmt.Errorf("window: a trigger every %d records; it must be at least 1", t.n)
		}
	case every:
		if t.d < time.Microsecond {
			return fmt.Errorf("window: a trigger every %v; it must be at least 1µs", t.d)
		}
	case purging:
		return validTrigger(t.Trigger)
	case earlyLate:
		if err := validTrigger(t.early); err != nil {
			return err
		}
		return validTrigger(t.late)
	}
	return nil
}
