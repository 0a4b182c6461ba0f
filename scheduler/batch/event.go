package batch

import (
	"fmt"
	"slices"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/scheduler/job"
)

// Join adds an executor whose outputs lie on a node.
func (m *Machine) Join(id Executor, node Node, slots int) []Action {
	m.executors = append(m.executors, &executor{id: id, node: node, slots: slots})
	return m.take()
}

// Leave removes an executor: what runs there has ended. What lies on its node is still
// there, as far as is known.
func (m *Machine) Leave(id Executor, why *flow.Failure) []Action {
	i := slices.IndexFunc(m.executors, func(e *executor) bool { return e.id == id })
	if i < 0 {
		return m.take()
	}
	e := m.executors[i]
	m.executors = slices.Delete(m.executors, i, i+1)
	var hit []*attempt
	for _, a := range m.attempts {
		if a.on == e {
			hit = append(hit, a)
		}
	}
	slices.SortFunc(hit, func(a, b *attempt) int { return int(int64(a.number) - int64(b.number)) })
	counts := false
	for _, a := range hit {
		counts = counts || m.Current(a.number)
	}
	for _, a := range hit {
		current := m.Current(a.number)
		m.ended(a)
		if current && m.phase == working {
			m.again(a.unit, why.Text())
		}
	}
	if counts && m.phase == working {
		m.lossesInRow++
		if d := m.decide(m.lossesInRow, why); !d.Restart {
			m.fail(why, d.Why)
		}
	}
	return m.take()
}

// decide asks the policy. Where there is none, a loss that is not the program's fault is
// made good all the same.
func (m *Machine) decide(failures int, f *flow.Failure) job.Decision {
	if _, none := m.opt.Restart.(job.NoRestart); none {
		return job.Decision{Restart: f.Retryable && failures <= lossesWithoutPolicy, Why: fmt.Sprintf("it was lost %d times in a row", failures)}
	}
	return m.opt.Restart.Decide(failures, f)
}

// lossesWithoutPolicy is how often something may be lost in a job that is not to be
// restarted when it fails.
const lossesWithoutPolicy = 10

// ended forgets an attempt.
func (m *Machine) ended(a *attempt) {
	delete(m.attempts, a.number)
	a.on.used--
	a.unit.live--
}

// Done tells that an attempt has ended in order, and how many bytes it has written.
func (m *Machine) Done(at flow.Attempt, bytes int64) []Action {
	a := m.attempts[at]
	if a == nil {
		return m.take()
	}
	u, current := a.unit, m.Current(at)
	m.ended(a)
	if !current {
		m.drop(u, at, a.on.node)
		return m.take()
	}
	u.to(finished)
	u.node, u.bytes, u.lost, u.dropped, u.failures = "", bytes, false, false, 0
	if len(u.of.consumers) > 0 {
		u.node = a.on.node
	}
	m.lossesInRow = 0
	return m.take()
}

// Failed tells that an attempt has failed.
func (m *Machine) Failed(at flow.Attempt, f *flow.Failure) []Action {
	a := m.attempts[at]
	if a == nil {
		return m.take()
	}
	u, current := a.unit, m.Current(at)
	m.ended(a)
	if !current || m.phase != working {
		return m.take()
	}
	u.failures++
	d := m.opt.Restart.Decide(u.failures, f)
	if !d.Restart {
		m.fail(f, d.Why)
		return m.take()
	}
	m.again(u, f.Text())
	if d.Delay > 0 {
		u.to(delayed)
		m.act(Wait{u.id, at, d.Delay})
	}
	return m.take()
}

// Cancelled tells that an attempt has ended since it was told to.
func (m *Machine) Cancelled(at flow.Attempt) []Action {
	if a := m.attempts[at]; a != nil && m.Current(at) && m.phase == working {
		// Nobody has told it here: its worker ends.
		return m.Failed(at, &flow.Failure{Task: a.unit.id, Domain: flow.DomainExternal, Retryable: true, Message: "it was cancelled by its executor"})
	}
	if a := m.attempts[at]; a != nil {
		m.ended(a)
	}
	return m.take()
}

