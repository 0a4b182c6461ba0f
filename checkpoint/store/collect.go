package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
)

// sweepEvery is after how many collections everything in storage is looked at again.
// Between, only what pruned manifests have named is removed, which needs no listing.
const sweepEvery = 256

// collector is what a Job remembers from one collection to the next.
type collector struct {
	kept  map[uint64]kept // by number of the entry
	since int             // collections since the last sweep; 0 is never
}

// kept is an entry of the log without its manifest.
type kept struct {
	entry Entry
	kind  flow.BarrierKind
	blobs []string
}

// Collected is what a collection has removed.
type Collected struct {
	Entries int   `json:"entries"`
	Blobs   int   `json:"blobs"`
	Bytes   int64 `json:"bytes"` // of those whose size was seen
}

// Collect prunes the log to what is retained and removes what nobody can name any more:
// files of pruned manifests, of aborted epochs, and of attempts that have ended. It
// may run beside commits and uploads; one at a time.
//
// Files of snapshots carry the attempt and epoch that they were stored for. An unreachable
// one of an older attempt is garbage: that attempt can't commit. One of the current
// attempt is garbage if a checkpoint of its epoch or a later one is committed: a [Task] builds
// on files of its last snapshot only, so what that checkpoint is without will not come
// back. Savepoints are no such bound, as they are stored in another form.
func (j *Job) Collect(ctx context.Context) (Collected, error) {
	j.mu.Lock()
	j.mu.collect.since++
	sweep := j.mu.collect.since == 1 || j.mu.collect.since > sweepEvery
	if sweep {
		j.mu.collect.since = 1
	}
	j.mu.Unlock()
	return j.collect(ctx, sweep)
}

// Sweep is Collect that looks at everything in storage.
func (j *Job) Sweep(ctx context.Context) (Collected, error) { return j.collect(ctx, true) }

func (j *Job) collect(ctx context.Context, sweep bool) (done Collected, err error) {
	v, known, err := j.keptView(ctx)
	if err != nil {
		return done, err
	}
	j.mu.Lock()
	c := j.mu.claim
	j.mu.Unlock()
	if c != nil && v.Attempt() > c.attempt {
		return done, fmt.Errorf("%w: attempt %d of job %s; the log has %d", ErrFenced, c.attempt, j.id, v.Attempt())
	}
	retained := v.Retained(j.opts.Retain, func(n Numbered) flow.BarrierKind { return known[n.Number].kind })
	prune := v.Prunable(retained)
	pruned := map[uint64]bool{}
	for _, e := range prune {
		if err := j.st.Delete(ctx, j.entryKey(e.Number)); err != nil {
			return done, fmt.Errorf("store: prune the log of job %s: %w", j.id, err)
		}
		pruned[e.Number] = true
		done.Entries++
	}
	if len(prune) > 0 {
		// A power cut must not bring an entry back whose files are gone.
		if err := j.settle(j.root + "log"); err != nil {
			return done, fmt.Errorf("store: prune the log of job %s: %w", j.id, err)
		}
	}
	reachable := map[string]bool{}
	var bound label
	for _, e := range v.Entries {
		if pruned[e.Number] {
			continue
		}
		k := known[e.Number]
		for _, b := range k.blobs {
			reachable[b] = true
		}
		if e.Kind == Committed && k.kind != flow.BarrierSavepoint {
			bound = label{e.Attempt, e.Epoch}
		}
	}
	for _, e := range prune {
		for _, b := range known[e.Number].blobs {
			if !reachable[b] && strings.HasPrefix(b, j.root) {
				reachable[b] = true // Once is enough.
				if err := j.st.Delete(ctx, b); err != nil {
					return done, fmt.Errorf("store: collect job %s: %w", j.id, err)
				}
				done.Blobs++
			}
		}
		j.forget(e.Number)
	}
	if sweep {
		err = j.sweep(ctx, v.Attempt(), bound, reachable, &done)
	}
	return done, err
}

// settler is implemented by storages that forget a Delete when the power goes.
type settler interface{ settle(folder string) error }

func (j *Job) settle(folder string) error {
	if s, ok := j.st.(settler); ok {
		return s.settle(folder)
	}
	return nil
}

func (r *retrying) settle(folder string) error {
	if s, ok := r.Storage.(settler); ok {
		return s.settle(folder)
	}
	return nil
}

