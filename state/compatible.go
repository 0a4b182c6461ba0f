package state

import (
	"errors"
	"fmt"

	"github.com/weirflow/weir/flow/codec"
)

// advice ends the message of a state that is refused.
const advice = "give the state back its old types, or another name to start it afresh, or tell how the old type " +
	"becomes the new one by a migration"

// Compatible compares what is stored of a state with what the program declares
// now. It is what the state's Loader decides, without the types at hand: the check
// before a job is started. The error, a [*SchemaError], has all differences; it is
// nil too where a time to live was added or taken away.
//
// Where a migration is registered for the state, what the migration's older type can
// read is taken over too: see [Migration.From].
func Compatible(written, now Schema) error {
	var e SchemaError
	if written.Kind != now.Kind {
		e.Kind = &[2]Kind{written.Kind, now.Kind}
		return &e
	}
	e.add("key", codec.Compatible(written.Key, now.Key, codec.ForKey))
	e.add(now.Kind.part(), codec.Compatible(written.Namespace, now.Namespace, codec.ForPart))
	e.add("value", codec.Compatible(plainValue(written), plainValue(now), codec.ForValue))
	if len(e.Parts) == 0 {
		return nil
	}
	return &e
}

// SchemaError is all that keeps a state from being taken over.
type SchemaError struct {
	// Kind is the stored and the declared kind, where they differ.
	Kind *[2]Kind
	// Parts are the differences, each with "key", "namespace" or "value" before it.
	Parts []PartDifference
}

// PartDifference is a difference in one part of a state's entries.
type PartDifference struct {
	Part string
	codec.Difference
}

// String is `value: field Count: int64 → string: the kinds differ`.
func (d PartDifference) String() string { return d.Part + ": " + d.Difference.String() }

func (e *SchemaError) add(part string, err error) {
	var list *codec.SchemaError
	if errors.As(err, &list) {
		for _, d := range list.Differences {
			e.Parts = append(e.Parts, PartDifference{part, d})
		}
	}
}

// Error has a line for each difference where there are several.
func (e *SchemaError) Error() string {
	if e.Kind != nil {
		return fmt.Sprintf("it was a %s and is a %s now", e.Kind[0], e.Kind[1])
	}
	if len(e.Parts) == 1 {
		return e.Parts[0].String()
	}
	s := ""
	for _, d := range e.Parts {
		s += "\n  " + d.String()
	}
	return s
}

// labelled is err with the part of an entry that it is about.
func labelled(part string, err error) error {
	var list *codec.SchemaError
	if !errors.As(err, &list) {
		return fmt.Errorf("%s: %w", part, err)
	}
	var e SchemaError
	e.add(part, list)
	return &e
}

// merged is errors of several parts as one, nil where there is none.
func merged(errs []error) error {
	var all SchemaError
	for _, err := range errs {
		var e *SchemaError
		switch {
		case err == nil:
		case errors.As(err, &e):
			all.Parts = append(all.Parts, e.Parts...)
		default:
			return err
		}
	}
	if len(all.Parts) == 0 {
		return nil
	}
	return &all
}

// labelledState is err with the state that it is about.
func labelledState(d Descriptor, err error) error { return fmt.Errorf("%s: value: %w", d, err) }

// part is what the second part of a key is called in messages.
func (k Kind) part() string {
	if k == KindMap {
		return "map key"
	}
	return "namespace"
}
