package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
)

func (j *Job) entryKey(number uint64) string { return fmt.Sprintf("%slog/%020d", j.root, number) }

// numbers lists the log. What else is in its folder is left alone.
func (j *Job) numbers(ctx context.Context) ([]uint64, error) {
	var out []uint64
	prefix := j.root + "log/"
	for info, err := range j.st.List(ctx, prefix) {
		if err != nil {
			return nil, fmt.Errorf("store: list the log of job %s: %w", j.id, err)
		}
		if n, err := strconv.ParseUint(strings.TrimPrefix(info.Key, prefix), 10, 64); err == nil && info.Key == j.entryKey(n) {
			out = append(out, n)
		}
	}
	return out, nil
}

// readAll reads what is under a key. Entries are small: a manifest names files.
func (j *Job) readAll(ctx context.Context, key string) ([]byte, error) {
	r, err := j.st.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// view reads the whole log. An entry that goes away meanwhile was pruned.
func (j *Job) view(ctx context.Context) (View, error) {
	v, damaged, err := j.viewDamaged(ctx)
	if err != nil {
		return v, err
	}
	for i := len(v.Entries) - 1; i >= 0 && v.Entries[i].Kind != Fresh; i-- {
		if err := damaged[v.Entries[i].Number]; err != nil {
			return v, fmt.Errorf("%w; go on from a savepoint, or begin the job anew", err)
		}
	}
	return v, nil
}

// viewDamaged is view that goes on past entries that cannot be read. A log that somebody
// prunes faster than it can be read is read once more: it is not an empty one.
func (j *Job) viewDamaged(ctx context.Context) (View, map[uint64]error, error) {
	for {
		numbers, err := j.numbers(ctx)
		if err != nil {
			return View{}, nil, err
		}
		all, damaged, err := j.entries(ctx, numbers)
		if err != nil || len(all) > 0 || len(numbers) == 0 {
			return Read(all), damaged, err
		}
	}
}

// entries reads those of numbers that are still there.
func (j *Job) entries(ctx context.Context, numbers []uint64) (all []Numbered, damaged map[uint64]error, err error) {
	damaged = map[uint64]error{}
	for _, n := range numbers {
		b, err := j.readAll(ctx, j.entryKey(n))
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("store: read log entry %d of job %s: %w", n, j.id, err)
		}
		e, err := DecodeEntry(b)
		if err != nil {
			damaged[n] = fmt.Errorf("store: log entry %s of job %s: %w", j.entryKey(n), j.id, err)
			// A stand-in that keeps its number taken. What it said is lost, so attempt and epoch
			// are chosen to be above all that it can have said.
			e = &Entry{Kind: Removed, Attempt: 1, Epoch: lostEpochs}
			if k := len(all); k > 0 {
				e.Attempt, e.Epoch = all[k-1].Attempt+1, all[k-1].Epoch+lostEpochs
			}
		}
		all = append(all, Numbered{n, e})
	}
	return all, damaged, nil
}

// lostEpochs is more than the epochs that can lie between two entries of a log.
const lostEpochs = 1 << 20

// manifest decodes that of an entry.
func (j *Job) manifest(e Numbered) (*checkpoint.Manifest, error) {
	m, err := checkpoint.DecodeManifest(e.Manifest)
	if err != nil {
		return nil, fmt.Errorf("store: manifest of epoch %d of job %s: %w", e.Epoch, j.id, err)
	}
	return m, nil
}

// putEntry puts an entry of the job under a number. Lost answers are settled: nil means
// that the entry is in the log, ErrExists that another one has the number.
func (j *Job) putEntry(ctx context.Context, number uint64, e *Entry) error {
	data, key := AppendEntry(nil, e), j.entryKey(number)
	return j.opts.Retry.do(ctx, func(ctx context.Context) error {
		err := j.st.PutIfAbsent(ctx, key, data)
		if !errors.Is(err, ErrExists) {
			return err
		}
		// It may be the one that an earlier try has put, here or within a client or proxy.
		there, gerr := j.readAll(ctx, key)
		switch {
		case errors.Is(gerr, ErrNotFound):
			return err // Another's, and pruned since then.
		case gerr != nil:
			return fmt.Errorf("%w: read back %s: %w", ErrTemporary, key, gerr)
		case bytes.Equal(there, data):
			return nil
		}
		return err
	})
}

