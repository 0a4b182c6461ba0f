package hybrid

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/weirflow/weir/operator"
)

// enumerator runs the enumerator of the phase it is in.
type enumerator[T any] struct {
	source *Source[T]
	phase  int
	inner  operator.Enumerator // nil until the next Discover
	// all says that the phase's splits have all been found.
	all bool
	// unfinished are the ids, as the phase has them, of splits that were found and
	// have not been read to their ends.
	unfinished map[string]bool
	// restored is what inner is to be restored from, nil if it begins.
	restored []byte
	// early are splits that finished before inner was made.
	early []string
}

// Discover looks for splits in the phase, and switches when there are none left.
func (e *enumerator[T]) Discover(ctx context.Context) (operator.Discovery, error) {
	for {
		last := e.phase == e.source.last()
		if e.all {
			if last || len(e.unfinished) > 0 {
				return operator.Discovery{Done: last}, nil
			}
			if err := e.leave(); err != nil {
				return operator.Discovery{}, err
			}
			continue
		}
		if e.inner == nil {
			if err := e.enter(ctx); err != nil {
				return operator.Discovery{}, err
			}
		}
		d, err := e.inner.Discover(ctx)
		if err != nil {
			return operator.Discovery{}, fmt.Errorf("hybrid: phase %d: %w", e.phase, err)
		}
		e.all = d.Done
		if len(d.Splits) == 0 && d.Done && !last && len(e.unfinished) == 0 {
			continue
		}
		d.Splits = slices.Clone(d.Splits)
		for i := range d.Splits {
			e.unfinished[d.Splits[i].ID] = true
			d.Splits[i].ID = splitID(e.phase, d.Splits[i].ID)
		}
		if d.Done {
			// Not the end of it all, unless this is the last phase; and until its
			// splits finish there is nothing to look for.
			d.Done, d.After = last, 0
		}
		return d, nil
	}
}

// enter makes the phase's enumerator.
func (e *enumerator[T]) enter(ctx context.Context) error {
	src, err := e.source.enter(ctx, e.phase)
	if err != nil {
		return err
	}
	inner, err := src.Enumerator()
	if err != nil {
		return fmt.Errorf("hybrid: phase %d: %w", e.phase, err)
	}
	if e.restored != nil {
		if err := inner.Restore(e.restored); err != nil {
			return errors.Join(fmt.Errorf("hybrid: phase %d: %w", e.phase, err), inner.Close())
		}
	}
	e.inner, e.restored = inner, nil
	if len(e.early) > 0 {
		inner.Finished(e.early)
		e.early = nil
	}
	return nil
}

// leave ends the phase.
func (e *enumerator[T]) leave() error {
	err := e.Close()
	e.phase++
	e.all, e.restored, e.early = false, nil, nil
	return err
}

func (e *enumerator[T]) Finished(ids []string) {
	var inner []string
	for _, s := range ids {
		phase, id, err := parseID(s)
		if err == nil && phase == e.phase && e.unfinished[id] {
			delete(e.unfinished, id)
			inner = append(inner, id)
		}
	}
	switch {
	case len(inner) == 0:
	case e.inner == nil:
		e.early = append(e.early, inner...)
	default:
		e.inner.Finished(inner)
	}
}

// progress is the enumerator's snapshot.
type progress struct {
	Phase      int      `msgpack:"phase"`
	All        bool     `msgpack:"all"`
	Unfinished []string `msgpack:"unfinished"`
	// Begun says that Inner is a snapshot of the phase's enumerator.
	Begun bool   `msgpack:"begun"`
	Inner []byte `msgpack:"inner"`
	// Early are splits that finished and Inner was not told of.
	Early []string `msgpack:"early,omitempty"`
}

func (e *enumerator[T]) Snapshot() ([]byte, error) {
	p := progress{
		Phase: e.phase, All: e.all, Unfinished: slices.Sorted(maps.Keys(e.unfinished)),
		Begun: e.restored != nil, Inner: e.restored, Early: e.early,
	}
	if e.inner != nil {
		var err error
		if p.Inner, err = e.inner.Snapshot(); err != nil {
			return nil, fmt.Errorf("hybrid: phase %d: %w", e.phase, err)
		}
		p.Begun = true
	}
	return msgpack.Marshal(&p)
}

func (e *enumerator[T]) Restore(data []byte) error {
	var p progress
	if err := msgpack.Unmarshal(data, &p); err != nil {
		return fmt.Errorf("hybrid: restoring the enumerator: %w", err)
	}
	if p.Phase < 0 || p.Phase > e.source.last() {
		return fmt.Errorf("hybrid: the job was in phase %d, but the phases are 0 to %d; go on with the phases that it began with", p.Phase, e.source.last())
	}
	e.phase, e.all, e.early = p.Phase, p.All, p.Early
	for _, id := range p.Unfinished {
		e.unfinished[id] = true
	}
	if p.Begun {
		e.restored = append([]byte{}, p.Inner...)
	}
	return nil
}

func (e *enumerator[T]) Close() error {
	if e.inner == nil {
		return nil
	}
	inner := e.inner
	e.inner = nil
	if err := inner.Close(); err != nil {
		return fmt.Errorf("hybrid: phase %d: %w", e.phase, err)
	}
	return nil
}
