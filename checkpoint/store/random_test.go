package store_test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/checkpoint/store"
	"github.com/weirflow/weir/checkpoint/store/storetest"
	"github.com/weirflow/weir/flow"
)

// world is attempts of one job that take turns in any order, in a storage that fails
// as it likes. What the log may never do is checked after each turn.
type world struct {
	t      *testing.T
	rng    *rand.Rand
	fs     vfs.FS
	mem    *store.Mem
	faulty *storetest.Faulty
	alive  []*attempt
	claims flow.Attempt // the newest attempt whose claim was acknowledged
	// acked is the newest epoch whose commit was acknowledged. An unsure one may have
	// been committed or not; a later claim shows it.
	acked  flow.Epoch
	unsure map[[2]uint64]bool
	local  int
	log    []string
	commit int
}

// attempt is a process that runs the job, or believes that it does.
type attempt struct {
	j     *store.Job
	at    flow.Attempt
	epoch flow.Epoch
	task  *store.Task
	live  map[string]string // files of its tree, with their content
	dead  []string
	sink  *store.Staging
}

func (w *world) logf(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf(format, args...))
}

func (w *world) fatalf(format string, args ...any) {
	w.t.Helper()
	for _, l := range w.log {
		w.t.Log(l)
	}
	w.t.Fatalf(format, args...)
}

func (w *world) localFile(content string) string {
	w.local++
	path := fmt.Sprintf("/local-%d", w.local)
	f, err := w.fs.Create(path, vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = io.WriteString(f, content)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		w.fatalf("%v", err)
	}
	return path
}

func (w *world) claim() {
	a := &attempt{live: map[string]string{}}
	a.j = store.OpenJob(w.faulty, "job", store.JobOptions{Retain: 1 + w.rng.IntN(3), FS: w.fs, Uploads: 2,
		Retry: store.RetryPolicy{Tries: 4, Pause: 1, MaxPause: 2}})
	at, m, err := a.j.Claim(w.t.Context(), 0)
	if err != nil {
		w.logf("claim: %v", err)
		return
	}
	if at <= w.claims {
		w.fatalf("attempt %d was claimed after %d", at, w.claims)
	}
	a.at, w.claims = at, at
	var base []checkpoint.File
	if m != nil {
		a.epoch = flow.Epoch(m.Epoch)
		if a.epoch != w.acked && !w.unsure[[2]uint64{m.Attempt, m.Epoch}] {
			w.fatalf("attempt %d goes on from epoch %d of attempt %d, which nobody has committed; %d was", at, m.Epoch, m.Attempt, w.acked)
		}
		for _, t := range m.Tasks {
			if t.Keyed != nil && t.Keyed.Form == 2 {
				base = t.Keyed.Files
			}
		}
	}
	if a.epoch < w.acked {
		w.fatalf("attempt %d goes on from epoch %d and %d was committed", at, a.epoch, w.acked)
	}
	w.acked = a.epoch
	w.logf("attempt %d begins after epoch %d", at, a.epoch)
	for _, f := range base {
		if f.Name != "meta" {
			a.live[f.Name] = f.Name
		}
	}
	a.task = a.j.Task(flow.TaskID{Chain: "c"}, at, base)
	a.sink = a.j.Staging(at)
	w.alive = append(w.alive, a)
}

// step takes an epoch of an attempt as far as luck has it.
func (w *world) step(a *attempt) error {
	for range w.rng.IntN(3) {
		name := fmt.Sprintf("%06d.sst", w.rng.IntN(1_000_000))
		a.live[name] = name
	}
	for _, name := range slices.Sorted(maps.Keys(a.live)) {
		if w.rng.IntN(5) == 0 {
			delete(a.live, name)
			a.dead = append(a.dead, name)
		}
	}
	// A tree's files do not come back, but here they may.
	if n := len(a.dead); n > 0 && w.rng.IntN(4) == 0 {
		a.live[a.dead[n-1]] = a.dead[n-1]
		a.dead = a.dead[:n-1]
	}
	if len(a.live) == 0 {
		a.dead = nil // See Task: they don't come back then.
	}
	a.epoch++
	kind := flow.BarrierCheckpoint
	if w.rng.IntN(4) == 0 {
		kind = flow.BarrierSavepoint
	}
	keyed := &checkpoint.Keyed{Form: 2}
	u := a.task.Begin(w.t.Context(), a.epoch)
	err := func() error {
		if kind == flow.BarrierSavepoint {
			keyed.Form = 1
		} else {
			for _, name := range slices.Sorted(maps.Keys(a.live)) {
				if err := u.Link(name, w.localFile(a.live[name])); err != nil {
					return err
				}
			}
		}
		f, err := u.Create("meta")
		if err != nil {
			return err
		}
		if _, err := io.WriteString(f, "meta"); err != nil {
			return err
		}
		return f.Close()
	}()
	if err == nil && w.rng.IntN(6) == 0 {
		err = errors.New("given up half-way")
	}
	if err == nil {
		keyed.Files, _, err = u.Done()
	}
	if err != nil {
		u.Abort()
		w.logf("attempt %d, epoch %d: upload: %v", a.at, a.epoch, err)
		return nil
	}
	if w.rng.IntN(5) == 0 {
		w.logf("attempt %d, epoch %d: aborted", a.at, a.epoch)
		return nil
	}
	m := &checkpoint.Manifest{Job: "job", Attempt: uint64(a.at), Epoch: uint64(a.epoch), Kind: uint8(kind),
		Tasks: []checkpoint.TaskSnapshot{{Chain: "c", Keyed: keyed}}}
	if s, err := a.sink.Create(w.t.Context(), "part"); err == nil {
		if _, err := io.WriteString(s, "part"); err != nil {
			w.fatalf("%v", err)
		}
		if f, err := s.Commit(); err == nil {
			m.Committables = []checkpoint.Committable{{Operator: "sink", Files: []checkpoint.File{f}}}
		}
	}
	if err := a.j.Commit(w.t.Context(), m); err != nil {
		w.logf("attempt %d, epoch %d: %v", a.at, a.epoch, err)
		if !errors.Is(err, store.ErrFenced) {
			w.unsure[[2]uint64{m.Attempt, m.Epoch}] = true
		}
		return err
	}
	w.commit++
	w.logf("attempt %d, epoch %d: committed %s", a.at, a.epoch, kind)
	if a.at != w.claims {
		w.fatalf("attempt %d has committed epoch %d after attempt %d began", a.at, a.epoch, w.claims)
	}
	w.acked = a.epoch
	if w.rng.IntN(2) == 0 {
		_, err := a.j.Collect(w.t.Context())
		w.logf("attempt %d collects: %v", a.at, err)
	}
	return nil
}

