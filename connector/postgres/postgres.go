// Package postgres writes records to tables of PostgreSQL, each exactly once.
//
// Its words: a row is what a record, a struct, becomes: its fields are columns. A
// staged file holds the rows of one subtask and epoch, in the binary form of
// PostgreSQL's COPY, beside the job's checkpoint. The mark is the row of the table
// weir_epochs that says which epoch of a job's sink was written last.
//
// Invariants:
//
//  1. The rows of an epoch and its mark are written in one transaction, after the
//     epoch was committed: all of it is seen, or nothing. A repeat sees the mark and
//     writes nothing.
//  2. No transaction is open while an epoch is filled.
//  3. A value that its column cannot take is an error where it is written, before
//     its epoch is committed. What only the table can tell (constraints) is an error
//     of the commit, and the job cannot go on before a person has mended it.
//  4. Memory is bounded: rows are staged and copied in pieces.
//
// With [Key] rows are upserted: of rows with the same key the last one stays, in the
// order in which one subtask wrote them; let records of one key come to one subtask.
// Without it they are appended.
//
// Writers belong to their task's goroutine, committers to the one that calls them.
// Nothing here starts a goroutine of its own.
package postgres

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
)

// Option is a setting of a sink.
type Option interface{ apply(*options) }

type option func(*options)

func (o option) apply(opts *options) { o(opts) }

type options struct {
	url    string
	config *pgx.ConnConfig
	table  pgx.Identifier
	keys   []string
	epochs pgx.Identifier
	err    error

	testing struct {
		step func(step string) error // called between the steps of a commit
	}
}

func (o *options) refuse(format string, args ...any) {
	if o.err == nil {
		o.err = &flow.Failure{Domain: flow.DomainUser, Cause: fmt.Errorf("postgres: "+format, args...)}
	}
}

// Key makes the sink update the row that has the same values in these columns, if
// there is one. The table needs a primary key or a unique index of them.
func Key(columns ...string) Option {
	return option(func(o *options) {
		if len(columns) == 0 {
			o.refuse("Key() names no column; leave it out to append rows")
		}
		o.keys = slices.Clone(columns)
	})
}

// EpochTable sets where the sink keeps its mark: "table" or "schema.table". It is
// made if it is not there. The default is weir_epochs.
func EpochTable(table string) Option {
	return option(func(o *options) { o.epochs = o.identifier("EpochTable", table) })
}

func (o *options) identifier(what, name string) pgx.Identifier {
	id := pgx.Identifier(strings.Split(name, "."))
	if len(id) > 2 || slices.Contains(id, "") {
		o.refuse(`%s is %q; it must be "table" or "schema.table"`, what, name)
	}
	return id
}

// Sink writes structs to a table, "table" or "schema.table", of the database that
// the URL names ("postgres://user:password@host/database"). A field is the column
// that its tag `pg:"name"` names, or else its own name in lower case with
// underscores; `pg:"-"` leaves it out. A nil pointer is NULL. Columns may have any
// type that pgx can make of the field's.
func Sink[T any](url, table string, opts ...Option) operator.Sink[T] {
	s := &sink[T]{}
	s.url = url
	s.table = s.identifier("the table", table)
	s.epochs = pgx.Identifier{"weir_epochs"}
	for _, o := range opts {
		o.apply(&s.options)
	}
	config, err := pgx.ParseConfig(url)
	if err != nil {
		s.refuse("the URL can't be read: %w", err) // it shows no password
	}
	s.config = config
	if s.fields, err = fieldsOf[T](); err != nil {
		s.refuse("%w", err)
	}
	for _, k := range s.keys {
		if !slices.ContainsFunc(s.fields, func(f field) bool { return f.column == k }) {
			s.refuse("Key names the column %q, which no field of %T has", k, *new(T))
		}
	}
	return s
}

type sink[T any] struct {
	options
	fields []field
}

// Validate says what is wrong with the options or the type, before the job runs.
func (s *sink[T]) Validate() error { return s.err }

func (s *sink[T]) Info() operator.SinkInfo {
	mode := "append"
	if len(s.keys) > 0 {
		mode = "upsert by " + strings.Join(s.keys, ",")
	}
	attrs := []graph.Attr{{Key: "table", Value: strings.Join(s.table, ".")}, {Key: "mode", Value: mode}}
	if s.config != nil {
		attrs = append(attrs, graph.Attr{Key: "database", Value: fmt.Sprintf("%s:%d/%s", s.config.Host, s.config.Port, s.config.Database)})
	}
	return operator.SinkInfo{Kind: "postgres", Attrs: attrs, Guarantee: graph.ExactlyOnce}
}

func (s *sink[T]) Writer(ctx *operator.WriterContext) (operator.Writer[T], error) {
	if s.err != nil {
		return nil, s.err
	}
	if ctx.Staging == nil {
		return nil, errors.New("postgres: this run has no place to stage rows until their epoch is committed")
	}
	return newWriter[T](s, ctx)
}

func (s *sink[T]) Committer(ctx *operator.CommitterContext) (operator.Committer, error) {
	if s.err != nil {
		return nil, s.err
	}
	columns := make([]string, len(s.fields))
	for i, f := range s.fields {
		columns[i] = f.column
	}
	return newCommitter(&s.options, columns, ctx), nil
}
