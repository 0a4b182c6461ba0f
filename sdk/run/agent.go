package run

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/weirflow/weir/api"
)

// errAgentGone ends an executor whose agent has closed its input: it has ended, or wants
// the executor to end.
var errAgentGone = errors.New("the agent has closed the input: the executor ends with it")

// maxAgentLine bounds what an agent says in one line.
const maxAgentLine = 4 << 20

// agentInput reads what an agent says: lines of JSON.
type agentInput struct{ r *bufio.Reader }

// next reads a line into v. It returns errAgentGone at the end.
func (in *agentInput) next(v any) error {
	var line []byte
	for {
		part, err := in.r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxAgentLine:
			return fmt.Errorf("the agent says more than %d bytes in one line", maxAgentLine)
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil && !errors.Is(err, io.EOF):
			return fmt.Errorf("%w: %w", errAgentGone, err)
		case err != nil:
			return errAgentGone // half a line is none
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if err := json.Unmarshal(line, v); err != nil {
			return fmt.Errorf("what the agent says is not understood: %w", err)
		}
		return nil
	}
}

// agentEvents writes what an executor tells its agent, on a goroutine of its own: who
// tells does not wait. Of the job's reports only the newest waits to be written.
type agentEvents struct {
	to   io.WriteCloser
	wake chan struct{}
	done chan struct{}
	mu   struct {
		sync.Mutex
		queue []api.ExecutorEvent
		over  bool
	}
}

func newAgentEvents(to io.WriteCloser) *agentEvents {
	e := &agentEvents{to: to, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go e.run()
	return e
}

func (e *agentEvents) tell(ev api.ExecutorEvent) {
	e.mu.Lock()
	if n := len(e.mu.queue); n > 0 && ev.Job != nil && e.mu.queue[n-1].Job != nil {
		e.mu.queue[n-1] = ev
	} else if !e.mu.over {
		e.mu.queue = append(e.mu.queue, ev)
	}
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// maxEvents is how many events may wait for an agent that asks and does not read.
const maxEvents = 64

// full reports that no more answers should be told.
func (e *agentEvents) full() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.mu.queue) >= maxEvents
}

func (e *agentEvents) run() {
	defer close(e.done)
	enc := json.NewEncoder(e.to)
	for {
		e.mu.Lock()
		queue, over := e.mu.queue, e.mu.over
		e.mu.queue = nil
		e.mu.Unlock()
		for i := range queue {
			if enc.Encode(&queue[i]) != nil {
				return // nobody reads: the end of the input says so too
			}
		}
		if len(queue) > 0 {
			continue
		}
		if over {
			return
		}
		<-e.wake
	}
}

// close writes what waits. An agent that does not read is not waited for.
func (e *agentEvents) close() {
	e.mu.Lock()
	e.mu.over = true
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default:
	}
	patience := time.NewTimer(2 * time.Second)
	defer patience.Stop()
	select {
	case <-e.done:
	case <-patience.C:
	}
	e.to.Close()
	<-e.done
}
