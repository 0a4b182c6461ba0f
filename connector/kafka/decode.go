package kafka

import (
	"encoding/json"
	"errors"
)

// Decoder makes a value of a record. An error makes it a bad record, and the
// source's policy decides.
type Decoder[T any] func(r Record) (T, error)

// Encoder makes a message of a value.
type Encoder[T any] func(v T) (Message, error)

var errTombstone = errors.New("the record has no value (a tombstone)")

// JSON decodes the record's value. A tombstone is a bad record.
func JSON[T any]() Decoder[T] {
	return func(r Record) (T, error) {
		var v T
		if r.Value == nil {
			return v, errTombstone
		}
		err := json.Unmarshal(r.Value, &v)
		return v, err
	}
}

// String takes the record's value as a string.
func String() Decoder[string] {
	return func(r Record) (string, error) { return string(r.Value), nil }
}

// Bytes takes the record's value as it is.
func Bytes() Decoder[[]byte] {
	return func(r Record) ([]byte, error) { return r.Value, nil }
}

// Records takes whole records.
func Records() Decoder[Record] {
	return func(r Record) (Record, error) { return r, nil }
}

// ToJSON encodes a value as JSON; key may be nil.
func ToJSON[T any](key func(T) []byte) Encoder[T] {
	return func(v T) (Message, error) {
		data, err := json.Marshal(v)
		m := Message{Value: data}
		if key != nil {
			m.Key = key(v)
		}
		return m, err
	}
}

// ToString writes a string as the record's value.
func ToString() Encoder[string] {
	return func(s string) (Message, error) { return Message{Value: []byte(s)}, nil }
}
