package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
)

// ErrReplaced is wrapped by the error of a commit when another run of the same job
// has begun to write to the sink.
var ErrReplaced = errors.New("another run of the job has taken over")

// ErrUnknown is wrapped by the error of a commit when the mark is gone, so that
// nothing tells whether the epoch was written.
var ErrUnknown = errors.New("the mark of the written epochs is gone")

// committer is the job's side of a sink. Each of its transactions begins by locking
// the mark: of two committers one waits until the other has ended, and then sees what
// it has done.
//
// The mark has the attempt beside the epoch, since the epochs of a run that goes back
// to an older checkpoint begin again from there; and a nonce, since runs without a
// checkpoint directory all have attempt 1.
type committer struct {
	*options
	ctx     *operator.CommitterContext
	columns []string
	own     origin
	nonce   string
	claimed bool // the mark has our nonce
	conn    *pgx.Conn
	wait    func(try int) <-chan time.Time
}

// origin is whose epochs are written: a job that was started from another's savepoint
// commits what that one had prepared, under its mark.
type origin struct{ job, sink string }

type mark struct {
	attempt flow.Attempt
	epoch   flow.Epoch
	nonce   string
}

// covers reports whether an epoch has been written, or never will have to be.
func (m mark) covers(e mark) bool {
	if m.attempt != e.attempt {
		return m.attempt > e.attempt
	}
	return m.epoch >= e.epoch
}

var (
	_ operator.Recoverer = (*committer)(nil)
	_ operator.Auditor   = (*committer)(nil)

	errKilled = errors.New("killed") // what tests end a commit with
)

func newCommitter(o *options, columns []string, ctx *operator.CommitterContext) *committer {
	return &committer{
		options: o, ctx: ctx, columns: columns, own: origin{string(ctx.Job), string(ctx.Operator)},
		nonce: strconv.FormatUint(rand.Uint64(), 36),
		wait:  func(try int) <-chan time.Time { return time.After(time.Duration(try) * 200 * time.Millisecond) },
	}
}

// Commit writes the epoch's rows, unless they have been written.
func (c *committer) Commit(ctx context.Context, epoch flow.Epoch, data [][]byte) error {
	parts := map[origin][]prepared{}
	var order []origin
	for _, d := range data {
		p, err := decode(d)
		if err != nil {
			return fmt.Errorf("postgres: committing epoch %d: %w", epoch, err)
		}
		if len(p.Files) == 0 {
			continue
		}
		o := origin{p.Job, p.Operator}
		if parts[o] == nil {
			order = append(order, o)
		}
		parts[o] = append(parts[o], p)
	}
	for _, o := range order {
		at := mark{epoch: epoch}
		for _, p := range parts[o] {
			at.attempt = max(at.attempt, p.Attempt)
		}
		slices.SortStableFunc(parts[o], func(a, b prepared) int { return a.Subtask - b.Subtask })
		err := c.try(ctx, func() error {
			return c.transact(ctx, func(tx pgx.Tx) error { return c.write(ctx, tx, o, at, parts[o]) })
		})
		if err != nil {
			return c.failure(fmt.Sprintf("committing epoch %d of %q to table %s", epoch, c.ctx.Name, quoted(c.table)), err)
		}
	}
	return nil
}

// Records counts the rows of staged files.
func (c *committer) Records(data [][]byte) (int64, error) {
	var n int64
	for _, d := range data {
		p, err := decode(d)
		if err != nil {
			return 0, fmt.Errorf("postgres: counting rows: %w", err)
		}
		for _, f := range p.Files {
			n += f.Rows
		}
	}
	return n, nil
}

// Recover takes over the sink, and looks whether the table is what the sink needs.
func (c *committer) Recover(ctx context.Context, restored flow.Epoch) error {
	err := c.try(ctx, func() error {
		if err := c.open(ctx); err != nil {
			return err
		}
		// To plan the statement finds what is wrong with it.
		if _, err := c.conn.Exec(ctx, "EXPLAIN "+c.insert(quoted(c.table), c.columns, "WHERE false")); err != nil {
			return fmt.Errorf("looking at table %s: %w", quoted(c.table), err)
		}
		return c.transact(ctx, func(tx pgx.Tx) error {
			_, _, err := c.lock(ctx, tx, c.own)
			if err != nil {
				return err
			}
			return c.put(ctx, tx, c.own, mark{c.ctx.Attempt, restored, c.nonce})
		})
	})
	if err != nil {
		return c.failure(fmt.Sprintf("starting sink %q", c.ctx.Name), err)
	}
	c.claimed = true
	return c.step("claimed")
}

