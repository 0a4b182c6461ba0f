package window

import (
	"fmt"
	"time"

	"github.com/weirflow/weir/graph"
)

// Kind is the kind of windows that an [Assigner] makes.
type Kind uint8

// The kinds of windows; see the functions that make assigners.
const (
	KindTumbling Kind = iota + 1
	KindSliding
	KindCumulative
	KindSession
	KindGlobal
	KindCount
)

var kindNames = [...]string{"", "tumbling", "sliding", "cumulative", "session", "global", "count"}

// String is the kind's name in lower case.
func (k Kind) String() string {
	if int(k) < len(kindNames) && k > 0 {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Assigner says which windows a record belongs to. It is data; make one with
// [Tumbling], [Sliding], [Cumulative], [Session], [SessionDynamic], [Global],
// [Count] or [CountSliding].
type Assigner struct {
	Kind Kind
	// Size is the length of a window; of a cumulative one the largest; of a
	// session the gap that ends it, 0 where a function of the record gives it.
	Size time.Duration
	// Slide is the distance between the starts of sliding windows, and between
	// the ends of cumulative ones.
	Slide time.Duration
	// Offset moves windows away from multiples of their size since 1970 UTC.
	Offset time.Duration
	// N and Every are the size and slide of count windows.
	N, Every int64
	// Dynamic is true for sessions with a gap that depends on the record.
	Dynamic bool
	// ProcessingTime is true for windows over the time at which records arrive
	// and not the time that they carry.
	ProcessingTime bool
}

// Tumbling makes windows of one size, one after the other without a gap.
func Tumbling(size time.Duration) Assigner { return Assigner{Kind: KindTumbling, Size: size} }

// Sliding makes windows of one size of which one starts every slide; they
// overlap if slide is less than size. What a record costs does not depend on how
// many windows it is in: it goes to one pane, and windows are made of panes.
func Sliding(size, slide time.Duration) Assigner {
	return Assigner{Kind: KindSliding, Size: size, Slide: slide}
}

// Cumulative makes windows that all start where a tumbling window of size maxSize
// would, and end step, two steps, and so on up to maxSize later: the figure since
// midnight, every minute. maxSize must be a multiple of step.
func Cumulative(maxSize, step time.Duration) Assigner {
	return Assigner{Kind: KindCumulative, Size: maxSize, Slide: step}
}

// Session makes windows of records of which each is less than gap away from the
// next. A record exactly gap behind the last starts a session of its own.
func Session(gap time.Duration) Assigner { return Assigner{Kind: KindSession, Size: gap} }

// SessionDynamic makes sessions with a gap that each record brings along, see
// Config.Gap.
func SessionDynamic() Assigner { return Assigner{Kind: KindSession, Dynamic: true} }

// Global makes one window of all time. It is complete at the end of the input.
func Global() Assigner { return Assigner{Kind: KindGlobal} }

// Count makes windows of n records of a key each. At the end of the input a
// window that is not full gives no result.
func Count(n int64) Assigner { return Assigner{Kind: KindCount, N: n, Every: n} }

// CountSliding makes windows of the last n records of a key, one every so many
// records. The first ones, before there are n, hold what there is.
func CountSliding(n, every int64) Assigner { return Assigner{Kind: KindCount, N: n, Every: every} }

// WithOffset moves the windows by d: days that begin at midnight in Berlin are
// Tumbling(24*time.Hour).WithOffset(-time.Hour), as far as an offset that does
// not change with the seasons can say it.
func (a Assigner) WithOffset(d time.Duration) Assigner { a.Offset = d; return a }

// InProcessingTime makes the windows follow the machine's clock. Such windows
// never have late records, and their results differ from run to run. At the end
// of the input those that are open give their results.
func (a Assigner) InProcessingTime() Assigner { a.ProcessingTime = true; return a }

// span is the largest length of time that an assigner may use: far beyond any
// real time, and small enough that sums with event times do not overflow.
const span = time.Duration(1) << 62

// Validate refuses sizes that make no windows.
func (a Assigner) Validate() error {
	positive := func(what string, d time.Duration) error {
		if d < time.Microsecond || d > span {
			return fmt.Errorf("window: the %s of %s windows is %v; it must be at least 1µs", what, a.Kind, d)
		}
		if d%time.Microsecond != 0 {
			return fmt.Errorf("window: the %s of %s windows is %v; event time counts in whole microseconds", what, a.Kind, d)
		}
		return nil
	}
	switch a.Kind {
	case KindTumbling:
		return positive("size", a.Size)
	case KindSliding, KindCumulative:
		if err := positive("size", a.Size); err != nil {
			return err
		}
		what := map[Kind]string{KindSliding: "slide", KindCumulative: "step"}[a.Kind]
		if err := positive(what, a.Slide); err != nil {
			return err
		}
		if a.Kind == KindCumulative && a.Size%a.Slide != 0 {
			return fmt.Errorf("window: cumulative windows up to %v cannot grow by %v: it must divide the size", a.Size, a.Slide)
		}
	case KindSession:
		if a.Dynamic {
			return nil
		}
		return positive("gap", a.Size)
	case KindGlobal:
	case KindCount:
		if a.N < 1 || a.Every < 1 {
			return fmt.Errorf("window: count windows of %d records every %d records; both must be at least 1", a.N, a.Every)
		}
	default:
		return fmt.Errorf("window: no assigner; choose Tumbling, Sliding, Cumulative, Session, Global or Count")
	}
	return nil
}

// String is what explain shows: "sliding 1m0s every 10s".
func (a Assigner) String() string {
	s := a.Kind.String()
	switch {
	case a.Kind == KindCount && a.N == a.Every:
		s += fmt.Sprintf(" %d", a.N)
	case a.Kind == KindCount:
		s += fmt.Sprintf(" %d every %d", a.N, a.Every)
	case a.Dynamic:
		s += " by record"
	case a.Slide != 0:
		s += fmt.Sprintf(" %v every %v", a.Size, a.Slide)
	case a.Size != 0:
		s += " " + a.Size.String()
	}
	if a.Offset != 0 {
		s += " offset " + a.Offset.String()
	}
	if a.ProcessingTime {
		s += " in processing time"
	}
	return s
}

// timed reports whether windows follow the time of records.
func (a Assigner) timed() bool { return a.Kind != KindGlobal && a.Kind != KindCount }

// Spec is a windowing as data: all of it that is not user code.
type Spec struct {
	Assigner Assigner
	// Trigger says when a window gives results. Default: [AtWatermark], once when
	// the watermark reaches the window's last instant and then at each late
	// record. Count windows take no trigger.
	Trigger Trigger
	Mode    Mode
	// Lateness is for how long after its last instant, in event time, a window
	// still takes records. Default: 0.
	Lateness time.Duration
}

// Validate refuses what does not go together.
func (s Spec) Validate() error {
	a := s.Assigner
	if err := a.Validate(); err != nil {
		return err
	}
	if s.Lateness < 0 {
		return fmt.Errorf("window: allowed lateness of %v; it cannot be negative", s.Lateness)
	}
	if s.Lateness > 0 && (a.ProcessingTime || !a.timed()) {
		return fmt.Errorf("window: allowed lateness of %v for windows %v: in them no record is late", s.Lateness, a)
	}
	if s.Trigger == nil {
		return nil
	}
	if a.Kind == KindCount {
		return fmt.Errorf("window: trigger %v for windows %v: they fire when they are full and take no other trigger; "+
			"take global windows with EveryCount", s.Trigger, a)
	}
	if n := s.Trigger.Words(); n < 0 || n > MaxWords {
		return fmt.Errorf("window: trigger %v keeps %d words for a window; at most %d are possible", s.Trigger, n, MaxWords)
	}
	if err := validTrigger(s.Trigger); err != nil {
		return err
	}
	return nil
}

// Attrs describes it for explain.
func (s Spec) Attrs() []graph.Attr {
	attrs := []graph.Attr{{Key: "window", Value: s.Assigner.String()}}
	if s.Trigger != nil {
		attrs = append(attrs, graph.Attr{Key: "trigger", Value: s.Trigger.String()})
	}
	if s.Trigger != nil || s.Lateness > 0 {
		attrs = append(attrs, graph.Attr{Key: "mode", Value: s.Mode.String()})
	}
	if s.Lateness > 0 {
		attrs = append(attrs, graph.Attr{Key: "lateness", Value: s.Lateness.String()})
	}
	return attrs
}

// plain reports whether windows fire by the default trigger.
func (s Spec) plain() bool {
	if s.Trigger == nil {
		return true
	}
	_, ok := s.Trigger.(atWatermark)
	return ok
}
