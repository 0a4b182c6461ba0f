package main

import (
	"io"
	"math"
	"path/filepath"
	"time"

	"github.com/weirflow/weir/connector/console"
	"github.com/weirflow/weir/connector/file"
	"github.com/weirflow/weir/connector/hybrid"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/sdk"
)

type config struct {
	history, live string // with the folders orders and rates; one of them may be ""
	customers     string
	latency       time.Duration
	output        string
	screen        io.Writer // nil is the standard output
}

// Order is one line of orders. Its price is in the smallest unit of its currency.
type Order struct {
	ID       string    `json:"id"`
	Time     time.Time `json:"time"`
	Customer string    `json:"customer"`
	Product  string    `json:"product"`
	Quantity int64     `json:"quantity"`
	Price    int64     `json:"price"`
	Currency string    `json:"currency"`
}

// Rate is what a currency is worth from a time on: its smallest unit, in euro cents.
type Rate struct {
	Time     time.Time `json:"time"`
	Currency string    `json:"currency"`
	Cents    float64   `json:"cents"`
}

// Sale is an order with what the dimension tables say of it.
type Sale struct {
	Order
	Region string `json:"region"`
	Priced bool   `json:"priced"`
	Cents  int64  `json:"cents"` // EUR
}

// Revenue is what a region bought in a minute.
type Revenue struct {
	Minute time.Time `json:"minute"`
	Region string    `json:"region"`
	Cents  int64     `json:"cents"`
}

// Seller is one of the products that brought most, from the start of an hour to
// some minutes later.
type Seller struct {
	Hour    time.Time `json:"hour"`
	Until   time.Time `json:"until"`
	Rank    int       `json:"rank"`
	Product string    `json:"product"`
	Cents   int64     `json:"cents"`
}

// Missed is an order that is in no figure.
type Missed struct {
	Order
	Why string `json:"why"`
}

const (
	disorder = 10 * time.Second // orders come at most so much out of order

	// How far event time has come is for the orders to say: rates are a day behind.
	// While there are some to read, orders wait for them, and then no longer.
	rateDisorder = 24 * time.Hour
	rateSilence  = 2 * time.Second

	topEvery   = 10 * time.Minute
	topSellers = 3
)

// build is the pipeline: orders, sales, figures.
func build(p *sdk.Pipeline, c config) error {
	customers, err := openDirectory(c.customers, c.latency)
	if err != nil {
		return err
	}
	orders := sdk.ReadTimed(p, source[Order](c, "orders"),
		sdk.OutOfOrder(disorder, func(o Order) sdk.Time { return sdk.TimeOf(o.Time) }).InOrder(), c.reading("orders")...)
	rates := sdk.ReadTimed(p, source[Rate](c, "rates"),
		sdk.OutOfOrder(rateDisorder, func(r Rate) sdk.Time { return sdk.TimeOf(r.Time) }).InOrder().WithIdle(rateSilence), c.reading("rates")...)
	sales, missed := enrich(orders, rates, customers)
	minutes, best := revenue(sales), sellers(sales)
	sdk.Write(dashboard(minutes, best), console.Print[string](c.screen, nil), sdk.Parallelism(1))
	if c.output != "" {
		sdk.Write(minutes, file.JSONLinesSink[Revenue](filepath.Join(c.output, "revenue")))
		sdk.Write(best, file.JSONLinesSink[Seller](filepath.Join(c.output, "sellers")))
		sdk.Write(missed, file.JSONLinesSink[Missed](filepath.Join(c.output, "missed")))
	}
	return nil
}

// source reads the files of a kind that are in the history, then those that come.
func source[T any](c config, kind string) operator.Source[T] {
	history := file.JSONLines[T](filepath.Join(c.history, kind))
	live := file.JSONLines[T](filepath.Join(c.live, kind), file.Watch(time.Second))
	switch {
	case c.live == "":
		return history
	case c.history == "":
		return live
	}
	return hybrid.New(history, hybrid.Then(live))
}

