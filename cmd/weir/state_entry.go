package main

import (
	bits "encoding/binary" // binary is a program here
	"errors"
	"fmt"
	"strconv"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
	"github.com/weirflow/weir/state"
	"github.com/weirflow/weir/state/portable"
)

// entryJSON turns the entries of one state into JSON, by the schema that is stored with
// them. What an entry has is by kind:
//
//	value, list   key, namespace (of windows), value
//	map           key, map_key, value
//	timers        key, namespace, time
//
// and expires, where the state has a time to live.
type entryJSON struct {
	st    state.Stored
	table bool
	key   *codec.JSON
	// part is the namespace or the key within a map; nil where there is none.
	part     *codec.JSON
	partName string
	partType codec.Schema
	// timed says that the key is stored with a time before it: the entry is a timer.
	timed     bool
	value     *codec.JSON // nil for timers
	valueType codec.Schema
	// expires says that the value is stored with its time of expiry before it.
	expires bool
}

// Names of fields in stored schemas, see package state.
const (
	expiresField = "weir:expires"
	valueField   = "weir:value"
)

func newEntryJSON(st state.Stored, form codec.JSONForm) (*entryJSON, error) {
	e := &entryJSON{st: st, table: form == codec.JSONTable, partName: "namespace", partType: st.Schema.Namespace, valueType: st.Schema.Value}
	e.timed = st.Schema.Kind == state.KindTimers
	if st.Schema.Kind == state.KindMap {
		e.partName = "map_key"
	}
	v := &e.valueType
	e.expires = v.Kind == codec.KindStruct && len(v.Fields) == 2 && v.Fields[0].Name == expiresField && v.Fields[1].Name == valueField
	if e.expires {
		e.valueType = v.Fields[1].Type
	}
	var err error
	if e.key, err = codec.NewJSON(st.Schema.Key, form); err != nil {
		return nil, fmt.Errorf("the key of %s: %w", st.Descriptor, err)
	}
	if !isEmpty(&e.partType) {
		if e.part, err = codec.NewJSON(e.partType, form); err != nil {
			return nil, fmt.Errorf("the %s of %s: %w", e.partName, st.Descriptor, err)
		}
	}
	if !e.timed {
		if e.value, err = codec.NewJSON(e.valueType, form); err != nil {
			return nil, fmt.Errorf("the value of %s: %w", st.Descriptor, err)
		}
	}
	return e, nil
}

// isEmpty reports whether values of a type have no content: nothing is stored of them.
func isEmpty(s *codec.Schema) bool {
	switch s.Kind {
	case codec.KindStruct:
		for i := range s.Fields {
			if !isEmpty(&s.Fields[i].Type) {
				return false
			}
		}
		return true
	case codec.KindArray:
		return s.Len == 0 || s.Elem != nil && isEmpty(s.Elem)
	case codec.KindByteArray:
		return s.Len == 0
	}
	return false
}

// append appends the fields of an entry, as those of an object without its braces. own is
// the key alone.
func (j *entryJSON) append(dst []byte, e portable.Entry) (out []byte, own []byte, err error) {
	dst = append(dst, `"key_group":`...)
	dst = strconv.AppendUint(dst, uint64(e.Group), 10)
	key := e.Key
	if j.timed {
		if len(key) < timeSize {
			return dst, nil, j.damaged("key", errors.New("it ends before the timer's time does"))
		}
		at := flow.Time(bits.BigEndian.Uint64(key) ^ 1<<63)
		dst, key = j.appendTime(append(dst, `,"time":`...), at), key[timeSize:]
	}
	dst = append(dst, `,"key":`...)
	at := len(dst)
	dst, rest, err := j.key.Append(dst, key)
	if err != nil {
		return dst, nil, j.damaged("key", err)
	}
	end := len(dst)
	if j.part != nil {
		dst = append(append(append(dst, `,"`...), j.partName...), `":`...)
		if dst, rest, err = j.part.Append(dst, rest); err != nil {
			return dst, nil, j.damaged(j.partName, err)
		}
	}
	if len(rest) > 0 {
		return dst, nil, j.damaged("key", fmt.Errorf("%d bytes too many", len(rest)))
	}
	if dst, err = j.appendValue(dst, e.Value); err != nil {
		return dst, nil, err
	}
	return dst, dst[at:end:end], nil
}

// timeSize is how many bytes of a timer's key are its time, with the sign bit turned
// round so that they are in order; see package state.
const timeSize = 8

// pair is the head of an array of two.
const pair = 0x92

func (j *entryJSON) appendValue(dst, src []byte) ([]byte, error) {
	if j.value == nil {
		return dst, nil
	}
	var err error
	if j.expires {
		if len(src) == 0 || src[0] != pair {
			return dst, j.damaged("value", errors.New("it should begin with a time of expiry"))
		}
		var at int64
		if src, err = microsCodec.Decode(src[1:], &at); err != nil {
			return dst, j.damaged("time of expiry", err)
		}
		dst = j.appendTime(append(dst, `,"expires":`...), flow.Time(at))
	}
	dst, src, err = j.value.Append(append(dst, `,"value":`...), src)
	if err == nil && len(src) > 0 {
		err = fmt.Errorf("%d bytes too many", len(src))
	}
	if err != nil {
		return dst, j.damaged("value", err)
	}
	return dst, nil
}

// microsCodec cannot fail: it is of a number.
var microsCodec, _ = codec.For[int64]()

func (j *entryJSON) appendTime(dst []byte, t flow.Time) []byte {
	if y := t.Std().Year(); j.table && (y < 0 || y > 9999) {
		return append(dst, "null"...)
	}
	return strconv.AppendQuote(dst, t.String())
}

func (j *entryJSON) damaged(part string, err error) error {
	return fmt.Errorf("%w: the %s of an entry of %s: %w", state.ErrCorrupt, part, j.st.Descriptor, err)
}
