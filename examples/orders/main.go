// Command orders keeps the dashboard of a shop that sells in several currencies:
// revenue by region and minute, and the products that sell best. The same pipeline
// runs over last month's files, over a folder that orders come to, and over the
// first and then the second. See README.md.
package main

import (
	"flag"
	"time"

	"github.com/weirflow/weir/sdk"
	"github.com/weirflow/weir/sdk/run"
)

func main() {
	var c config
	flag.StringVar(&c.history, "history", "", "read the orders and rates that are in `DIR`; without --live too, those of examples/orders/testdata/february")
	flag.StringVar(&c.live, "live", "", "go on with those that come to `DIR`")
	flag.StringVar(&c.customers, "customers", "examples/orders/testdata/customers.json", "the `FILE` that stands for the service which knows the customers")
	flag.DurationVar(&c.latency, "latency", 5*time.Millisecond, "how long this service takes for an answer")
	flag.StringVar(&c.output, "output", "", "also write the results to `DIR`, as JSON Lines")
	run.Main("orders", func(p *sdk.Pipeline) error {
		if c.history == "" && c.live == "" {
			c.history = "examples/orders/testdata/february"
		}
		return build(p, c)
	})
}