// try calls fn until it succeeds, or fails in a way that another try does not mend.
func (c *committer) try(ctx context.Context, fn func() error) error {
	for n := 1; ; n++ {
		err := fn()
		if err == nil {
			return nil
		}
		c.drop()
		if n == 3 || ctx.Err() != nil || !mends(err) {
			return err
		}
		c.ctx.Log.Warn("postgres: writing an epoch failed, trying again", "sink", c.ctx.Name, "err", err, "try", n)
		select {
		case <-c.wait(n):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// transact runs fn in a transaction of its own. Whether it was committed when the
// answer is lost is for the next try to see, by the mark.
func (c *committer) transact(ctx context.Context, fn func(pgx.Tx) error) error {
	if err := c.open(ctx); err != nil {
		return err
	}
	tx, err := c.conn.Begin(ctx)
	if err != nil {
		return fmt.Errorf("beginning a transaction: %w", err)
	}
	if err = c.step("begun"); err == nil {
		err = fn(tx)
	}
	if errors.Is(err, errDone) {
		return tx.Rollback(ctx)
	}
	if err != nil {
		return err // the connection is closed, and with it the transaction
	}
	if err := c.step("written"); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("committing the transaction: %w", err)
	}
	return c.step("ended")
}

// errDone ends a transaction that has nothing to do.
var errDone = errors.New("written before")

func (c *committer) write(ctx context.Context, tx pgx.Tx, o origin, at mark, parts []prepared) error {
	now, there, err := c.lock(ctx, tx, o)
	if err != nil {
		return err
	}
	mine := o == c.own && c.claimed
	switch {
	case mine && (!there || now.nonce != c.nonce):
		return fmt.Errorf("%w: table %s says so (attempt %d, epoch %d; this is attempt %d); a job must run once only, give the other a name of its own",
			ErrReplaced, quoted(c.epochs), now.attempt, now.epoch, c.ctx.Attempt)
	case there && now.covers(at):
		return errDone
	case !there && (o != c.own || at.attempt != c.ctx.Attempt):
		return fmt.Errorf("%w: table %s has no row for job %q and sink %q, which there was when epoch %d was written; look whether its rows are in the table, "+
			"and insert (job, sink, attempt, epoch, nonce) = ('%[3]s', '%[4]s', %[6]d, %[5]d, '-') if they are, or with epoch %[7]d if not",
			ErrUnknown, quoted(c.epochs), o.job, o.sink, at.epoch, at.attempt, at.epoch-1)
	}
	if err := c.step("locked"); err != nil {
		return err
	}
	columns := parts[0].Columns
	target := quoted(c.table)
	if len(c.keys) > 0 {
		target = "weir_rows"
		_, err := tx.Exec(ctx, "CREATE TEMP TABLE weir_rows ON COMMIT DROP AS SELECT "+names(columns)+" FROM "+quoted(c.table)+" WITH NO DATA")
		if err == nil {
			// Of rows with one key the last one stays.
			_, err = tx.Exec(ctx, "ALTER TABLE weir_rows ADD weir_n bigint GENERATED ALWAYS AS IDENTITY")
		}
		if err != nil {
			return fmt.Errorf("making a temporary table: %w", err)
		}
	}
	for _, p := range parts {
		if !slices.Equal(p.Columns, columns) {
			return fmt.Errorf("subtask %d prepared the columns %q, another one %q", p.Subtask, p.Columns, columns)
		}
		for _, f := range p.Files {
			if err := c.copy(ctx, tx, target, columns, f); err != nil {
				return fmt.Errorf("subtask %d: %w", p.Subtask, err)
			}
			if err := c.step("file"); err != nil {
				return err
			}
		}
	}
	if len(c.keys) > 0 {
		keys := names(c.keys)
		last := "(SELECT DISTINCT ON (" + keys + ") " + names(columns) + " FROM weir_rows ORDER BY " + keys + ", weir_n DESC) AS last"
		if _, err := tx.Exec(ctx, c.insert(last, columns, "")); err != nil {
			return fmt.Errorf("updating rows: %w", err)
		}
	}
	nonce := now.nonce
	if mine {
		nonce = c.nonce
	}
	return c.put(ctx, tx, o, mark{at.attempt, at.epoch, nonce})
}

// insert is the statement that takes rows over from somewhere.
func (c *committer) insert(from string, columns []string, where string) string {
	s := "INSERT INTO " + quoted(c.table) + " (" + names(columns) + ") SELECT " + names(columns) + " FROM " + from + " " + where
	if len(c.keys) == 0 {
		return s
	}
	s += " ON CONFLICT (" + names(c.keys) + ") DO "
	var set []string
	for _, col := range columns {
		if !slices.Contains(c.keys, col) {
			id := quoted(pgx.Identifier{col})
			set = append(set, id+" = EXCLUDED."+id)
		}
	}
	if len(set) == 0 {
		return s + "NOTHING"
	}
	return s + "UPDATE SET " + strings.Join(set, ", ")
}

func (c *committer) copy(ctx context.Context, tx pgx.Tx, target string, columns []string, f rowFile) error {
	if c.ctx.Staging == nil {
		return errors.New("this run has no checkpoint storage to read staged rows from")
	}
	r, err := c.ctx.Staging.Open(ctx, f.File)
	if err != nil {
		return fmt.Errorf("opening the staged file %q: %w", f.File.Blob, err)
	}
	tag, err := tx.Conn().PgConn().CopyFrom(ctx, r, "COPY "+target+" ("+names(columns)+") FROM STDIN BINARY")
	err = errors.Join(err, r.Close())
	if err != nil {
		return fmt.Errorf("copying the staged file %q: %w", f.File.Blob, err)
	}
	if tag.RowsAffected() != f.Rows {
		return fmt.Errorf("the staged file %q has %d rows, not the %d that were written", f.File.Blob, tag.RowsAffected(), f.Rows)
	}
	return nil
}

// Close ends the connection.
func (c *committer) Close() error {
	c.drop()
	return nil
}

func (c *committer) drop() {
	if c.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.conn.Close(ctx) // whatever is open is rolled back
	c.conn = nil
}

func (c *committer) step(name string) error {
	if c.testing.step == nil {
		return nil
	}
	return c.testing.step(name)
}

// mends reports whether a new connection can be better.
func mends(err error) bool {
	if f, ok := errors.AsType[*flow.Failure](err); ok {
		return f.Retryable
	}
	if errors.Is(err, ErrReplaced) || errors.Is(err, ErrUnknown) || errors.Is(err, errKilled) {
		return false
	}
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return true // the network's
	}
	switch pg.Code[:2] {
	case "08", "40", "53", "57", "58", "55": // connection, rollback, resources, intervention, system, lock
		return true
	}
	return false
}
