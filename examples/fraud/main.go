// Command fraud looks for stolen payment cards: a small payment that is followed
// by a large one within a minute, and too many payments in a minute. Its rules can
// change while it runs. See README.md.
package main

import (
	"flag"
	"fmt"
	"time"

	"github.com/weirflow/weir/connector/console"
	"github.com/weirflow/weir/connector/file"
	"github.com/weirflow/weir/sdk"
	"github.com/weirflow/weir/sdk/run"
)

type config struct {
	payments, rules, output string
	watch                   bool
}

func main() {
	var c config
	flag.StringVar(&c.payments, "payments", "examples/fraud/testdata/payments", "read payments from the JSON Lines files in `DIR`")
	flag.StringVar(&c.rules, "rules", "examples/fraud/testdata/rules", "read rules from the JSON Lines files in `DIR`")
	flag.StringVar(&c.output, "output", "", "also write alerts to `DIR`, as JSON Lines")
	flag.BoolVar(&c.watch, "watch", false, "go on with payments and rules that are added")
	run.Main("fraud", func(p *sdk.Pipeline) error {
		alerts := build(p, c)
		sdk.Write(alerts, console.Print(nil, Alert.String))
		if c.output != "" {
			sdk.Write(alerts, file.JSONLinesSink[Alert](c.output))
		}
		return nil
	})
}

// build is the pipeline: payments by card, and rules that all subtasks get.
func build(p *sdk.Pipeline, c config) *sdk.Stream[Alert] {
	var opts []file.JSONOption
	if c.watch {
		opts = append(opts, file.Watch(time.Second))
	}
	// Files of payments follow one another in time. Rules have no watermark: event
	// time waits while some are being read, and otherwise goes by payments alone.
	payments := sdk.ReadTimed(p, file.JSONLines[Payment](c.payments, opts...),
		sdk.OutOfOrder(disorder, Payment.time).InOrder(), sdk.Name("payments"), sdk.Parallelism(1))
	rules := sdk.Read(p, file.JSONLines[Rules](c.rules, opts...), sdk.Name("rules"), sdk.Parallelism(1))

	byCard := sdk.KeyBy(payments, func(p Payment) string { return p.Card })
	return sdk.ProcessBroadcast(byCard, rules, detect, sdk.Name("detect"))
}

// String is a line for the terminal.
func (a Alert) String() string {
	return fmt.Sprintf("%s  card %s  %-8s  %s", a.Time.Format(time.TimeOnly), a.Card, a.Kind, a.Why)
}
