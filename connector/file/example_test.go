package file_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/weirflow/weir/connector/file"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
)

// show reads a source to its end, as a task does, and prints the records.
func show[T any](src operator.Source[T]) {
	e, err := src.Enumerator()
	check(err)
	found, err := e.Discover(context.Background())
	check(err)
	r, err := src.Reader(&operator.ReaderContext{
		Name: "in", Log: slog.Default(), Wake: func() {},
		Bad: func(b operator.BadRecord) error {
			fmt.Printf("bad: %s: %s\n", filepath.Base(b.Where), b.Reason)
			return nil
		},
	})
	check(err)
	for _, s := range found.Splits {
		check(r.Add(s))
		for done := false; !done; {
			var into operator.Records[T]
			_, err := r.Read(&into, 100)
			check(err)
			for _, v := range into.Values {
				fmt.Printf("%+v\n", v)
			}
			done = into.Done
		}
	}
	check(r.Close())
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func sample(name, content string) string {
	dir, err := os.MkdirTemp("", "weir")
	check(err)
	path := filepath.Join(dir, name)
	check(os.WriteFile(path, []byte(content), 0o666))
	return path
}

func ExampleText() {
	path := sample("poem.txt", "so much depends\r\nupon")
	defer os.RemoveAll(filepath.Dir(path))
	show(file.Text(path))
	// Output:
	// so much depends
	// upon
}

func ExampleCSV() {
	type Order struct {
		ID       int
		Customer string  `csv:"customer name"`
		Total    float64 `csv:"total"`
	}
	path := sample("orders.csv", "id,customer name,total\n1,\"Doe, Jane\",9.5\n2,John,much\n")
	defer os.RemoveAll(filepath.Dir(path))
	show(file.CSV[Order](path))
	// Output:
	// bad: orders.csv:3: column "total": "much" is not a number
	// {ID:1 Customer:Doe, Jane Total:9.5}
}

func ExampleJSONLines() {
	type Click struct {
		Page string `json:"page"`
		Ms   int    `json:"ms"`
	}
	path := sample("clicks.jsonl", `{"page":"/","ms":12}`+"\n"+`{"page":"/cart"`+"\n")
	defer os.RemoveAll(filepath.Dir(path))
	show(file.JSONLines[Click](path))
	// Output:
	// bad: clicks.jsonl:2: unexpected end of JSON input
	// {Page:/ Ms:12}
}

func ExampleJSONLinesSink() {
	type Click struct {
		Day  string `json:"-"`
		Page string `json:"page"`
	}
	dir, err := os.MkdirTemp("", "weir")
	check(err)
	defer os.RemoveAll(dir)
	sink := file.JSONLinesSink[Click](dir, file.RollSize(64<<20)).
		PartitionBy(func(c Click) string { return "dt=" + c.Day })

	w, err := sink.Writer(&operator.WriterContext{Job: "job", Operator: "clicks", Attempt: 1, Parallelism: 1})
	check(err)
	check(w.Write(&flow.Batch[Click]{Values: []Click{{"2026-01-01", "/"}, {"2026-01-02", "/cart"}}}))
	prepared, err := w.Prepare(flow.Barrier{Epoch: 1})
	check(err)
	list := func() {
		files, err := filepath.Glob(filepath.Join(dir, "dt=*", "part-*.jsonl"))
		check(err)
		fmt.Println(len(files), "files")
	}
	list()
	c, err := sink.Committer(&operator.CommitterContext{})
	check(err)
	check(c.Commit(context.Background(), 1, [][]byte{prepared}))
	list()
	// Output:
	// 0 files
	// 2 files
}
