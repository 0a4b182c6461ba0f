package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"time"
)

// RetryPolicy says how temporary errors are borne: those that wrap [ErrTemporary]. The
// zero value is the default.
type RetryPolicy struct {
	// Tries is how often an operation is tried at most. Default 8.
	Tries int
	// Pause is the longest pause before the second try; it doubles for each one after
	// that, up to MaxPause. Each pause is between half of that and all of it. Default 50 ms.
	Pause time.Duration
	// MaxPause is the longest pause. Default 5 s.
	MaxPause time.Duration
	// Timeout is how long one try of a small operation may take; what moves files has a
	// second more for each MiB. Default 30 s.
	Timeout time.Duration
}

// EnsureDefaults fills what is not set.
func (p *RetryPolicy) EnsureDefaults() {
	if p.Tries < 1 {
		p.Tries = 8
	}
	if p.Pause <= 0 {
		p.Pause = 50 * time.Millisecond
	}
	if p.MaxPause <= 0 {
		p.MaxPause = 5 * time.Second
	}
	if p.Timeout <= 0 {
		p.Timeout = 30 * time.Second
	}
}

// do calls op until it succeeds, gives an error that stays, or the tries are used up.
func (p RetryPolicy) do(ctx context.Context, op func(context.Context) error) error {
	return p.doSized(ctx, 0, op)
}

func (p RetryPolicy) doSized(ctx context.Context, size int64, op func(context.Context) error) error {
	return p.borne(ctx, func() error { return p.once(ctx, size, op) })
}

// borne is do for an op that sees to its time itself.
func (p RetryPolicy) borne(ctx context.Context, op func() error) error {
	pause := p.Pause
	for try := 1; ; try++ {
		err := op()
		if err == nil || ctx.Err() != nil || !errors.Is(err, ErrTemporary) {
			return err
		}
		if try >= p.Tries {
			return fmt.Errorf("gave up after %d tries: %w", try, err)
		}
		timer := time.NewTimer(pause/2 + rand.N(pause/2+1))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(context.Cause(ctx), err)
		}
		pause = min(2*pause, p.MaxPause)
	}
}

// once is one try, with its time. What runs out of it alone, and not with ctx, is
// temporary.
func (p RetryPolicy) once(ctx context.Context, size int64, op func(context.Context) error) error {
	limit := p.Timeout + time.Duration(size>>20)*time.Second
	tctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := op(tctx)
	if err != nil && tctx.Err() != nil && ctx.Err() == nil && !errors.Is(err, ErrTemporary) {
		return fmt.Errorf("%w: no answer in %s: %w", ErrTemporary, limit, err)
	}
	return err
}

// Retry is st with temporary errors borne as p says. PutIfAbsent is passed on as it is,
// since a second try could not tell its own success from another's; who calls it settles
// that. A Put is repeated where its reader is an io.Seeker.
func Retry(st Storage, p RetryPolicy) Storage {
	if r, ok := st.(*retrying); ok {
		return r
	}
	p.EnsureDefaults()
	return &retrying{st, p}
}

type retrying struct {
	Storage
	policy RetryPolicy
}

func (r *retrying) Put(ctx context.Context, key string, body io.Reader, size int64) error {
	seeker, ok := body.(io.Seeker)
	if !ok {
		return r.Storage.Put(ctx, key, body, size)
	}
	start, err := seeker.Seek(0, io.SeekCurrent)
	if err != nil {
		return fmt.Errorf("store: put %s: %w", key, err)
	}
	return r.policy.doSized(ctx, size, func(ctx context.Context) error {
		if _, err := seeker.Seek(start, io.SeekStart); err != nil {
			return fmt.Errorf("store: put %s: %w", key, err)
		}
		return r.Storage.Put(ctx, key, notClosed(body), size)
	})
}

// notClosed hides the Close of a reader: clients close what can be closed, and the next
// try needs it open.
func notClosed(r io.Reader) io.Reader {
	if s, ok := r.(interface {
		io.ReadSeeker
		io.ReaderAt
	}); ok {
		return struct {
			io.ReadSeeker
			io.ReaderAt
		}{s, s}
	}
	return struct{ io.Reader }{r}
}

// unknownSize is the size that files are given time for when it is not known: 256 MiB.
const unknownSize = 256 << 20