// Due tells that the delay after an attempt is over.
func (m *Machine) Due(id flow.TaskID, at flow.Attempt) []Action {
	if u := m.unit(id); u != nil && u.state == delayed && u.attempt == at {
		u.to(waiting)
	}
	return m.take()
}

func (m *Machine) unit(id flow.TaskID) *unit {
	c := m.byID[id.Chain]
	if c == nil || id.Subtask < 0 || id.Subtask >= len(c.units) {
		return nil
	}
	return c.units[id.Subtask]
}

// LostInput tells that an attempt has ended since it could not read an output. gone says
// that nothing that lies on the same node can be read.
func (m *Machine) LostInput(at flow.Attempt, of Source, gone bool, f *flow.Failure) []Action {
	a := m.attempts[at]
	if a == nil {
		return m.take()
	}
	current := m.Current(at)
	m.ended(a)
	if m.phase != working {
		return m.take()
	}
	if current {
		m.again(a.unit, "its input cannot be read")
	}
	p := m.producer(a.unit.of, of)
	switch {
	case p == nil:
	case gone:
		m.nodeLost(p.node, f)
	default:
		m.lose(p, f)
		p.losses++
		if d := m.decide(p.losses, f); !d.Restart {
			m.fail(f, d.Why)
		}
	}
	return m.take()
}

// producer is the unit whose output is meant, if that output still counts.
func (m *Machine) producer(c *chain, of Source) *unit {
	for i := range c.inputs {
		if in := &c.inputs[i]; in.edge == of.Edge && of.Producer >= 0 && of.Producer < len(in.from.units) {
			if p := in.from.units[of.Producer]; p.attempt == of.Attempt && p.present() {
				return p
			}
		}
	}
	return nil
}

// NodeLost tells that nothing that lies on a node can be read any more.
func (m *Machine) NodeLost(node Node, f *flow.Failure) []Action {
	if m.phase == working {
		m.nodeLost(node, f)
	}
	return m.take()
}

func (m *Machine) nodeLost(node Node, f *flow.Failure) {
	lost := false
	for _, c := range m.chains {
		for _, u := range c.units {
			if u.present() && u.node == node && len(c.consumers) > 0 {
				m.lose(u, f)
				lost = true
			}
		}
	}
	if !lost {
		return
	}
	m.lossesInRow++
	if d := m.decide(m.lossesInRow, f); !d.Restart {
		m.fail(f, d.Why)
	}
}

// lose notes that an output is not there any more.
func (m *Machine) lose(u *unit, f *flow.Failure) {
	u.lost = true
	m.act(Lost{u.id, u.attempt, u.node, f.Text()})
}

// Fail ends the job because of something beside its units; nil: because somebody wants it.
func (m *Machine) Fail(f *flow.Failure) []Action {
	m.fail(f, "")
	return m.take()
}

func (m *Machine) fail(f *flow.Failure, why string) {
	if m.phase == ending || m.phase == over {
		return
	}
	if f != nil && why != "" {
		g := *f
		g.Message = f.Text() + "; " + why
		f = &g
	}
	m.phase, m.cause = ending, f
	for _, c := range m.chains {
		for _, u := range c.units {
			if u.state != running {
				continue
			}
			if a := m.attempts[u.attempt]; a != nil {
				m.act(Cancel{u.id, u.attempt, a.on.id})
			}
			u.to(waiting)
		}
	}
}

// Committed tells that all that was prepared is final.
func (m *Machine) Committed() []Action {
	if m.phase == committing {
		m.phase = ending
	}
	return m.take()
}

// CommitFailed tells that it could not be made final.
func (m *Machine) CommitFailed(f *flow.Failure) []Action {
	if m.phase != committing {
		return m.take()
	}
	m.commits++
	if d := m.opt.Restart.Decide(m.commits, f); d.Restart {
		m.act(Commit{d.Delay})
	} else {
		m.fail(f, d.Why)
	}
	return m.take()
}
