package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/weirflow/weir/connector/collect"
	"github.com/weirflow/weir/examples/internal/exampletest"
	"github.com/weirflow/weir/sdk"
	"github.com/weirflow/weir/sdk/run"
)

const golden = "testdata/golden/alerts.jsonl"

var start = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

// makePayments makes twenty minutes of payments of fifty cards, two of which are in
// the hands of thieves, in the order of arrival: up to 8 s out of order.
func makePayments() []Payment {
	r := rand.New(rand.NewPCG(3, 2))
	type arriving struct {
		Payment
		at time.Time
	}
	var all []arriving
	pay := func(at time.Time, card string, amount int64) {
		all = append(all, arriving{Payment{Time: at, Card: card, Amount: amount}, at.Add(time.Duration(r.Int64N(int64(8 * time.Second))))})
	}
	for range 900 {
		pay(start.Add(time.Duration(r.Int64N(1200))*time.Second), fmt.Sprintf("c%02d", r.IntN(48)), 50+r.Int64N(9000))
	}
	for i := range int64(8) {
		pay(start.Add(time.Duration(i)*150*time.Second), "c48", 80)
		pay(start.Add(time.Duration(i)*150*time.Second+time.Duration(10*i)*time.Second), "c48", 60000)
		pay(start.Add(500*time.Second+time.Duration(i)*9*time.Second), "c49", 2500)
	}
	slices.SortStableFunc(all, func(a, b arriving) int { return a.at.Compare(b.at) })
	payments := make([]Payment, len(all))
	for i, a := range all {
		payments[i] = a.Payment
		payments[i].ID = int64(i + 1)
	}
	return payments
}

// allRules change at ten past: a small payment is a smaller one then, a large one
// too, and less payments are too many.
var allRules = []Rules{
	{From: start, Small: 100, Large: 50000, PerMinute: 6},
	{From: start.Add(10 * time.Minute), Small: 90, Large: 8000, PerMinute: 4},
}

func lines[T any](t *testing.T, records []T) []byte {
	var b bytes.Buffer
	for _, l := range exampletest.JSONLines(t, records) {
		b.WriteString(l + "\n")
	}
	return b.Bytes()
}

func TestData(t *testing.T) {
	p := makePayments()
	exampletest.Data(t, "testdata/payments/09-00.jsonl", lines(t, p[:len(p)/2]))
	exampletest.Data(t, "testdata/payments/09-10.jsonl", lines(t, p[len(p)/2:]))
	exampletest.Data(t, "testdata/rules/09-00.jsonl", lines(t, allRules[:1]))
	exampletest.Data(t, "testdata/rules/09-10.jsonl", lines(t, allRules[1:]))
}

func job(c config) (func(p *sdk.Pipeline) error, *collect.Sink[Alert]) {
	alerts := collect.New[Alert]()
	return func(p *sdk.Pipeline) error {
		sdk.Write(build(p, c), alerts)
		return nil
	}, alerts
}

func TestBounded(t *testing.T) {
	exampletest.EveryWay(t, func(t *testing.T, o run.Options) {
		build, alerts := job(config{payments: "testdata/payments", rules: "testdata/rules"})
		exampletest.Bounded(t, o, build)
		exampletest.Golden(t, golden, exampletest.JSONLines(t, alerts.Results()))
	})
}

// TestWatch adds rules while the job runs, and then the payments to which they
// apply.
func TestWatch(t *testing.T) {
	exampletest.EveryWay(t, func(t *testing.T, o run.Options) {
		payments, rules := t.TempDir(), t.TempDir()
		exampletest.Copy(t, rules, "testdata/rules/09-00.jsonl")
		exampletest.Copy(t, payments, "testdata/payments/09-00.jsonl")
		build, alerts := job(config{payments: payments, rules: rules, watch: true})
		want := len(exampletest.ReadGolden(t, golden))
		exampletest.Unbounded(t, o, build,
			exampletest.Wait(5*time.Second),
			func() bool { exampletest.Copy(t, rules, "testdata/rules/09-10.jsonl"); return true },
			exampletest.Wait(5*time.Second),
			func() bool {
				exampletest.Copy(t, payments, "testdata/payments/09-10.jsonl")
				// A payment of the next day tells that this one is over.
				next, err := json.Marshal(Payment{Time: start.Add(24 * time.Hour), Card: "next"})
				exampletest.Add(t, filepath.Join(payments, "next.jsonl"), next)
				return err == nil
			},
			func() bool { return alerts.Len() >= want },
		)
		exampletest.Golden(t, golden, exampletest.JSONLines(t, alerts.Results()))
	})
}

// TestAgainstNaive compares with a loop over all payments in the order of time.
func TestAgainstNaive(t *testing.T) {
	build, alerts := job(config{payments: "testdata/payments", rules: "testdata/rules"})
	exampletest.Bounded(t, run.Options{}, build)
	payments := makePayments()
	slices.SortFunc(payments, func(a, b Payment) int { return int(a.time()-b.time())*1000 + int(a.ID-b.ID) })
	kinds := map[string]int{}
	for i, p := range payments {
		r := allRules[0]
		if !p.Time.Before(allRules[1].From) {
			r = allRules[1]
		}
		n, tried := 1, false
		for _, q := range payments[:i] {
			if q.Card == p.Card && q.Time.After(p.Time.Add(-time.Minute)) {
				n, tried = n+1, tried || q.Amount <= r.Small
			}
		}
		if tried && p.Amount >= r.Large {
			kinds[fmt.Sprint("tried ", p.ID)]++
		}
		if n > r.PerMinute {
			kinds[fmt.Sprint("velocity ", p.ID)]++
		}
	}
	for _, a := range alerts.Results() {
		kinds[fmt.Sprint(a.Kind, " ", a.Payment)]--
	}
	for what, n := range kinds {
		if n != 0 {
			t.Errorf("%s: %+d", what, -n)
		}
	}
}
