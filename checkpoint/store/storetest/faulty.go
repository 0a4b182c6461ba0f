package storetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/weirflow/weir/checkpoint/store"
)

// ErrInjected is wrapped by every error that a [Faulty] makes up.
var ErrInjected = errors.New("storetest: injected")

// Faults says how often what goes wrong, as probabilities from 0 to 1. The zero value
// lets everything go right.
type Faults struct {
	// Refused is a 500 or 503: nothing was done, and a repeat may help.
	Refused float64
	// Lost is an answer that did not come: it was done, and the error says otherwise.
	Lost float64
	// Late is a put that is answered with an error and done later, at one of the next operations.
	Late float64
	// Hang is an operation that does nothing until its context ends.
	Hang float64
	// Slow is an operation that takes up to Delay longer.
	Slow  float64
	Delay time.Duration
	// Cut is a reader that breaks off with a temporary error.
	Cut float64
	// Broken is an error that stays one: a disk that is full, a right that is missing.
	Broken float64
}

// Faulty is a storage that fails as the wrapped one could, as its seed has it. The order of
// operations of several goroutines is not the seed's.
type Faulty struct {
	store.Storage
	mu struct {
		sync.Mutex
		faults Faults
		rng    *rand.Rand
		late   []func()
		counts map[string]int
		hook   func(op, key string) error
	}
}

// NewFaulty wraps a storage.
func NewFaulty(st store.Storage, seed uint64, f Faults) *Faulty {
	s := &Faulty{Storage: st}
	s.mu.faults = f
	s.mu.rng = rand.New(rand.NewPCG(seed, 0x7765697266617574))
	s.mu.counts = map[string]int{}
	return s
}

// Set changes what goes wrong from now on.
func (f *Faulty) Set(faults Faults) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.faults = faults
}

// Hook sets a function that is asked in front of every operation: "put", "put file",
// "put if absent", "get", "fetch", "list", "delete". Its error is the operation's. It may
// block. Nil is none.
func (f *Faulty) Hook(h func(op, key string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.hook = h
}

// Counts says how many operations and faults there were, by name.
func (f *Faulty) Counts() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[string]int{}
	for k, v := range f.mu.counts {
		out[k] = v
	}
	return out
}

// Settle does what is late, now.
func (f *Faulty) Settle() {
	f.mu.Lock()
	late := f.mu.late
	f.mu.late = nil
	f.mu.Unlock()
	for _, do := range late {
		do()
	}
}

// fate is what happens to one operation.
type fate struct {
	before error
	after  error
	late   bool
	cut    bool
	hang   bool
	delay  time.Duration
}

func (f *Faulty) fate(op string, put bool) (fate, func(string, string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.counts[op]++
	hit := func(name string, p float64) bool {
		if p > 0 && f.mu.rng.Float64() < p {
			f.mu.counts[name]++
			return true
		}
		return false
	}
	temporary := func(what string) error {
		return fmt.Errorf("%w: %w: %s: %s", store.ErrTemporary, ErrInjected, op, what)
	}
	o, a := f.mu.faults, fate{}
	switch {
	case hit("broken", o.Broken):
		a.before = fmt.Errorf("%w: %s: no space left on device", ErrInjected, op)
	case hit("refused", o.Refused):
		a.before = temporary("503 SlowDown")
	case hit("hang", o.Hang):
		a.hang = true
	case put && hit("late", o.Late):
		a.late, a.before = true, temporary("connection reset")
	case hit("lost", o.Lost):
		a.after = temporary("answer lost")
	case hit("cut", o.Cut):
		a.cut = true
	}
	if hit("slow", o.Slow) {
		a.delay = time.Duration(f.mu.rng.Float64() * float64(o.Delay))
	}
	return a, f.mu.hook
}

// do runs an operation under its fate. again is the operation for a late one: under a
// context that does not end, with its own copy of what is put.
func (f *Faulty) do(ctx context.Context, op, key string, again func(), run func() error) error {
	a, hook := f.fate(op, again != nil)
	if hook != nil {
		if err := hook(op, key); err != nil {
			return err
		}
	}
	if a.delay > 0 {
		timer := time.NewTimer(a.delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	if a.hang {
		<-ctx.Done()
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	defer f.sometimes()
	if a.late {
		f.mu.Lock()
		f.mu.late = append(f.mu.late, again)
		f.mu.Unlock()
	}
	if a.before != nil {
		return a.before
	}
	if err := run(); err != nil {
		return err
	}
	return a.after
}

// sometimes does something that is late.
func (f *Faulty) sometimes() {
	f.mu.Lock()
	var do func()
	if n := len(f.mu.late); n > 0 && f.mu.rng.IntN(3) == 0 {
		do = f.mu.late[0]
		f.mu.late = f.mu.late[1:]
	}
	f.mu.Unlock()
	if do != nil {
		do()
	}
}

// Put implements store.Storage. It is not done late: nothing puts one key with other
// bytes, so that would not tell from a lost answer.
func (f *Faulty) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	return f.do(ctx, "put", key, nil, func() error { return f.Storage.Put(ctx, key, r, size) })
}

// PutFile implements store.Storage.
func (f *Faulty) PutFile(ctx context.Context, key, path string) error {
	return f.do(ctx, "put file", key, nil, func() error { return f.Storage.PutFile(ctx, key, path) })
}

// PutIfAbsent implements store.Storage.
func (f *Faulty) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	own := append([]byte(nil), data...)
	again := func() { _ = f.Storage.PutIfAbsent(context.WithoutCancel(ctx), key, own) } // Nobody hears how it went.
	return f.do(ctx, "put if absent", key, again, func() error { return f.Storage.PutIfAbsent(ctx, key, own) })
}

// Get implements store.Storage.
func (f *Faulty) Get(ctx context.Context, key string) (r io.ReadCloser, err error) {
	err = f.do(ctx, "get", key, nil, func() error {
		r, err = f.Storage.Get(ctx, key)
		return err
	})
	if err != nil {
		if r != nil {
			r.Close()
		}
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.mu.faults.Cut; p > 0 && f.mu.rng.Float64() < p {
		f.mu.counts["cut"]++
		return &cut{r, 1 + f.mu.rng.Int64N(64<<10)}, nil
	}
	return r, nil
}

// cut is a reader whose connection breaks.
type cut struct {
	io.ReadCloser
	left int64
}

func (c *cut) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, fmt.Errorf("%w: %w: connection reset while reading", store.ErrTemporary, ErrInjected)
	}
	n, err := c.ReadCloser.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// Fetch implements store.Storage. It does not lose its answer: a file that is there would
// have to be removed before the next try, which is the business of a real one.
func (f *Faulty) Fetch(ctx context.Context, key, path string) error {
	a, hook := f.fate("fetch", false)
	if hook != nil {
		if err := hook("fetch", key); err != nil {
			return err
		}
	}
	if a.before != nil {
		return a.before
	}
	return f.Storage.Fetch(ctx, key, path)
}

// List implements store.Storage.
func (f *Faulty) List(ctx context.Context, prefix string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		stopped := false
		err := f.do(ctx, "list", prefix, nil, func() error {
			for info, err := range f.Storage.List(ctx, prefix) {
				if err != nil {
					return err
				}
				if !yield(info, nil) {
					stopped = true
					return nil
				}
			}
			return nil
		})
		if err != nil && !stopped {
			yield(store.Info{}, err)
		}
	}
}

// Delete implements store.Storage.
func (f *Faulty) Delete(ctx context.Context, key string) error {
	return f.do(ctx, "delete", key, nil, func() error { return f.Storage.Delete(ctx, key) })
}
