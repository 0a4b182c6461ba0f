package artifact

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// Source has programs: another agent, a server. What it gives is checked. The reader ends
// when ctx does, or when it is closed.
type Source interface {
	Get(context.Context, Hash) (io.ReadCloser, error)
}

// Use returns the path of the program's file, pinned until release is called. A program that is
// not here is fetched from the sources, in their order; one whose bytes have changed on
// the disk is removed, and fetched anew. Where it was used before in this process, nothing
// is read.
func (s *Store) Use(ctx context.Context, h Hash, from ...Source) (path string, release func(), err error) {
	s.mu.Lock()
	s.mu.pins[h]++ // before there is anything to pin: nothing is collected in between
	s.mu.Unlock()
	release = sync.OnceFunc(func() { s.unpin(h) })
	for range 2 { // it may be corrupt once
		if err = s.Fetch(ctx, h, from...); err != nil {
			break
		}
		if err = s.verify(ctx, h); err == nil {
			s.used(h)
			return s.path(h), release, nil
		}
		if !errors.Is(err, ErrCorrupt) || len(from) == 0 {
			break
		}
	}
	release()
	return "", nil, err
}

func (s *Store) unpin(h Hash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.pins[h]--; s.mu.pins[h] == 0 {
		delete(s.mu.pins, h)
	}
	if e := s.mu.entries[h]; e != nil {
		e.used = s.o.testing.now()
	}
}

// used notes a use, on the disk too, so that the order of uses outlives the process.
func (s *Store) used(h Hash) {
	now := s.o.testing.now()
	s.mu.Lock()
	if e := s.mu.entries[h]; e != nil {
		e.used = now
	}
	s.mu.Unlock()
	if s.real() {
		// The time is a hint about what to collect first: without it the program is
		// collected too early at worst, and fetched again.
		_ = os.Chtimes(s.path(h), now, now)
	}
}

// verify reads the program once in each process. One that is not what its name says is
// removed, also where it is pinned: nobody was given its path.
func (s *Store) verify(ctx context.Context, h Hash) error {
	s.mu.Lock()
	e := s.mu.entries[h]
	known := e != nil && e.verified
	s.mu.Unlock()
	if known {
		return nil
	}
	return s.single(ctx, flightKey{h, true}, func(ctx context.Context) error {
		s.mu.Lock()
		e := s.mu.entries[h]
		known := e != nil && e.verified
		s.mu.Unlock()
		if known {
			return nil
		}
		f, err := s.o.FS.Open(s.path(h))
		if errors.Is(err, os.ErrNotExist) {
			s.drop(h, e)
			return fmt.Errorf("artifact: %v: %w: there is no file of it", h, ErrCorrupt)
		}
		if err != nil {
			return fmt.Errorf("artifact: verify %v: %w", h, err)
		}
		sum := sha256.New()
		n, err := io.Copy(sum, &ender{ctx, f})
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return fmt.Errorf("artifact: verify %v: %w", h, err)
		}
		if got := Hash(sum.Sum(nil)); got != h {
			s.drop(h, e)
			return fmt.Errorf("artifact: %v: %w: its file held %d bytes of %v and was removed", h, ErrCorrupt, n, got)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.mu.entries[h] == e && e != nil {
			e.verified = true
		}
		return nil
	})
}

// drop removes a bad file, unless it was replaced meanwhile.
func (s *Store) drop(h Hash, bad *entry) {
	s.files.Lock()
	defer s.files.Unlock()
	s.mu.Lock()
	e := s.mu.entries[h]
	drop := e == bad && e != nil && !e.verified
	if drop {
		s.mu.total -= e.size
		delete(s.mu.entries, h)
	}
	s.mu.Unlock()
	if drop {
		// The entry is gone: if the file stays, it is verified by the next process.
		_ = s.o.FS.Remove(s.path(h))
	}
}

// ender ends reading when ctx ends.
type ender struct {
	ctx context.Context
	r   io.Reader
}

func (e *ender) Read(p []byte) (int, error) {
	if e.ctx.Err() != nil {
		return 0, context.Cause(e.ctx)
	}
	return e.r.Read(p)
}

// Fetch gets the program if it is not here. All who ask for it at one time wait for one
// transfer, from the sources of the one who came first.
func (s *Store) Fetch(ctx context.Context, h Hash, from ...Source) error {
	if s.Has(h) {
		return nil
	}
	if len(from) == 0 {
		return fmt.Errorf("artifact: %v: %w here, and nobody to fetch it from", h, ErrNotFound)
	}
	return s.single(ctx, flightKey{h, false}, func(ctx context.Context) error {
		if s.Has(h) {
			return nil
		}
		select {
		case s.slots <- struct{}{}:
			defer func() { <-s.slots }()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		var errs []error
		for _, src := range from {
			err := s.fetch(ctx, h, src)
			if err == nil {
				return nil
			}
			if errs = append(errs, err); ctx.Err() != nil || errors.Is(err, ErrNoRoom) {
				break
			}
		}
		return fmt.Errorf("artifact: fetch %v: %w", h, errors.Join(errs...))
	})
}

func (s *Store) fetch(ctx context.Context, h Hash, src Source) error {
	r, err := src.Get(ctx, h)
	if err != nil {
		return err
	}
	closer := sync.OnceValue(r.Close)
	stop := context.AfterFunc(ctx, func() { _ = closer() }) // a Read that hangs ends too
	defer stop()
	_, _, err = s.put(ctx, r, s.o.MaxSize, &h)
	if cerr := closer(); err == nil && cerr != nil {
		err = fmt.Errorf("end the transfer: %w", cerr)
	}
	return err
}

type flightKey struct {
	hash   Hash
	verify bool
}

// flight is work that several wait for.
type flight struct {
	done    chan struct{}
	err     error // once done is closed
	cancel  context.CancelFunc
	waiters int // guarded by the Store's mu
}

// single runs do on a goroutine of the Store, once for all who ask at one time, until it
// ends or none of them waits any more.
func (s *Store) single(ctx context.Context, key flightKey, do func(context.Context) error) error {
	s.mu.Lock()
	if s.mu.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	f := s.mu.flights[key]
	if f == nil {
		var fctx context.Context
		f = &flight{done: make(chan struct{})}
		fctx, f.cancel = context.WithCancel(s.ctx)
		s.mu.flights[key] = f
		s.wg.Go(func() {
			err := do(fctx)
			f.cancel()
			s.mu.Lock()
			defer s.mu.Unlock()
			f.err = err
			if s.mu.flights[key] == f {
				delete(s.mu.flights, key)
			}
			close(f.done)
		})
	}
	f.waiters++
	s.mu.Unlock()
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.waiters--; f.waiters == 0 {
		f.cancel()
		if s.mu.flights[key] == f {
			delete(s.mu.flights, key) // who comes now does not get its end
		}
	}
	return context.Cause(ctx)
}
