package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/checkpoint/store"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/keyhash"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/state"
	"github.com/weirflow/weir/state/lsm"
	memstate "github.com/weirflow/weir/state/memory"
)

// TestStateScripts runs testdata/state: commands about checkpoints. Each script finds
// the checkpoints of a job "shop" in $STATE, a savepoint in $SAVEPOINT, and in $BROKEN
// what would be there if the job had lost a record. $NATIVE is $STATE with the state
// on disk.
// UPDATE_SCRIPTS=1 rewrites what they compare with.
func TestStateScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/state",
		UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(e *testscript.Env) error {
			e.Setenv("STATE", filepath.Join(e.WorkDir, "state"))
			e.Setenv("SAVEPOINT", filepath.Join(e.WorkDir, "savepoints", "shop-3"))
			e.Setenv("BROKEN", filepath.Join(e.WorkDir, "broken"))
			e.Setenv("NATIVE", filepath.Join(e.WorkDir, "native"))
			return errors.Join((&shop{dir: e.Getenv("STATE"), savepoint: e.Getenv("SAVEPOINT"), form: state.FormPortable}).write(t.Context()),
				(&shop{dir: e.Getenv("BROKEN"), broken: true, form: state.FormPortable}).write(t.Context()),
				(&shop{dir: e.Getenv("NATIVE"), form: state.FormLSM}).write(t.Context()))
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": exits, "damage": damage, "parquet": showParquet, "sorted": sameLines,
		},
	})
}

// damage changes a byte of a blob of epoch 3: damage DIR
func damage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: damage DIR")
	}
	found, err := filepath.Glob(filepath.Join(ts.MkAbs(args[0]), "jobs", "*", "blobs", "*", "0000000003-*"))
	ts.Check(err)
	for _, path := range found {
		b, err := os.ReadFile(path)
		ts.Check(err)
		b[len(b)/2] ^= 1
		ts.Check(os.Remove(path))
		ts.Check(os.WriteFile(path, b, 0o666))
		return
	}
	ts.Fatalf("no file to damage in %s", args[0])
}

// sameLines compares files without regard to the order of lines: sorted FILE FILE
func sameLines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: sorted FILE FILE")
	}
	var lines [2]string
	for i, name := range args {
		all := strings.Split(ts.ReadFile(name), "\n")
		slices.Sort(all)
		lines[i] = strings.Join(all, "\n")
	}
	if lines[0] != lines[1] {
		ts.Fatalf("%s\nand\n%s", lines[0], lines[1])
	}
}

// showParquet prints a Parquet file to the file out: parquet FILE
func showParquet(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: parquet FILE")
	}
	r, err := file.OpenParquetFile(ts.MkAbs(args[0]), false)
	ts.Check(err)
	defer r.Close()
	in, err := pqarrow.NewFileReader(r, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	ts.Check(err)
	table, err := in.ReadTable(context.Background())
	ts.Check(err)
	defer table.Release()
	var out bytes.Buffer
	for i := range int(table.NumCols()) {
		f := table.Schema().Field(i)
		fmt.Fprintf(&out, "%s %s %v\n", f.Name, f.Type, table.Column(i).Data().Chunks())
	}
	ts.Check(os.WriteFile(ts.MkAbs("out"), out.Bytes(), 0o666))
}

type shopSum struct {
	Count int64            `msgpack:"count"`
	Items map[string]int32 `msgpack:"items"`
	Last  *string          `msgpack:"last"`
	At    time.Time        `msgpack:"at"`
}

type shopWindow struct {
	Start int64 `msgpack:"start"`
	End   int64 `msgpack:"end"`
}

