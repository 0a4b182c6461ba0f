package executor

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir/api"
)

// TestProtocol holds the lines between an agent and an executor fast: they may be of two
// releases.
func TestProtocol(t *testing.T) {
	var got strings.Builder
	for _, v := range []any{
		api.ExecutorConfig{
			Alloc: api.Alloc{ID: "a", Job: "j", Node: "n", Version: 2, Coordinator: true, Slots: 3, Term: 4, Try: 1},
			Job: api.JobSpec{
				Name: "j", Version: 2, Artifact: "sha256:00", Args: []string{"-x"}, Env: map[string]string{"K": "v"},
				Secrets: map[string]string{"S": "name"}, Parallelism: 4, SlotsPerExecutor: 2, State: "s3://b", Memory: 5, CPUs: 6,
				Zone: "z", Spread: "pack", Submitted: 7, By: "me",
			},
			Coordinator: "h:1", Node: api.Node{ID: "n", Name: "nn", RPC: "h:2", Version: "v"}, Dir: "/d", Listen: "h",
			CA: []byte("ca"), Cert: []byte("cert"), Key: []byte("key"),
		},
		api.ExecutorCommand{Coordinator: "h:1", Term: 2},
		api.ExecutorCommand{Wish: api.WishSave, Savepoint: "/s"},
		api.ExecutorCommand{Wish: api.WishRun, Savepoint: "/s", Request: 3},
		api.ExecutorCommand{Request: 4, Ask: api.AskStats},
		api.ExecutorEvent{Ready: &api.ExecutorReady{Data: "h:1", Control: "h:2"}},
		api.ExecutorEvent{Job: &api.JobReport{Status: api.JobRunning, Attempt: 1, Epoch: 2, Reason: "r", Slots: 3}},
		api.ExecutorEvent{Request: 3, Answer: "a"},
		api.ExecutorEvent{Request: 3, Error: "e"},
	} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		got.Write(append(b, '\n'))
	}
	golden := "testdata/protocol.txt"
	if *rewrite {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Fatalf("a change here needs another api.ExecutorProtocol, unless the other side may pass it over:\n%s", diff)
	}
}
