package batch

import (
	"fmt"
	"math"

	"github.com/weirflow/weir/flow"
)

// settle does what has become possible or necessary.
func (m *Machine) settle() {
	switch m.phase {
	case working:
		for m.wanting() {
		}
		if m.all() {
			m.phase = committing
			m.act(Commit{})
			return
		}
		m.dropAll()
		m.deploy()
	case ending:
		if len(m.attempts) == 0 {
			m.phase = over
			m.act(End{m.cause})
		}
	case committing, over:
	}
}

func (m *Machine) all() bool {
	for _, c := range m.chains {
		if c.finished < len(c.units) {
			return false
		}
	}
	return true
}

// wanting has units run again whose output is lost, where one that has yet to run wants
// it, and reports whether there were any. Those that read from them may so become ones
// that want others.
func (m *Machine) wanting() (again bool) {
	for i := len(m.chains) - 1; i >= 0; i-- {
		for _, u := range m.chains[i].units {
			if u.state == finished && (u.lost || u.dropped) && u.wanted() {
				m.again(u, "its output is lost, and there is a task that wants it")
				m.stale(u)
				again = true
			}
		}
	}
	return again
}

// wanted reports whether a unit that has yet to run reads from u.
func (u *unit) wanted() (yes bool) {
	for i := range u.of.consumers {
		k := &u.of.consumers[i]
		switch {
		case k.to.idle == 0:
		case k.forward:
			s := k.to.units[u.id.Subtask].state
			yes = yes || s == waiting || s == delayed
		default:
			return true
		}
	}
	return yes
}

// stale has all units run again that have read from u, or do.
func (m *Machine) stale(u *unit) {
	for i := range u.of.consumers {
		k := &u.of.consumers[i]
		k.each(u.id.Subtask, func(v *unit) {
			if v.state != running && v.state != finished {
				return
			}
			m.again(v, fmt.Sprintf("its input from %s is made again", u.id))
			m.stale(v)
		})
	}
}

// again has a unit run again that ran or was finished.
func (m *Machine) again(u *unit, why string) {
	m.act(Again{u.id, u.attempt, why})
	switch u.state {
	case running:
		if a := m.attempts[u.attempt]; a != nil {
			m.act(Cancel{u.id, u.attempt, a.on.id})
		}
	case finished:
		if u.present() {
			m.drop(u, u.attempt, u.node)
		}
	case waiting, delayed:
	}
	u.to(waiting)
	u.node, u.lost, u.dropped = "", false, false
}

// drop removes what an attempt has written.
func (m *Machine) drop(u *unit, at flow.Attempt, node Node) {
	if len(u.of.consumers) > 0 {
		m.act(Drop{u.id, at, node})
	}
}

// dropAll drops the outputs that nobody can want any more: all that read them are
// finished, and of those nobody can want the outputs either.
func (m *Machine) dropAll() {
	over := map[*chain][]bool{}
	for i := len(m.chains) - 1; i >= 0; i-- {
		c := m.chains[i]
		mine := make([]bool, len(c.units))
		over[c] = mine
		// What all consumers of a chain have in common is looked at once.
		open := false
		for j := range c.consumers {
			if k := &c.consumers[j]; !k.forward {
				for _, o := range over[k.to] {
					open = open || !o
				}
			}
		}
		for n, u := range c.units {
			mine[n] = u.state == finished && !open
			for j := range c.consumers {
				if k := &c.consumers[j]; k.forward {
					mine[n] = mine[n] && over[k.to][n]
				}
			}
			if mine[n] && u.present() && len(c.consumers) > 0 {
				u.dropped = true
				m.drop(u, u.attempt, u.node)
			}
		}
	}
}

// deploy starts what can be started: those first of which most depends.
func (m *Machine) deploy() {
	free := 0
	for _, e := range m.executors {
		free += max(0, e.slots-e.used)
	}
	for _, c := range m.chains {
		if free == 0 {
			return
		}
		if c.idle == 0 || !c.ready() {
			continue
		}
		for _, u := range c.units {
			if free > 0 && u.state == waiting && u.live == 0 && u.ready() {
				m.start(u)
				free--
			}
		}
	}
}

// ready reports whether all that all units of a chain read is there.
func (c *chain) ready() bool {
	for i := range c.inputs {
		if in := &c.inputs[i]; !in.forward && in.from.finished < len(in.from.units) {
			return false
		}
	}
	return true
}

func (u *unit) ready() bool {
	ok := true
	for i := range u.of.inputs {
		u.of.inputs[i].each(u.id.Subtask, func(p *unit) { ok = ok && p.present() })
	}
	return ok
}

func (m *Machine) start(u *unit) {
	d := Deploy{Unit: u.id, Attempt: m.next}
	m.next++
	local := map[Node]int64{}
	var total int64
	for i := range u.of.inputs {
		in := &u.of.inputs[i]
		in.each(u.id.Subtask, func(p *unit) {
			d.Inputs = append(d.Inputs, Source{in.edge, p.id.Subtask, p.attempt, p.node})
			local[p.node] += p.bytes
			total += p.bytes
		})
	}
	e := m.place(local, total)
	d.On = e.id
	e.used++
	u.attempt = d.Attempt
	u.live++
	u.to(running)
	m.attempts[d.Attempt] = &attempt{d.Attempt, u, e}
	m.act(d)
}

// place chooses an executor with a free slot: the one on whose node most of the input is,
// in quarters, then the one of whose slots the least are taken.
func (m *Machine) place(local map[Node]int64, total int64) *executor {
	var best *executor
	var quarters, load float64
	for _, e := range m.executors {
		if e.used >= e.slots {
			continue
		}
		q, l := 0.0, float64(e.used)/float64(e.slots)
		if total > 0 {
			q = math.Round(4 * float64(local[e.node]) / float64(total))
		}
		if best == nil || q > quarters || q == quarters && l < load {
			best, quarters, load = e, q, l
		}
	}
	if best == nil {
		panic("batch: no executor has a slot for a unit that was to be started")
	}
	return best
}