func (d *Dir) settle(folder string) error { return d.sync.of(d.path(folder)) }

// label is the attempt and epoch in the key of a blob.
type label struct{ attempt, epoch uint64 }

// labelOf takes them out of a key below root; ok is false for what is not ours.
func labelOf(rest string) (l label, staged, ok bool) {
	rest, staged = cutEither(rest)
	attempt, name, _ := strings.Cut(rest, "/")
	var err error
	if l.attempt, err = strconv.ParseUint(attempt, 10, 64); err != nil || name == "" {
		return l, staged, false
	}
	if staged {
		return l, staged, true
	}
	epoch, _, _ := strings.Cut(name, "-")
	l.epoch, err = strconv.ParseUint(epoch, 10, 64)
	return l, staged, err == nil
}

func cutEither(rest string) (string, bool) {
	if s, ok := strings.CutPrefix(rest, "staged/"); ok {
		return s, true
	}
	return strings.TrimPrefix(rest, "blobs/"), false
}

// sweep removes the garbage among all that is stored.
func (j *Job) sweep(ctx context.Context, current flow.Attempt, bound label, reachable map[string]bool, done *Collected) error {
	for _, folder := range []string{"blobs/", "staged/"} {
		var garbage []Info
		for info, err := range j.st.List(ctx, j.root+folder) {
			if err != nil {
				return fmt.Errorf("store: collect job %s: %w", j.id, err)
			}
			l, staged, ok := labelOf(strings.TrimPrefix(info.Key, j.root))
			switch {
			case !ok || reachable[info.Key] || l.attempt > uint64(current):
			case l.attempt < uint64(current), !staged && bound.attempt == l.attempt && l.epoch <= bound.epoch:
				garbage = append(garbage, info)
			}
		}
		for _, info := range garbage {
			if err := j.st.Delete(ctx, info.Key); err != nil {
				return fmt.Errorf("store: collect job %s: %w", j.id, err)
			}
			done.Blobs++
			done.Bytes += info.Size
		}
	}
	return nil
}

// keptView is view with what was read before not read again. Entries are without
// manifests.
func (j *Job) keptView(ctx context.Context) (View, map[uint64]kept, error) {
	numbers, err := j.numbers(ctx)
	if err != nil {
		return View{}, nil, err
	}
	known := map[uint64]kept{}
	var all, damaged []Numbered
	for _, n := range numbers {
		j.mu.Lock()
		k, ok := j.mu.collect.kept[n]
		j.mu.Unlock()
		if !ok {
			b, err := j.readAll(ctx, j.entryKey(n))
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil {
				return View{}, nil, fmt.Errorf("store: read log entry %d of job %s: %w", n, j.id, err)
			}
			e, err := DecodeEntry(b)
			var m *checkpoint.Manifest
			if err == nil && e.Kind == Committed {
				m, err = j.manifest(Numbered{n, e})
			}
			if err != nil {
				// It names files that nobody knows. In front of what is retained it does not matter.
				damaged = append(damaged, Numbered{n, nil})
				continue
			}
			k = j.keep(n, e, m)
		}
		known[n] = k
		all = append(all, Numbered{n, &k.entry})
	}
	v := Read(all)
	for _, d := range damaged {
		if len(v.Entries) == 0 || d.Number > v.Entries[0].Number {
			return View{}, nil, fmt.Errorf("%w: log entry %s of job %s", checkpoint.ErrCorrupt, j.entryKey(d.Number), j.id)
		}
		known[d.Number] = kept{}
		v.Stray = append(v.Stray, Numbered{d.Number, &Entry{Kind: Removed}})
	}
	slices.SortFunc(v.Stray, func(a, b Numbered) int { return cmp.Compare(a.Number, b.Number) })
	return v, known, nil
}

// keep notes an entry for later collections. m is its manifest, nil where it has none.
func (j *Job) keep(number uint64, e *Entry, m *checkpoint.Manifest) kept {
	k := kept{entry: *e}
	k.entry.Manifest = nil
	if m != nil {
		k.kind = flow.BarrierKind(m.Kind)
		m.Files(func(f *checkpoint.File) { k.blobs = append(k.blobs, f.Blob) })
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.mu.collect.kept == nil {
		j.mu.collect.kept = map[uint64]kept{}
	}
	j.mu.collect.kept[number] = k
	return k
}

func (j *Job) forget(number uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.mu.collect.kept, number)
}
