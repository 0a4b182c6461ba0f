package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/weirflow/weir/sdk"
)

// Payment is one payment, as it stands in the input. Amounts are in cents.
type Payment struct {
	Time   time.Time `json:"time"`
	ID     int64     `json:"id"`
	Card   string    `json:"card"`
	Amount int64     `json:"amount"`
}

// Rules are what is suspicious from a time on, until the next rules say else.
type Rules struct {
	From      time.Time `json:"from"`
	Small     int64     `json:"small"`      // a payment of at most so much tries a card out
	Large     int64     `json:"large"`      // and one of at least so much, within a minute, uses it
	PerMinute int       `json:"per_minute"` // more payments than that in a minute are too many
}

// Alert is a suspicion.
type Alert struct {
	Time    time.Time `json:"time"`
	Card    string    `json:"card"`
	Kind    string    `json:"kind"`
	Payment int64     `json:"payment"` // that raised it
	Why     string    `json:"why"`
}

const (
	disorder = 10 * time.Second // payments arrive at most so much out of order
	memory   = time.Minute      // what is older is forgotten
)

func (p Payment) time() sdk.Time { return sdk.TimeOf(p.Time) }
func (r Rules) from() sdk.Time   { return sdk.TimeOf(r.From) }

// detect declares the state of a card and says what is done with payments, rules
// and timers.
//
// A payment is not looked at when it arrives but when event time has reached its
// time, by a timer: then all payments and all rules of earlier times are there, and
// it makes no difference in which order they came.
func detect(s *sdk.Setup[string]) sdk.BroadcastProcessor[string, Payment, Rules, Alert] {
	waiting := sdk.NewMap[sdk.Time, []Payment](s, "waiting")
	recent := sdk.NewValue[[]Payment](s, "recent")
	rules := sdk.NewBroadcastState[sdk.Time, Rules](s, "rules")

	return sdk.BroadcastProcessor[string, Payment, Rules, Alert]{
		Broadcast: func(b *sdk.BroadcastContext, r Rules, _ *sdk.Out[Alert]) {
			rules.Set(b, r.from(), r)
		},
		Each: func(c *sdk.Context[string], p Payment, _ *sdk.Out[Alert]) {
			if p.time() <= c.Watermark() {
				return // later than payments can be: what came after it has been judged
			}
			same, _ := waiting.Get(p.time())
			waiting.Set(p.time(), append(slices.Clip(same), p))
			c.SetTimer(p.time())
		},
		Timer: func(c *sdk.Context[string], t sdk.Timer, out *sdk.Out[Alert]) {
			past, _ := recent.Get()
			past = forget(past, t.At.Add(-memory))
			due, _ := waiting.Get(t.At)
			waiting.Delete(t.At)
			slices.SortFunc(due, func(a, b Payment) int { return int(a.ID - b.ID) })
			for _, p := range due {
				if r, ok := valid(rules, t.At); ok {
					r.judge(past, p, out)
				}
				past = append(past, p)
			}
			if len(past) == 0 {
				recent.Clear() // nothing is kept of a card that is not used
				return
			}
			recent.Set(past)
			c.SetTimer(past[0].time().Add(memory))
		},
	}
}

// forget returns a copy without the payments up to a time.
func forget(past []Payment, upTo sdk.Time) []Payment {
	return slices.DeleteFunc(slices.Clone(past), func(p Payment) bool { return p.time() <= upTo })
}

// valid are the newest rules that are not from after t.
func valid(rules *sdk.BroadcastState[sdk.Time, Rules], t sdk.Time) (newest Rules, ok bool) {
	rules.Each(func(from sdk.Time, r Rules) bool {
		if from <= t && (!ok || from > newest.from()) {
			newest, ok = r, true
		}
		return true
	})
	return newest, ok
}

// judge looks at a payment and those of the minute before it.
func (r Rules) judge(past []Payment, p Payment, out *sdk.Out[Alert]) {
	tried := slices.IndexFunc(past, func(q Payment) bool { return q.Amount <= r.Small })
	if p.Amount >= r.Large && tried >= 0 {
		out.Emit(Alert{p.Time, p.Card, "tried", p.ID, fmt.Sprintf("%s after %s", euros(p.Amount), euros(past[tried].Amount))})
	}
	if n := len(past) + 1; n > r.PerMinute {
		out.Emit(Alert{p.Time, p.Card, "velocity", p.ID, fmt.Sprintf("%d payments in a minute", n)})
	}
}

func euros(cents int64) string { return fmt.Sprintf("%d.%02d", cents/100, cents%100) }
