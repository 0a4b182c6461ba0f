package task

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/shuffle"
)

// replay is records that were under way on a channel when the snapshot was taken.
type replay struct {
	from checkpoint.Channel
	node *node // whose records they are
	shuffle.Replayer
}

// openReplays reads the records that are to be taken in first, and sees that they can
// be read as what they are now, before the task runs.
func (t *Task) openReplays() error {
	if t.cfg.Restore == nil {
		return nil
	}
	files := map[string][]byte{} // by blob: many channels are in one
	for i := range t.cfg.Restore.Channels {
		in := &t.cfg.Restore.Channels[i]
		if in.Channel.Records == 0 {
			continue
		}
		r, err := t.openReplay(in, files)
		if err != nil {
			if isEnd(err) {
				return err
			}
			domain := flow.DomainUser // the type has changed too much
			if errors.Is(err, shuffle.ErrCorrupt) || errors.Is(err, errNoRecords) {
				domain = flow.DomainExternal
			}
			return t.failed(&flow.Failure{Domain: domain, Cause: err,
				Message: fmt.Sprintf("records under way to %s in epoch %d: %v", in.Channel.Edge(), t.cfg.Restore.Epoch, err)})
		}
		t.replays = append(t.replays, r)
	}
	return nil
}

// errNoRecords says that storage did not give what it holds.
var errNoRecords = errors.New("they cannot be read from storage")

func (t *Task) openReplay(in *checkpoint.InFlight, files map[string][]byte) (*replay, error) {
	data, ok := files[in.File.Blob]
	if !ok {
		var err error
		if data, err = t.readFile(in.File); err != nil {
			return nil, fmt.Errorf("%w: %w", errNoRecords, err)
		}
		files[in.File.Blob] = data
	}
	at, n := in.Channel.Offset, in.Channel.Length
	if at < 0 || n < 0 || at+n > int64(len(data)) {
		return nil, fmt.Errorf("%w: bytes %d to %d of a file of %d", shuffle.ErrCorrupt, at, at+n, len(data))
	}
	var keep func(flow.Hash) bool
	if in.Filter {
		groups, of := t.nodes[0].ctx.KeyGroups, t.cfg.MaxParallelism
		keep = func(h flow.Hash) bool { return groups.Contains(flow.KeyGroupOf(h, of)) }
	}
	return t.replayTo(in.Channel, data[at:at+n:at+n], keep)
}

// replayTo finds who takes the records: a gate hands them to the head; an operator that
// is in one chain with its producer by now gets them as if they came from there.
func (t *Task) replayTo(c checkpoint.Channel, data []byte, keep func(flow.Hash) bool) (*replay, error) {
	for _, n := range t.nodes {
		if string(n.spec.ID) != c.To {
			continue
		}
		if n == t.nodes[0] {
			if g := t.gateFor(&c); g != nil {
				r, err := g.Gate.Replay(data, keep)
				return &replay{c, n, r}, err
			}
			break
		}
		for _, l := range t.cfg.Chain.Links {
			if l.To != n.spec.ID || l.Port != flow.Port(c.Port) {
				continue
			}
			from := t.nodes[slices.IndexFunc(t.nodes, func(n *node) bool { return n.spec.ID == l.From })]
			e, ok := from.spec.Outputs[l.Output].Impl.(operator.Edge)
			if !ok {
				return nil, fmt.Errorf("output %d of %s has no type here but %T", l.Output, from.spec, from.spec.Outputs[l.Output].Impl)
			}
			r, err := e.NewReplay(n.op.Inlet(l.Port), data, keep, operator.EdgeOptions{Hashes: t.cfg.Hashes})
			return &replay{c, n, r}, err
		}
	}
	return nil, fmt.Errorf("the operator has no input port %d here", c.Port)
}

// gateFor is the gate of a channel's edge, or of another edge at its port where the
// program has changed.
func (t *Task) gateFor(c *checkpoint.Channel) (other *gate) {
	for i := range t.gates {
		g := &t.gates[i]
		switch {
		case g.Port != flow.Port(c.Port):
		case g.Edge.Index == c.Index:
			return g
		case other == nil:
			other = g
		}
	}
	return other
}

func (t *Task) readFile(f checkpoint.File) ([]byte, error) {
	if t.cfg.Files == nil {
		return nil, errors.New("there is no storage")
	}
	r, err := t.cfg.Files([]checkpoint.File{f}).Open(t.ctx, f.Name)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	return data, nil
}

// stepReplay takes in the next records that were under way.
func (t *Task) stepReplay() (bool, error) {
	r := t.replays[0]
	t.at = r.node
	_, ok, err := r.Next()
	if err != nil {
		return true, t.failed(err)
	}
	if ok {
		return true, t.stateErr()
	}
	n := r.Count()
	t.replayed = append(t.replayed, checkpoint.Entry{Account: checkpoint.AccountReplayed, Operator: r.from.To, Port: r.from.Port,
		Index: r.from.Index, Producer: r.from.Producer, Consumer: t.cfg.ID.Subtask, Records: n.Records, Sum: checkpoint.Sum(n.Sum)})
	t.replays[0] = nil
	t.replays = t.replays[1:]
	if len(t.replays) == 0 {
		for _, b := range t.held {
			if err := t.barrier(0, b); err != nil {
				return true, err
			}
		}
		t.held = nil
	}
	return true, nil
}

// write puts the records into a file of the snapshot.
func (f *flight) write(ctx context.Context, to SnapshotFiles) error {
	w, err := to.Create(flightName)
	if err != nil {
		return fmt.Errorf("records that it overtook: %w", err)
	}
	for _, s := range f.sections {
		if err == nil {
			err = context.Cause(ctx)
		}
		if err == nil {
			_, err = w.Write(s)
		}
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return fmt.Errorf("records that it overtook: %w", err)
	}
	return nil
}

// flightName is the name of the file among those of the snapshot.
const flightName = "inflight"
