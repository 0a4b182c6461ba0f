package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
)

const (
	// copyHeader begins COPY's binary form; no flags, no extension.
	copyHeader = "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	// copyTrailer ends it: a row of -1 columns.
	copyTrailer = "\xff\xff"

	flushBytes = 64 << 10
	rollStaged = 256 << 20
	// connectWait is how long a connection may take to come about.
	connectWait = 15 * time.Second
)

// prepared is what a writer hands to the committer: msgpack, see
// docs/format/postgres.md.
type prepared struct {
	Job      string       `msgpack:"job"`
	Operator string       `msgpack:"operator"`
	Attempt  flow.Attempt `msgpack:"attempt"`
	Subtask  int          `msgpack:"subtask"`
	Columns  []string     `msgpack:"columns"`
	Files    []rowFile    `msgpack:"files"`
}

type rowFile struct {
	File checkpoint.File `msgpack:"file"`
	Rows int64           `msgpack:"rows"`
}

// writer is the task's side of a sink. It turns records into rows of the table's own
// types: the database has been asked for them when the writer was made.
type writer[T any] struct {
	*sink[T]
	task  *operator.WriterContext
	types *pgtype.Map
	oids  []uint32
	file  operator.StagedWriter // nil until there is a row
	buf   []byte
	size  int64 // of file
	rows  int64 // in file
	count int64 // all, for errors
	ready []rowFile
}

func newWriter[T any](s *sink[T], ctx *operator.WriterContext) (operator.Writer[T], error) {
	w := &writer[T]{sink: s, task: ctx}
	c, cancel := context.WithTimeout(ctx.Context, connectWait)
	defer cancel()
	conn, err := s.connect(c, "writer")
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(c) }()
	columns := make([]string, len(s.fields))
	for i, f := range s.fields {
		columns[i] = f.column
	}
	if w.oids, err = s.describe(c, conn, columns); err != nil {
		return nil, err
	}
	w.types = conn.TypeMap()
	return w, nil
}

// describe asks for the types of columns.
func (o *options) describe(ctx context.Context, conn *pgx.Conn, columns []string) ([]uint32, error) {
	d, err := conn.Prepare(ctx, "", "SELECT "+names(columns)+" FROM "+quoted(o.table))
	if err != nil {
		return nil, o.failure("looking at table "+quoted(o.table)+" and its columns", err)
	}
	oids := make([]uint32, len(d.Fields))
	for i, f := range d.Fields {
		oids[i] = f.DataTypeOID
	}
	return oids, nil
}

func (w *writer[T]) Write(b *flow.Batch[T]) error {
	var bytes int64
	for i := range b.Values {
		before := len(w.buf)
		if w.file == nil {
			var err error
			name := fmt.Sprintf("postgres-%s-%d", w.task.Operator, w.task.Subtask)
			if w.file, err = w.task.Staging.Create(w.task.Context, name); err != nil {
				return fmt.Errorf("postgres: staging for table %s: %w", quoted(w.table), err)
			}
			w.buf, w.size, w.rows, before = append(w.buf[:0], copyHeader...), 0, 0, len(copyHeader)
		}
		if err := w.append(reflect.ValueOf(&b.Values[i]).Elem()); err != nil {
			return err
		}
		w.rows++
		w.count++
		bytes += int64(len(w.buf) - before)
		if len(w.buf) >= flushBytes {
			if err := w.flush(); err != nil {
				return err
			}
			if w.size >= rollStaged {
				if err := w.end(); err != nil {
					return err
				}
			}
		}
	}
	w.task.Metrics.Bytes.Add(bytes)
	return nil
}

// append appends a row.
func (w *writer[T]) append(v reflect.Value) error {
	w.buf = binary.BigEndian.AppendUint16(w.buf, uint16(len(w.fields)))
	for i, f := range w.fields {
		at := len(w.buf)
		w.buf = append(w.buf, 0xff, 0xff, 0xff, 0xff) // NULL
		buf, err := w.types.Encode(w.oids[i], pgtype.BinaryFormatCode, v.FieldByIndex(f.index).Interface(), w.buf)
		if err != nil {
			return fmt.Errorf("postgres: record %d of this subtask: its field for column %q of table %s: %w",
				w.count+1, f.column, quoted(w.table), &flow.Failure{Domain: flow.DomainUser, Cause: err})
		}
		if buf == nil {
			continue
		}
		w.buf = buf
		binary.BigEndian.PutUint32(w.buf[at:], uint32(len(w.buf)-at-4))
	}
	return nil
}

func (w *writer[T]) flush() error {
	n, err := w.file.Write(w.buf)
	w.size += int64(n)
	w.buf = w.buf[:0]
	if cap(w.buf) > 16*flushBytes {
		w.buf = nil // a huge row must not be paid for to the end
	}
	if err != nil {
		return fmt.Errorf("postgres: staging for table %s: %w", quoted(w.table), err)
	}
	return nil
}

// end makes the file part of the epoch.
func (w *writer[T]) end() error {
	if w.file == nil {
		return nil
	}
	w.buf = append(w.buf, copyTrailer...)
	if err := w.flush(); err != nil {
		return err
	}
	f, err := w.file.Commit()
	if err != nil {
		return fmt.Errorf("postgres: staging for table %s: %w", quoted(w.table), err)
	}
	w.ready = append(w.ready, rowFile{f, w.rows})
	w.file = nil
	return nil
}

// Idle has nothing to do: what is staged shows only after a commit.
func (*writer[T]) Idle() error { return nil }

// Prepare ends the epoch's files.
func (w *writer[T]) Prepare(b flow.Barrier) ([]byte, error) {
	if err := w.end(); err != nil {
		return nil, err
	}
	if len(w.ready) == 0 {
		return nil, nil
	}
	p := prepared{Job: string(w.task.Job), Operator: string(w.task.Operator), Attempt: w.task.Attempt, Subtask: w.task.Subtask, Files: w.ready}
	for _, f := range w.fields {
		p.Columns = append(p.Columns, f.column)
	}
	data, err := msgpack.Marshal(&p)
	if err != nil {
		return nil, fmt.Errorf("postgres: preparing %s: %w", b, err)
	}
	w.ready = nil
	return data, nil
}

func (*writer[T]) Tick(flow.Time) error { return nil }

// Close drops what is in no epoch.
func (w *writer[T]) Close() error {
	if w.file != nil {
		w.file.Abort()
		w.file = nil
	}
	return nil
}

func decode(data []byte) (prepared, error) {
	var p prepared
	if len(data) == 0 {
		return p, nil
	}
	if err := msgpack.Unmarshal(data, &p); err != nil {
		return p, fmt.Errorf("what was prepared can't be read: %w", err)
	}
	if len(p.Columns) == 0 {
		return p, errors.New("what was prepared names no columns")
	}
	return p, nil
}
