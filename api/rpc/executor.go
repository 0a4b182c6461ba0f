package rpc

import (
	"errors"

	"github.com/weirflow/weir/api"
)

// Executor is an executor as its coordinator has it: a worker in another process. Its
// methods may be called from any goroutine, and do not block. What is sent to one that
// is gone is dropped: Left tells of that.
type Executor struct {
	Hello api.Hello
	peer  *peer
}

// Done is closed when the executor is gone.
func (e *Executor) Done() <-chan struct{} { return e.peer.done }

// Err says why it is gone, nil while it is not.
func (e *Executor) Err() error {
	select {
	case <-e.peer.done:
		return e.peer.err
	default:
		return nil
	}
}

// Close gives it up.
func (e *Executor) Close(why string) { e.peer.end(errors.New(why)) }

// Deploy sends a deployment. That it cannot be done comes back as failures of its tasks.
func (e *Executor) Deploy(m *api.Deploy) error {
	e.peer.send(m)
	return nil
}

// InjectBarrier sends the message, as all that follow do.
func (e *Executor) InjectBarrier(m *api.InjectBarrier) { e.peer.send(m) }

// AbortEpoch is of api.Worker.
func (e *Executor) AbortEpoch(m *api.AbortEpoch) { e.peer.send(m) }

// Committed is of api.Worker.
func (e *Executor) Committed(m *api.Committed) { e.peer.send(m) }

// AddSplits is of api.Worker.
func (e *Executor) AddSplits(m *api.AddSplits) { e.peer.send(m) }

// NoMoreSplits is of api.Worker.
func (e *Executor) NoMoreSplits(m *api.NoMoreSplits) { e.peer.send(m) }

// NoSplitYet is of api.Worker.
func (e *Executor) NoSplitYet(m *api.NoSplitYet) { e.peer.send(m) }

// Align is of api.Worker.
func (e *Executor) Align(m *api.Align) { e.peer.send(m) }

// StopSources is of api.Worker.
func (e *Executor) StopSources(m *api.StopSources) { e.peer.send(m) }

// FinishTasks is of api.Worker.
func (e *Executor) FinishTasks(m *api.FinishTasks) { e.peer.send(m) }

// CancelTasks is of api.Worker.
func (e *Executor) CancelTasks(m *api.CancelTasks) { e.peer.send(m) }

var _ api.Worker = (*Executor)(nil)