// reading are the options of a source. Files that are all there are read side by
// side. Of those that come, one subtask reads one after the other: no other can
// be ahead of it.
func (c config) reading(name string) []sdk.SourceOption {
	opts := []sdk.SourceOption{sdk.Name(name)}
	if c.live != "" {
		opts = append(opts, sdk.Parallelism(1))
	}
	return opts
}

// enrich looks up the customer of each order, and the rate of its currency at the
// order's time.
func enrich(orders *sdk.Stream[Order], rates *sdk.Stream[Rate], customers *directory) (*sdk.Stream[Sale], *sdk.Stream[Missed]) {
	located := sdk.LookupJoin(orders, func(o Order) string { return o.Customer }, customers.lookup,
		func(o Order, c Customer, known bool) Sale {
			if !known {
				c.Region = "unknown"
			}
			return Sale{Order: o, Region: c.Region}
		},
		sdk.Lookup{
			Async:     sdk.Async{Capacity: 200, Timeout: 10 * time.Second, Retry: sdk.Retry{Attempts: 3}},
			CacheSize: 10_000, CacheTTL: 10 * time.Minute,
		}, sdk.Name("customers"))

	// A version that comes late still holds for the orders behind it.
	priced, late, _ := sdk.TemporalJoin(
		sdk.KeyBy(located, func(s Sale) string { return s.Currency }),
		sdk.KeyBy(rates, func(r Rate) string { return r.Currency }),
		sdk.LeftJoin, func(p sdk.Pair[Sale, Rate]) Sale {
			s := p.Left
			s.Priced = p.HasRight
			s.Cents = int64(math.Round(float64(s.Price*s.Quantity) * p.Right.Cents))
			return s
		}, sdk.Name("convert"))

	sales := sdk.Filter(priced, func(s Sale) bool { return s.Priced })
	unpriced := sdk.Filter(priced, func(s Sale) bool { return !s.Priced })
	return sales, sdk.Union(
		sdk.Map(unpriced, func(s Sale) Missed { return Missed{s.Order, "no rate"} }),
		sdk.Map(late, func(s Sale) Missed { return Missed{s.Order, "late"} }),
	)
}

func cents(s Sale) int64 { return s.Cents }

// revenue is the sum of each region and minute.
func revenue(sales *sdk.Stream[Sale]) *sdk.Stream[Revenue] {
	byRegion := sdk.KeyBy(sales, func(s Sale) string { return s.Region })
	sums, _ := sdk.AggregateWindow(sdk.Window(byRegion, sdk.Tumbling(time.Minute)), sdk.Sum(cents), sdk.Name("revenue"))
	return sdk.Map(sums, func(w sdk.WindowResult[string, int64]) Revenue {
		return Revenue{w.Window.Start.Std(), w.Key, w.Value}
	})
}

// sellers adds up each product since the start of the hour, in parallel, and then
// ranks the sums in one place.
func sellers(sales *sdk.Stream[Sale]) *sdk.Stream[Seller] {
	type sum = sdk.WindowResult[string, int64]
	byProduct := sdk.KeyBy(sales, func(s Sale) string { return s.Product })
	sums, _ := sdk.AggregateWindow(sdk.Window(byProduct, sdk.Cumulative(time.Hour, topEvery)), sdk.Sum(cents), sdk.Name("sum products"))
	bySpan := sdk.KeyBy(sums, func(s sum) sdk.WindowSpan { return s.Window })
	most := sdk.TopNAggregator(topSellers, func(a, b sum) bool {
		if a.Value != b.Value {
			return a.Value > b.Value
		}
		return a.Key < b.Key
	})
	// A sum has the time of its window's last instant: the sums of one span meet in
	// one window here.
	top, _ := sdk.AggregateWindow(sdk.Window(bySpan, sdk.Tumbling(topEvery)), most, sdk.Name("rank products"))
	return sdk.FlatMap(top, func(w sdk.WindowResult[sdk.WindowSpan, []sum], out *sdk.Out[Seller]) {
		for i, s := range w.Value {
			out.Emit(Seller{w.Key.Start.Std(), w.Key.End.Std(), i + 1, s.Key, s.Value})
		}
	})
}