// shopGraph is read → sum → out, with sum and out in one chain.
func shopGraph() *graph.Graph {
	edge := func(from flow.OperatorID, kind graph.ExchangeKind) []graph.Input {
		return []graph.Input{{Edges: []graph.Edge{{From: from, Exchange: graph.Exchange{Kind: kind}}}}}
	}
	return &graph.Graph{Name: "shop", MaxParallelism: 4, Operators: []*graph.Operator{
		{ID: "source-1", Name: "read", Kind: graph.KindSource, Outputs: []graph.Output{{}}},
		{ID: "sum-2", Name: "sum", Kind: "process", Inputs: edge("source-1", graph.Hash), Outputs: []graph.Output{{}}},
		{ID: "sink-3", Name: "out", Kind: graph.KindSink, Inputs: edge("sum-2", graph.Forward)},
	}}
}

// shop writes three epochs of a job, and a savepoint where one is named.
type shop struct {
	dir, savepoint string
	broken         bool
	form           state.Form
}

func (s *shop) write(ctx context.Context) error {
	st, err := store.Open(ctx, s.dir)
	if err != nil {
		return err
	}
	defer st.Close()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	job := store.OpenJob(st, "shop", store.JobOptions{Now: func() time.Time { return now }})
	attempt, _, err := job.Claim(ctx, 0)
	if err != nil {
		return err
	}
	g, err := graph.Marshal(shopGraph())
	if err != nil {
		return err
	}
	for e := flow.Epoch(1); e <= 3; e++ {
		m := &checkpoint.Manifest{Job: "shop", Attempt: uint64(attempt), Epoch: uint64(e), Created: now.Add(time.Duration(e) * time.Second).UnixMicro(),
			Engine: "v0.4.0", MaxParallelism: 4, Graph: g}
		if err := s.tasks(ctx, job, attempt, e, m); err != nil {
			return err
		}
		if s.broken && e == 2 {
			m.Tasks[2].Books[0].Records--
		}
		if err := job.Commit(ctx, m); err != nil {
			return err
		}
		if e == 3 && s.savepoint != "" {
			to, err := store.Open(ctx, s.savepoint)
			if err != nil {
				return err
			}
			if err := job.Savepoint(ctx, to, "", m); err != nil {
				return err
			}
			return to.Close()
		}
	}
	return nil
}

// tasks fills in what the tasks and the job's side have saved.
func (s *shop) tasks(ctx context.Context, job *store.Job, attempt flow.Attempt, e flow.Epoch, m *checkpoint.Manifest) error {
	n := 10 * int64(e)
	m.Tasks = append(m.Tasks, checkpoint.TaskSnapshot{Chain: "source-1", Parallelism: 1, End: 4, Pause: 12, Took: 3400,
		Operators: []checkpoint.OperatorState{{Operator: "source-1", Name: "splits", Mode: checkpoint.Splits,
			Items: [][]byte{checkpoint.AppendSplit(nil, &checkpoint.SavedSplit{ID: "a.csv"})}}},
		Books: []checkpoint.Entry{
			{Account: checkpoint.AccountRead, Operator: "source-1", Records: 2 * n},
			{Account: checkpoint.AccountSent, Operator: "sum-2", Records: n},
			{Account: checkpoint.AccountSent, Operator: "sum-2", Consumer: 1, Records: n},
		}})
	for subtask := range 2 {
		groups := flow.RangeOf(4, 2, subtask)
		keyed, err := s.state(ctx, job.Task(flow.TaskID{Chain: "sum-2", Subtask: subtask}, attempt, nil).Begin(ctx, e), groups)
		if err != nil {
			return err
		}
		m.Tasks = append(m.Tasks, checkpoint.TaskSnapshot{Chain: "sum-2", Subtask: subtask, Parallelism: 2, First: uint16(groups.First),
			End: uint16(groups.End), Keyed: keyed, Bytes: keyed.Files[0].Size, Pause: 25, Took: 5600, Books: []checkpoint.Entry{
				{Account: checkpoint.AccountReceived, Operator: "sum-2", Consumer: subtask, Records: n},
				{Account: checkpoint.AccountIn, Operator: "sum-2", Consumer: subtask, Records: n},
				{Account: checkpoint.AccountOut, Operator: "sum-2", Consumer: subtask, Records: n / 2},
				{Account: checkpoint.AccountIn, Operator: "sink-3", Consumer: subtask, Records: n / 2},
				{Account: checkpoint.AccountPrepared, Operator: "sink-3", Consumer: subtask, Records: n / 2},
			}})
		m.Committables = append(m.Committables, checkpoint.Committable{Operator: "sink-3", Subtask: subtask, Epoch: e, Data: []byte("x"), Records: 5})
	}
	m.Sources = []checkpoint.SourceSnapshot{{Operator: "source-1", Done: true, Assigned: []string{"a.csv"},
		Unassigned: [][]byte{checkpoint.AppendSplit(nil, &checkpoint.SavedSplit{ID: "b.csv"})}}}
	for _, t := range m.Tasks {
		for _, b := range t.Books {
			b.Producer, b.Consumer = 0, 0
			m.Totals = append(m.Totals, b)
		}
	}
	return nil
}

