package run

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/internal/node"
)

// maxWishes is how many savepoints an agent may wait for at a time.
const maxWishes = 8

// steered is a coordinator whose agent passes on what users wish of its job.
type steered struct {
	c      *node.Coordinator
	x      *execution
	ctx    context.Context
	cancel context.CancelCauseFunc
	room   chan struct{}

	mu     sync.Mutex
	over   bool
	wishes sync.WaitGroup
}

// listen hears what the agent says, until it says no more.
func (s *steered) listen() {
	for {
		var c api.ExecutorCommand
		if err := s.x.in.next(&c); err != nil {
			s.cancel(err)
			return
		}
		if c.Coordinator != "" && c.Term > s.x.cfg.Alloc.Term {
			s.cancel(fmt.Errorf("there is a coordinator of term %d, and this one is of %d", c.Term, s.x.cfg.Alloc.Term))
			return
		}
		if c.Parallelism > 0 {
			s.c.Rescale(c.Parallelism)
		}
		switch {
		case c.Ask != "":
			s.x.ask(s.ctx, c)
		case c.Wish != "":
			s.wish(c)
		}
	}
}

// wish does what is wished. Repeats of all but savepoints do no harm.
func (s *steered) wish(c api.ExecutorCommand) {
	switch {
	case c.Wish == api.WishStop:
		s.c.Stop()
		s.x.answer(c.Request, "stopping", nil)
	case c.Wish == api.WishCancel:
		s.c.Cancel()
		s.x.answer(c.Request, "cancelling", nil)
	case c.Wish == api.WishSave && c.Savepoint == "":
		s.c.Suspend("")
		s.x.answer(c.Request, "stopping with a checkpoint", nil)
	case c.Wish == api.WishSave || c.Wish == api.WishRun && c.Savepoint != "":
		s.savepoint(c)
	case c.Wish == api.WishRun:
		s.x.answer(c.Request, "running", nil)
	default:
		s.x.answer(c.Request, "", fmt.Errorf("%q is no wish: it must be %s, %s, %s or %s", c.Wish, api.WishRun, api.WishStop, api.WishSave, api.WishCancel))
	}
}

// savepoint takes one, beside what else is wished meanwhile.
func (s *steered) savepoint(c api.ExecutorCommand) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		s.x.answer(c.Request, "", errors.New("the job has ended"))
		return
	}
	select {
	case s.room <- struct{}{}:
	default:
		s.x.answer(c.Request, "", fmt.Errorf("%d savepoints are being taken: ask again when one is done", maxWishes))
		return
	}
	s.wishes.Go(func() {
		defer func() { <-s.room }()
		save := s.c.Savepoint
		if c.Wish == api.WishSave {
			save = s.c.SavepointAndHold
		}
		epoch, err := save(s.ctx, c.Savepoint)
		if err != nil {
			s.x.answer(c.Request, "", err)
			return
		}
		// It is answered before the end, behind which nobody waits for an answer.
		s.x.answer(c.Request, fmt.Sprintf(api.SavepointAnswer, epoch, c.Savepoint), nil)
		if c.Wish == api.WishSave {
			s.c.Suspend("")
		}
	})
}

// wait returns when all wishes were answered; the job has ended.
func (s *steered) wait() {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	// A savepoint of a job that has not begun waits for it in vain.
	s.cancel(errors.New("the job has ended"))
	s.wishes.Wait()
}