// check reads what is retained, past all faults.
func (w *world) check() {
	j := store.OpenJob(w.mem, "job", store.JobOptions{FS: w.fs})
	ms, err := j.List(w.t.Context())
	if err != nil {
		w.fatalf("%v", err)
	}
	for i, m := range ms {
		v, err := j.Verify(w.t.Context(), m)
		if err != nil || len(v.Problems) > 0 {
			w.fatalf("epoch %d of attempt %d, manifest %d of %d: %v, %v", m.Epoch, m.Attempt, i+1, len(ms), err, v.Problems)
		}
	}
	if w.acked > 0 && len(ms) == 0 {
		w.fatalf("epoch %d was committed and nothing is there", w.acked)
	}
}

// TestRandomAttempts lets attempts take turns: the living one, those that are thought
// dead, new ones; with answers lost, puts that arrive late, and collections by all.
func TestRandomAttempts(t *testing.T) {
	t.Parallel()
	commits := 0
	for seed := range uint64(25) {
		fs := vfs.NewMem()
		w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 7)), fs: fs, mem: store.NewMem(fs), unsure: map[[2]uint64]bool{}}
		w.logf("seed %d", seed)
		w.faulty = storetest.NewFaulty(w.mem, seed, storetest.Faults{Refused: 0.05, Lost: 0.1, Late: 0.15, Cut: 0.05, Broken: 0.005})
		for range 60 {
			switch n := len(w.alive); {
			case n == 0 || w.rng.IntN(12) == 0:
				w.claim()
			default:
				i := n - 1
				if w.rng.IntN(4) == 0 {
					i = w.rng.IntN(n)
				}
				if err := w.step(w.alive[i]); err != nil {
					w.alive = append(w.alive[:i], w.alive[i+1:]...)
				}
				if w.rng.IntN(15) == 0 && len(w.alive) > 0 {
					a := w.alive[w.rng.IntN(len(w.alive))]
					c, err := a.j.Sweep(t.Context())
					w.logf("attempt %d sweeps %+v: %v", a.at, c, err)
				}
			}
			w.check()
		}
		w.faulty.Set(storetest.Faults{})
		w.faulty.Settle()
		w.claim()
		w.check()
		commits += w.commit
		w.leftovers()
	}
	if commits < 250 {
		t.Errorf("only %d commits in all seeds", commits)
	}
}

// leftovers sees that a sweep after a commit leaves nothing that no manifest names.
func (w *world) leftovers() {
	a := w.alive[len(w.alive)-1]
	w.rng = rand.New(rand.NewPCG(1, 1))
	for before := w.commit; w.commit < before+2; {
		if err := w.step(a); err != nil {
			w.fatalf("%v", err)
		}
	}
	if _, err := a.j.Sweep(w.t.Context()); err != nil {
		w.fatalf("%v", err)
	}
	named := map[string]bool{}
	ms, err := a.j.List(w.t.Context())
	if err != nil {
		w.fatalf("%v", err)
	}
	newest := flow.Epoch(0)
	for _, m := range ms {
		m.Files(func(f *checkpoint.File) { named[f.Blob] = true })
		if m.Kind != uint8(flow.BarrierSavepoint) {
			newest = flow.Epoch(m.Epoch)
		}
	}
	keys, err := storetest.Keys(w.t.Context(), w.mem, "jobs/job/blobs/")
	if err != nil {
		w.fatalf("%v", err)
	}
	for _, k := range keys {
		var at, e uint64
		if _, err := fmt.Sscanf(k, "jobs/job/blobs/%d/%d-", &at, &e); err != nil {
			w.fatalf("%s: %v", k, err)
		}
		if !named[k] && (at < uint64(a.at) || flow.Epoch(e) <= newest) {
			w.fatalf("%s was left; checkpoint %d of attempt %d is the newest", k, newest, a.at)
		}
	}
}
