package file

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
)

// TextSink writes each string and a newline to text files in the folder dir. A
// string that holds newlines makes several lines.
func TextSink(dir string, opts ...SinkOption) *Sink[string] {
	set := sinkOptions(opts)
	s := newSink[string]("text", dir, ".txt"+packedSuffix(set.codec), set)
	s.encoder = func(w io.Writer) (encoder[string], error) { return &textEncoder{newLineBuffer(w)}, nil }
	return s
}

func sinkOptions(opts []SinkOption) sinkSettings {
	var set sinkSettings
	for _, o := range opts {
		o(&set)
	}
	return set
}

func packedSuffix(c Codec) string {
	switch c {
	case Gzip:
		return ".gz"
	case Zstd:
		return ".zst"
	}
	return ""
}

// lineBuffer collects small writes, in front of a compressor.
type lineBuffer struct {
	*bufio.Writer
	own bool // it is not the part's own buffer
}

func newLineBuffer(w io.Writer) lineBuffer {
	b, same := w.(*bufio.Writer)
	if !same {
		b = bufio.NewWriterSize(w, 64<<10)
	}
	return lineBuffer{b, !same}
}

func (b lineBuffer) finish() error {
	if b.own {
		return b.Flush()
	}
	return nil
}

// buffered counts what a compressor has not seen as nothing: how small it will
// get is not known.
func (b lineBuffer) buffered() int64 { return 0 }

type textEncoder struct{ lineBuffer }

func (e *textEncoder) encode(v *string) error {
	if _, err := e.WriteString(*v); err != nil {
		return err
	}
	return e.WriteByte('\n')
}

// JSONLinesSink writes each record as a line of JSON, by the rules of
// encoding/json, to files in the folder dir.
func JSONLinesSink[T any](dir string, opts ...SinkOption) *Sink[T] {
	set := sinkOptions(opts)
	s := newSink[T]("json", dir, ".jsonl"+packedSuffix(set.codec), set)
	t := reflect.TypeFor[T]()
	if err := jsonable(t, t.String(), map[reflect.Type]bool{}); err != nil && s.err == nil {
		s.err = err
	}
	s.encoder = func(w io.Writer) (encoder[T], error) {
		e := &jsonEncoder[T]{lineBuffer: newLineBuffer(w)}
		e.enc = json.NewEncoder(e.Writer)
		e.enc.SetEscapeHTML(false)
		return e, nil
	}
	return s
}

type jsonEncoder[T any] struct {
	lineBuffer
	enc *json.Encoder
}

func (e *jsonEncoder[T]) encode(v *T) error {
	if err := e.enc.Encode(v); err != nil {
		return fmt.Errorf("encoding a record: %w", err)
	}
	return nil
}