func (j *Job) newEntry(kind Kind, c *claim, e flow.Epoch) *Entry {
	host, _ := os.Hostname() // For people; an empty one will do.
	return &Entry{Kind: kind, Attempt: uint64(c.attempt), Writer: c.writer, Epoch: uint64(e),
		Created: j.opts.Now().UnixMicro(), Host: host, PID: os.Getpid()}
}

// Claim begins an attempt of the job: from now on all older ones are fenced. at is its
// number, or 0 for one more than the newest. It returns the manifest to go on from, nil
// where nothing was committed.
func (j *Job) Claim(ctx context.Context, at flow.Attempt) (flow.Attempt, *checkpoint.Manifest, error) {
	return j.claim(ctx, at, Begins)
}

// ClaimFresh is Claim for a job that is to begin anew: what was committed is out of
// use from now on, and removed after the first commit. Numbers of attempts
// and epochs go on, see [Job.LastEpoch].
func (j *Job) ClaimFresh(ctx context.Context, at flow.Attempt) (flow.Attempt, error) {
	a, _, err := j.claim(ctx, at, Fresh)
	return a, err
}

func (j *Job) claim(ctx context.Context, at flow.Attempt, kind Kind) (flow.Attempt, *checkpoint.Manifest, error) {
	j.commits.Lock()
	defer j.commits.Unlock()
	j.setClaim(nil)
	for {
		read := j.view
		if kind == Fresh {
			// Nothing is taken over from it, so it may be damaged.
			read = func(ctx context.Context) (View, error) {
				v, _, err := j.viewDamaged(ctx)
				return v, err
			}
		}
		v, err := read(ctx)
		if err != nil {
			return 0, nil, err
		}
		if kind == Begins && v.Lost() {
			return 0, nil, fmt.Errorf("%w: the log of job %s knows of epoch %d and its manifest is gone; go on from a savepoint, or begin the job anew",
				checkpoint.ErrCorrupt, j.id, v.LastEpoch())
		}
		c := &claim{attempt: max(at, v.Attempt()+1), writer: rand.Uint64(), epoch: v.LastEpoch()}
		if at != 0 && c.attempt != at {
			return 0, nil, fmt.Errorf("%w: attempt %d of job %s is to begin and the log has %d", ErrFenced, at, j.id, v.Attempt())
		}
		number := v.Next()
		err = j.putEntry(ctx, number, j.newEntry(kind, c, c.epoch))
		if errors.Is(err, ErrExists) {
			continue // Somebody was faster; it is decided by what the log says now.
		}
		if err != nil {
			return 0, nil, fmt.Errorf("store: begin attempt %d of job %s: %w", c.attempt, j.id, err)
		}
		c.next = number + 1
		if err := j.tryOut(ctx, number, c); err != nil {
			return 0, nil, err
		}
		err = j.behind(ctx, c)
		if at == 0 && errors.Is(err, errSlept) {
			continue // Entries that view had listed were pruned before it could read them.
		}
		if err != nil {
			return 0, nil, err
		}
		var m *checkpoint.Manifest
		if ms := v.Manifests(); kind == Begins && len(ms) > 0 {
			if m, err = j.manifest(ms[len(ms)-1]); err != nil {
				return 0, nil, err
			}
			j.trust(m)
		}
		j.setClaim(c)
		return c.attempt, m, nil
	}
}

// ErrUnconditional is wrapped by the error of a claim in a storage that takes a key twice.
var ErrUnconditional = errors.New("store: the storage ignores the condition of a put")

// tryOut puts something else under a number that is taken. A server that ignores the
// condition, as some that speak S3's protocol do, could not tell attempts apart, and
// a job would lose results without a sign.
func (j *Job) tryOut(ctx context.Context, number uint64, c *claim) error {
	if r, ok := j.st.(*retrying); ok {
		if _, local := r.Storage.(*Dir); local {
			return nil
		}
	}
	other := *c
	other.writer++
	key := j.entryKey(number)
	err := j.opts.Retry.do(ctx, func(ctx context.Context) error {
		return j.st.PutIfAbsent(ctx, key, AppendEntry(nil, j.newEntry(Begins, &other, c.epoch)))
	})
	if err == nil {
		return fmt.Errorf("%w: %s was put twice; use one that knows If-None-Match", ErrUnconditional, key)
	}
	if !errors.Is(err, ErrExists) {
		return fmt.Errorf("store: begin attempt %d of job %s: %w", c.attempt, j.id, err)
	}
	return nil
}

