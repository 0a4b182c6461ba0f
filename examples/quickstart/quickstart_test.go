package main

import (
	"os"
	"strings"
	"testing"

	"github.com/weirflow/weir/sdk"
	"github.com/weirflow/weir/sdk/run"
)

// TestREADME keeps the README's pipeline equal to the one that is compiled here.
func TestREADME(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	_, shown, ok := strings.Cut(string(readme), "```go\n")
	shown, _, closed := strings.Cut(shown, "```")
	if !ok || !closed || !strings.HasSuffix(string(code), shown) {
		t.Errorf("the README's pipeline is not the end of main.go; it shows:\n%s", shown)
	}
}

func TestRuns(t *testing.T) {
	p := sdk.New("quickstart")
	if err := build(p, "testdata", false); err != nil {
		t.Fatal(err)
	}
	if err := run.Run(t.Context(), p, run.Options{}); err != nil {
		t.Fatal(err)
	}
}