// state writes the state of one task: a value with a struct, one by window, a map,
// a list and timers.
func (s *shop) state(ctx context.Context, up *store.Upload, groups flow.KeyGroupRange) (*checkpoint.Keyed, error) {
	if s.form == state.FormPortable {
		return shopState(ctx, up, memstate.New(memstate.Options{MaxParallelism: 4, KeyGroups: groups}), s.form)
	}
	env, err := lsm.NewEnv(lsm.EnvOptions{Memory: 16 << 20})
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(s.dir, ".work-")
	if err != nil {
		return nil, err
	}
	db, err := env.Open(lsm.Options{Dir: dir, MaxParallelism: 4, KeyGroups: groups})
	if err != nil {
		return nil, err
	}
	keyed, err := shopState(ctx, up, db, s.form)
	return keyed, errors.Join(err, env.Close(), os.RemoveAll(dir))
}

func shopState(ctx context.Context, up *store.Upload, s state.Store, form state.Form) (*checkpoint.Keyed, error) {
	defer s.Close()
	groups := s.KeyGroups()
	d := func(name string) state.Descriptor { return state.Descriptor{Operator: "sum-2", Name: name} }
	sums, err := state.NewCells[string, struct{}, shopSum](s, d("sum"))
	if err != nil {
		return nil, err
	}
	counts, err := state.NewCells[string, shopWindow, int64](s, d("counts"))
	if err != nil {
		return nil, err
	}
	prices, err := state.NewMaps[string, int32, float64](s, d("prices"))
	if err != nil {
		return nil, err
	}
	names, err := state.NewLists[string, string](s, d("names"))
	if err != nil {
		return nil, err
	}
	timers, err := state.NewTimers[string, shopWindow](s, d("ends"))
	if err != nil {
		return nil, err
	}
	hash, err := keyhash.For[string]()
	if err != nil {
		return nil, err
	}
	last := "pear"
	for i, k := range []string{"ann", "bob", "cid", "7"} {
		h := hash(k)
		if !groups.Contains(flow.KeyGroupOf(h, 4)) {
			continue
		}
		sums.Put(h, k, struct{}{}, shopSum{Count: int64(i), Items: map[string]int32{"pear": int32(i)}, Last: &last,
			At: time.Date(2026, 5, 1, 0, 0, i, 0, time.UTC)})
		w := shopWindow{0, 60_000_000}
		counts.Put(h, k, w, int64(i))
		prices.Put(h, k, int32(i), float64(i)/4)
		names.Set(h, k, []string{k, k})
		timers.Add(h, k, w, flow.Time(w.End))
	}
	z, err := s.Freeze(form)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	for s.Step() {
	}
	if err := z.Write(ctx, up); err != nil {
		return nil, err
	}
	keyed := &checkpoint.Keyed{Form: uint8(z.Form())}
	for _, st := range z.States() {
		schema, err := json.Marshal(st.Schema)
		if err != nil {
			return nil, err
		}
		keyed.States = append(keyed.States, checkpoint.StateRef{Operator: string(st.Descriptor.Operator), Name: st.Descriptor.Name,
			Kind: uint8(st.Descriptor.Kind), Schema: schema})
	}
	keyed.Files, _, err = up.Done()
	return keyed, err
}
