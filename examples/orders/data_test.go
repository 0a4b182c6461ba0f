package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/weirflow/weir/examples/internal/exampletest"
)

// opening is when the first order comes: two hours before the end of February. The
// last one comes in the first hour of March.
var opening = time.Date(2026, 2, 28, 22, 0, 0, 0, time.UTC)

var (
	regions    = []string{"east", "north", "south", "west"}
	products   = []string{"lamp", "chair", "table", "kettle", "teapot", "rug", "clock", "mirror", "shelf", "vase"}
	currencies = []string{"EUR", "EUR", "EUR", "USD", "USD", "GBP", "JPY"}
	worth      = map[string]float64{"EUR": 1, "USD": 0.92, "GBP": 1.17, "JPY": 0.61}
)

// makeCustomers makes 80 customers; orders are from some more.
func makeCustomers(r *rand.Rand) map[string]Customer {
	customers := map[string]Customer{}
	for i := range 80 {
		customers[fmt.Sprintf("c%02d", i)] = Customer{fmt.Sprintf("Customer %d", i), regions[r.IntN(len(regions))]}
	}
	return customers
}

// makeRates makes a rate of each currency at the start and each quarter of an hour,
// to the thousandth. The yen has none in the first quarter.
func makeRates(r *rand.Rand) (rates []Rate) {
	for i := range 12 {
		at := opening.Add(time.Duration(i)*15*time.Minute - time.Second)
		for _, currency := range []string{"EUR", "USD", "GBP", "JPY"} {
			milli := int64(worth[currency] * 1000)
			if currency != "EUR" {
				milli += r.Int64N(81) - 40
			}
			if currency != "JPY" || i > 0 {
				rates = append(rates, Rate{at, currency, float64(milli) / 1000})
			}
		}
	}
	return rates
}

// makeOrders makes the orders of three hours, in the order in which they come: each
// up to nine seconds after its time.
func makeOrders(r *rand.Rand) []Order {
	type arriving struct {
		Order
		arrives time.Time
	}
	var all []arriving
	for at := opening; ; {
		at = at.Add(time.Duration(r.ExpFloat64() * 12000 * float64(time.Millisecond))).Truncate(time.Millisecond)
		if !at.Before(opening.Add(3 * time.Hour)) {
			break
		}
		product := min(r.IntN(len(products)), r.IntN(len(products))) // the first ones sell better
		o := Order{
			ID: fmt.Sprintf("o%04d", len(all)), Time: at, Customer: fmt.Sprintf("c%02d", r.IntN(83)), Product: products[product],
			Quantity: 1 + r.Int64N(3), Price: 500 + r.Int64N(9500), Currency: currencies[r.IntN(len(currencies))],
		}
		all = append(all, arriving{o, at.Add(time.Duration(r.Int64N(int64(9 * time.Second))))})
	}
	slices.SortStableFunc(all, func(a, b arriving) int { return a.arrives.Compare(b.arrives) })
	orders := make([]Order, len(all))
	for i, a := range all {
		orders[i] = a.Order
	}
	return orders
}

// TestData checks that the shipped files are what the functions above make: a file
// for each hour of orders and each day of rates, in a folder for each month.
func TestData(t *testing.T) {
	r := rand.New(rand.NewPCG(28, 2))
	customers, err := json.MarshalIndent(makeCustomers(r), "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	exampletest.Data(t, customersFile, append(customers, '\n'))
	files := map[string]*bytes.Buffer{}
	add := func(name string, v any) {
		if files[name] == nil {
			files[name] = &bytes.Buffer{}
		}
		if err := json.NewEncoder(files[name]).Encode(v); err != nil {
			t.Fatal(err)
		}
	}
	for _, rate := range makeRates(r) {
		add("testdata/"+month(rate.Time.Add(time.Second))+rate.Time.Add(time.Second).Format("/rates/2006-01-02.jsonl"), rate)
	}
	name := ""
	for _, o := range makeOrders(r) {
		// An order that comes late is in the file of the hour in which it came.
		name = max(name, month(o.Time)+o.Time.Format("/orders/2006-01-02-15.jsonl"))
		add("testdata/"+name, o)
	}
	for name, made := range files {
		exampletest.Data(t, name, made.Bytes())
	}
}

// month is the folder of a month. The names are in the order of the months.
func month(t time.Time) string {
	if t.Month() == time.February {
		return "february"
	}
	return "march"
}