func (r *retrying) PutFile(ctx context.Context, key, path string) error {
	return r.policy.doSized(ctx, unknownSize, func(ctx context.Context) error { return r.Storage.PutFile(ctx, key, path) })
}

// Get retries the opening, and reading by opening again at the place that was reached.
func (r *retrying) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	s := &resuming{ctx: ctx, r: r, key: key}
	if err := r.policy.borne(ctx, func() error { return s.open() }); err != nil {
		return nil, err
	}
	return s, nil
}

func (r *retrying) Fetch(ctx context.Context, key, path string) error {
	return r.policy.doSized(ctx, unknownSize, func(ctx context.Context) error { return r.Storage.Fetch(ctx, key, path) })
}

func (r *retrying) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		var last string
		stopped := false
		// With time for what yield does.
		err := r.policy.doSized(ctx, unknownSize, func(ctx context.Context) error {
			for info, err := range r.Storage.List(ctx, prefix) {
				if err != nil {
					return err
				}
				if info.Key <= last {
					continue // Told before the try that failed.
				}
				last = info.Key
				if !yield(info, nil) {
					stopped = true
					return nil
				}
			}
			return nil
		})
		if err != nil && !stopped {
			yield(Info{}, err)
		}
	}
}

func (r *retrying) Delete(ctx context.Context, key string) error {
	return r.policy.do(ctx, func(ctx context.Context) error { return r.Storage.Delete(ctx, key) })
}

// Stat implements [Stamper] where the storage does.
func (r *retrying) Stat(ctx context.Context, key string) (Info, error) {
	st, ok := r.Storage.(Stamper)
	if !ok {
		return Info{}, errors.ErrUnsupported
	}
	var info Info
	err := r.policy.do(ctx, func(ctx context.Context) (err error) {
		info, err = st.Stat(ctx, key)
		return err
	})
	return info, err
}

// resuming is a reader that bears temporary errors.
type resuming struct {
	ctx  context.Context
	r    *retrying
	key  string
	body io.ReadCloser
	at   int64
	// idle ends bodyCtx, and so a read that brings nothing for too long.
	idle    *time.Timer
	bodyCtx context.Context
	cancel  context.CancelCauseFunc
}

var errIdle = errors.New("store: nothing came")

func (s *resuming) open() error {
	ctx, cancel := context.WithCancelCause(s.ctx)
	s.bodyCtx, s.cancel = ctx, cancel
	s.idle = time.AfterFunc(s.r.policy.Timeout, func() { cancel(errIdle) })
	body, err := s.r.Storage.Get(ctx, s.key)
	if err == nil {
		s.body = body
		if _, err = io.CopyN(io.Discard, body, s.at); errors.Is(err, io.EOF) {
			err = fmt.Errorf("store: get %s: it is shorter than it was: %w", s.key, io.ErrUnexpectedEOF)
		}
	}
	if err != nil {
		return s.failed(err)
	}
	s.idle.Stop()
	return nil
}

// failed closes the body after an error; a wait that was too long is temporary.
func (s *resuming) failed(err error) error {
	if s.ctx.Err() == nil && errors.Is(context.Cause(s.bodyCtx), errIdle) {
		err = fmt.Errorf("%w: get %s: nothing came for %s: %w", ErrTemporary, s.key, s.r.policy.Timeout, err)
	}
	s.idle.Stop()
	s.cancel(nil)
	if s.body != nil {
		s.body.Close()
		s.body = nil
	}
	return err
}

func (s *resuming) Read(p []byte) (int, error) {
	var n int
	var end error
	err := s.r.policy.borne(s.ctx, func() error {
		if s.body == nil {
			if err := s.open(); err != nil {
				return err
			}
		}
		s.idle.Reset(s.r.policy.Timeout)
		var err error
		n, err = s.body.Read(p)
		s.idle.Stop()
		s.at += int64(n)
		if err != nil && !errors.Is(err, io.EOF) {
			if err = s.failed(err); errors.Is(err, ErrTemporary) && n == 0 {
				return err
			}
			if errors.Is(err, ErrTemporary) {
				return nil // What came is told first; the next Read opens again.
			}
		}
		end = err
		return nil
	})
	if err != nil {
		return 0, err
	}
	return n, end
}

func (s *resuming) Close() error {
	if s.body == nil {
		return nil
	}
	s.idle.Stop()
	err := s.body.Close()
	s.cancel(nil)
	s.body = nil
	return err
}
