package registry

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/weirflow/weir/api"
)

func (cmd *RegisterNode) apply(c *change) error {
	info := cmd.Node
	if err := checkName("a node", string(info.ID)); err != nil {
		return err
	}
	if err := checkName("a node", info.Name); err != nil {
		return err
	}
	if info.Slots < 0 {
		return fmt.Errorf("%w: node %s has %d slots", ErrRefused, info.Name, info.Slots)
	}
	form, err := marshal(&info)
	if err != nil {
		return fmt.Errorf("%w: node %s: %w", ErrForm, info.Name, err)
	}
	if len(form) > MaxNode {
		return fmt.Errorf("%w: what node %s tells of itself takes %d bytes, at most %d are possible: give it fewer or shorter tags",
			ErrLimit, info.Name, len(form), MaxNode)
	}
	for _, other := range c.s.nodes {
		if other.Info.Name == info.Name && other.Info.ID != info.ID && !other.Gone() {
			return fmt.Errorf("%w: the name %s is that of another node, at %s, which is here: give this one another name, "+
				"or wait until that one is lost", ErrRefused, info.Name, cut(other.Info.RPC, MaxName))
		}
	}
	was := c.s.nodes[info.ID]
	switch {
	case was == nil:
		if err := c.makeRoomForNode(); err != nil {
			return err
		}
		n := &Node{Info: info, Status: api.NodeReady, Since: c.time, Registration: 1, Life: cmd.Life, Index: c.index}
		c.s.nodes[info.ID] = n
		c.note(Event{Kind: EventNode, Node: info.ID, Text: "node " + info.Name + " is here"})
		return nil
	case was.Gone():
		n := was.clone()
		n.Info, n.Status, n.Reason, n.Since, n.Index, n.Life = info, api.NodeReady, "", c.time, c.index, cmd.Life
		n.Registration++
		c.s.nodes[info.ID] = n
		c.note(Event{Kind: EventNode, Node: info.ID, Text: "node " + info.Name + " is back"})
		return nil
	case cmd.Life != 0 && cmd.Life < was.Life:
		return fmt.Errorf("%w: this is told by start %d of the agent %s, and start %d was heard", ErrRefused, cmd.Life, info.Name, was.Life)
	}
	anew := cmd.Life > was.Life
	old, err := marshal(&was.Info)
	if err != nil {
		return fmt.Errorf("%w: node %s: %w", ErrForm, info.Name, err)
	}
	same := bytes.Equal(old, form)
	if same && !anew && (!cmd.Fresh || len(was.Allocs) == 0) {
		c.result.Repeat = true
		return nil
	}
	n := was.clone()
	n.Info, n.Index, n.Life = info, c.index, max(was.Life, cmd.Life)
	c.s.nodes[info.ID] = n
	if cmd.Fresh || anew {
		c.loseAllocs(info.ID, "its agent was started anew")
		c.note(Event{Kind: EventNode, Node: info.ID, Text: "node " + info.Name + " was started anew"})
	}
	return nil
}

// makeRoomForNode forgets the node that has been gone for longest, if it must.
func (c *change) makeRoomForNode() error {
	if len(c.s.nodes) < MaxNodes {
		return nil
	}
	var oldest *Node
	for _, n := range c.s.nodes {
		if n.Gone() && (oldest == nil || cmp.Or(cmp.Compare(n.Since, oldest.Since), cmp.Compare(n.Info.ID, oldest.Info.ID)) < 0) {
			oldest = n
		}
	}
	if oldest == nil {
		return fmt.Errorf("%w: there are %d nodes, and no more are possible", ErrLimit, MaxNodes)
	}
	delete(c.s.nodes, oldest.Info.ID)
	return nil
}

func (cmd *SetNodeStatus) apply(c *change) error {
	was := c.s.nodes[cmd.Node]
	if was == nil {
		return fmt.Errorf("%w: node %.100q", ErrNotFound, cmd.Node)
	}
	if cmd.At != 0 && was.Index > cmd.At {
		return fmt.Errorf("%w: node %s has changed at %d, after %d", ErrConflict, was.Info.Name, was.Index, cmd.At)
	}
	if was.Status == cmd.Status {
		c.result.Repeat = true
		return nil
	}
	switch cmd.Status {
	case api.NodeLost, api.NodeLeft:
	case api.NodeReady, api.NodeDraining:
		if was.Gone() {
			return fmt.Errorf("%w: node %s is %s: it has to come back first", ErrRefused, was.Info.Name, was.Status)
		}
	case api.NodeDrained:
		if was.Status != api.NodeDraining || len(was.Allocs) > 0 {
			return fmt.Errorf("%w: node %s is %s and runs %d executors: it is not drained",
				ErrRefused, was.Info.Name, was.Status, len(was.Allocs))
		}
	default:
		return fmt.Errorf("%w: %.40q is no status of a node", ErrRefused, cmd.Status)
	}
	if was.Status == api.NodeLost && cmd.Status == api.NodeLeft || was.Status == api.NodeLeft && cmd.Status == api.NodeLost {
		c.result.Repeat = true // gone is gone
		return nil
	}
	n := was.clone()
	n.Status, n.Reason, n.Since, n.Index = cmd.Status, cut(cmd.Reason, MaxText), c.time, c.index
	c.s.nodes[cmd.Node] = n
	text := "node " + n.Info.Name + " is " + string(n.Status)
	if n.Reason != "" {
		text += ": " + n.Reason
	}
	c.note(Event{Kind: EventNode, Node: cmd.Node, Text: text})
	if n.Gone() {
		c.loseAllocs(cmd.Node, text)
	}
	return nil
}

// loseAllocs ends all that runs on a node.
func (c *change) loseAllocs(node api.NodeID, why string) {
	for _, id := range slices.Clone(c.s.nodes[node].Allocs) {
		status := c.s.allocs[id].Status // its last lines stay readable
		status.State, status.Exit = api.AllocLost, why
		c.updateAlloc(c.s.allocs[id], status)
	}
}