func (j *Job) setClaim(c *claim) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.mu.claim = c
	j.mu.collect = collector{}
}

// errSlept is the error of an entry that was put under an old number, free again since its
// entry was pruned. It does not count.
var errSlept = errors.New("the log has grown meanwhile")

// behind looks at what is behind the entry that the claim has just put. Most often there is
// nothing. Another attempt may have begun there since: the entry counts, and so it stays where
// it is, as what the other goes on from; but this attempt has ended. Or the entry is a
// sleeper's, which nobody reads.
func (j *Job) behind(ctx context.Context, c *claim) error {
	own := c.next - 1
	numbers, err := j.numbers(ctx)
	if err != nil {
		return err
	}
	if len(numbers) == 0 || numbers[len(numbers)-1] <= own {
		return nil
	}
	v, _, err := j.viewDamaged(ctx)
	if err != nil {
		return err
	}
	mine := func(e Numbered) bool { return e.Number == own && e.Writer == c.writer }
	if slices.ContainsFunc(v.Stray, mine) {
		_ = j.st.Delete(ctx, j.entryKey(own)) // It need not lie around.
		return fmt.Errorf("%w: attempt %d of job %s: %w to entry %d", ErrFenced, c.attempt, j.id, errSlept, v.Next()-1)
	}
	return fmt.Errorf("%w: attempt %d of job %s is over, attempt %d has begun", ErrFenced, c.attempt, j.id, v.Attempt())
}

// LastEpoch is the newest epoch that the job had committed when its attempt was claimed,
// by older attempts or since then. The next one has a higher number, also after ClaimFresh:
// sinks remember numbers.
func (j *Job) LastEpoch() flow.Epoch {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.mu.claim == nil {
		return 0
	}
	return j.mu.claim.epoch
}

// Commit puts a manifest into the log: then its epoch is committed. All that it names
// has to be safe. After ErrFenced the attempt has to end, and after any other error as
// well: nobody knows whether the epoch counts, until the next Claim.
func (j *Job) Commit(ctx context.Context, m *checkpoint.Manifest) error {
	j.commits.Lock()
	defer j.commits.Unlock()
	j.mu.Lock()
	c := j.mu.claim
	j.mu.Unlock()
	switch {
	case c == nil:
		return fmt.Errorf("%w: commit epoch %d of job %s", ErrUnclaimed, m.Epoch, j.id)
	case flow.Attempt(m.Attempt) != c.attempt:
		return fmt.Errorf("%w: epoch %d of job %s is of attempt %d and this is %d", ErrFenced, m.Epoch, j.id, m.Attempt, c.attempt)
	case m.Job != string(j.id) || flow.Epoch(m.Epoch) <= c.epoch:
		return fmt.Errorf("store: commit of epoch %d of job %q: epoch %d of %q is the newest", m.Epoch, m.Job, c.epoch, j.id)
	}
	e := j.newEntry(Committed, c, flow.Epoch(m.Epoch))
	e.Manifest = checkpoint.AppendManifest(nil, m)
	j.setClaimOnly(nil)
	err := j.putEntry(ctx, c.next, e)
	if errors.Is(err, ErrExists) {
		return fmt.Errorf("%w: epoch %d of attempt %d of job %s was not committed", ErrFenced, m.Epoch, c.attempt, j.id)
	}
	if err != nil {
		return fmt.Errorf("store: commit epoch %d of job %s: it is unknown whether it was committed: %w", m.Epoch, j.id, err)
	}
	done := *c
	done.next, done.epoch = c.next+1, flow.Epoch(m.Epoch)
	if err := j.behind(ctx, &done); err != nil {
		return fmt.Errorf("store: commit epoch %d of job %s: %w", m.Epoch, j.id, err)
	}
	j.setClaimOnly(&done)
	j.keep(c.next, e, m)
	j.trust(m)
	return nil
}

func (j *Job) setClaimOnly(c *claim) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.mu.claim = c
}

// trust notes a manifest that counts; see Files.
func (j *Job) trust(m *checkpoint.Manifest) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if t := time.UnixMicro(m.Created); t.After(j.mu.trusted) {
		j.mu.trusted = t
	}
}
