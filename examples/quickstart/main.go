// Command quickstart is the pipeline that the README explains: page views per page
// and minute.
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

// Click is one line of the input.
type Click struct {
	Page string    `json:"page"`
	User string    `json:"user"`
	Time time.Time `json:"time"`
}

func main() {
	input := flag.String("input", "examples/quickstart/testdata", "`DIR` of JSON Lines files")
	watch := flag.Bool("watch", false, "wait for more files")
	run.Main("quickstart", func(p *sdk.Pipeline) error { return build(p, *input, *watch) })
}

func build(p *sdk.Pipeline, input string, watch bool) error {
	var opts []file.JSONOption
	if watch {
		opts = append(opts, file.Watch(time.Second))
	}
	clicks := sdk.ReadTimed(p, file.JSONLines[Click](input, opts...),
		sdk.OutOfOrder(10*time.Second, func(c Click) sdk.Time { return sdk.TimeOf(c.Time) }))
	byPage := sdk.KeyBy(clicks, func(c Click) string { return c.Page })
	views, _ := sdk.AggregateWindow(sdk.Window(byPage, sdk.Tumbling(time.Minute)), sdk.Count[Click]())
	sdk.Write(views, console.Print(nil, func(v sdk.WindowResult[string, int64]) string {
		return fmt.Sprintf("%s  %-8s %4d", v.Window.Start.Std().Format("15:04"), v.Key, v.Value)
	}))
	return nil
}
