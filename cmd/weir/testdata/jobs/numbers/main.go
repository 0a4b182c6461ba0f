// Command numbers is a small pipeline for the scripts that test weir: it prints
// the squares of the numbers from 0, and can be made to fail in every way.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/weirflow/weir/connector/console"
	"github.com/weirflow/weir/connector/datagen"
	"github.com/weirflow/weir/sdk"
	"github.com/weirflow/weir/sdk/run"
)

var (
	count   = flag.Int64("count", 10, "end after `N` numbers; negative: never")
	rate    = flag.Float64("rate", 0, "numbers a second; 0: as fast as they are taken")
	panicAt = flag.Int64("panic-at", -1, "the function panics at this `NUMBER`")
	failAt  = flag.Int64("fail-at", -1, "the function returns an error at this `NUMBER`")
	sleepAt = flag.Int64("hang-at", -1, "the function does not return at this `NUMBER`")
	mistake = flag.Bool("mistakes", false, "build a pipeline with two mistakes")
	started = flag.Bool("started", false, "say on the standard error how long it took to the first record")
	begin   = time.Now()
)

func main() {
	run.Main("numbers", func(p *sdk.Pipeline) error {
		var opts []datagen.Option
		if *count >= 0 {
			opts = append(opts, datagen.Count(*count))
		}
		if *rate > 0 {
			opts = append(opts, datagen.Rate(*rate))
		}
		numbers := sdk.Read(p, datagen.New(func(i int64) int64 { return i }, opts...), sdk.Name("numbers"))
		squares := sdk.TryMap(numbers, square, sdk.Name("square"))
		if *mistake {
			var none func(func()) string
			_ = none
			sdk.Write(sdk.Rebalance(sdk.Map(numbers, func(int64) chan int { return nil }, sdk.Name("channels"))),
				console.Print(nil, func(chan int) string { return "" }), sdk.Name("a"), sdk.ID("twice"))
			sdk.Write(sdk.Rebalance(sdk.Map(numbers, func(int64) func() { return nil }, sdk.Name("functions"))),
				console.Print(nil, func(func()) string { return "" }), sdk.Name("b"), sdk.ID("twice"))
		}
		sdk.Write(squares, console.Print[string](nil, nil), sdk.Name("print"))
		return nil
	})
}

func square(n int64) (string, error) {
	switch {
	case *started && n == 0:
		fmt.Fprintf(os.Stderr, "first record after %v\n", time.Since(begin))
	case n == *panicAt:
		return boom(n), nil
	case n == *failAt:
		return "", fmt.Errorf("%d is not wanted", n)
	case n == *sleepAt:
		select {}
	}
	return fmt.Sprintf("%d squared is %d", n, n*n), nil
}

func boom(n int64) string { return []string{}[n] }
