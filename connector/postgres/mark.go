package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/zeebo/xxh3"

	"github.com/weirflow/weir/flow"
)

// idleLimit is how long the server lets a transaction of ours stand still: one whose
// host has gone must not keep the mark locked for ever.
const idleLimit = time.Minute

// lockWait is how long to wait for the mark before whoever has locked it is ended.
const lockWait = 2 * time.Second

// quoted is a name as SQL wants it.
func quoted(id pgx.Identifier) string { return id.Sanitize() } //nolint:misspell // pgx's name

func names(columns []string) string {
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = quoted(pgx.Identifier{c})
	}
	return strings.Join(list, ", ")
}

// connect makes a connection; role is seen in the server's list of them.
func (o *options) connect(ctx context.Context, role string) (*pgx.Conn, error) {
	config := o.config.Copy()
	config.RuntimeParams["application_name"] = "weir " + role
	config.RuntimeParams["idle_in_transaction_session_timeout"] = fmt.Sprint(idleLimit.Milliseconds())
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, o.failure("connecting", err)
	}
	return conn, nil
}

// role tells the connections of a sink's committers from others.
func (c *committer) role() string {
	return fmt.Sprintf("committer %016x", xxh3.HashString(c.own.job+"\x00"+c.own.sink))
}

// open makes sure that there is a connection, and a table for marks.
func (c *committer) open(ctx context.Context) error {
	if c.conn != nil {
		return nil
	}
	within, cancel := context.WithTimeout(ctx, connectWait)
	defer cancel()
	conn, err := c.connect(within, c.role())
	if err != nil {
		return err
	}
	c.conn = conn
	if err := c.step("connected"); err != nil {
		return err
	}
	var there bool
	if err := conn.QueryRow(within, "SELECT to_regclass($1) IS NOT NULL", quoted(c.epochs)).Scan(&there); err != nil {
		return fmt.Errorf("looking for table %s: %w", quoted(c.epochs), err)
	}
	if there {
		return nil
	}
	_, err = conn.Exec(within, "CREATE TABLE IF NOT EXISTS "+quoted(c.epochs)+epochColumns)
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "23505" {
		err = nil // two have made it at the same time
	}
	if err != nil {
		return fmt.Errorf("making the table of epochs; where the user may not, let somebody else run CREATE TABLE %s%s: %w", quoted(c.epochs), epochColumns, err)
	}
	return nil
}

const epochColumns = " (job text, sink text, attempt bigint NOT NULL, epoch bigint NOT NULL, nonce text NOT NULL, written timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (job, sink))"

// lock reads the mark of an origin and keeps it locked to the transaction's end.
func (c *committer) lock(ctx context.Context, tx pgx.Tx, o origin) (m mark, there bool, err error) {
	if _, err := tx.Exec(ctx, fmt.Sprintf("SET LOCAL lock_timeout = '%dms'", lockWait.Milliseconds())); err != nil {
		return m, false, fmt.Errorf("setting lock_timeout: %w", err)
	}
	err = tx.QueryRow(ctx, "SELECT attempt, epoch, nonce FROM "+quoted(c.epochs)+" WHERE job = $1 AND sink = $2 FOR UPDATE", o.job, o.sink).
		Scan(&m.attempt, &m.epoch, &m.nonce)
	if errors.Is(err, pgx.ErrNoRows) {
		return m, false, nil
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "55P03" {
		// An attempt that was replaced stands still in the middle of its transaction, or
		// does not know yet that it was. Ended, it will see.
		err = fmt.Errorf("waiting for the mark: %w", errors.Join(err, c.endOthers(ctx)))
	}
	if err != nil {
		return m, false, fmt.Errorf("reading the mark in table %s: %w", quoted(c.epochs), err)
	}
	if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = DEFAULT"); err != nil {
		return m, false, fmt.Errorf("setting lock_timeout: %w", err)
	}
	return m, true, nil
}

// endOthers ends the connections of other committers of this sink.
func (c *committer) endOthers(ctx context.Context) error {
	conn, err := c.connect(ctx, "recovery")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	var n int
	err = conn.QueryRow(ctx, `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
		WHERE application_name = $1 AND usename = current_user AND datname = current_database() AND pid <> $2`, "weir "+c.role(), c.conn.PgConn().PID()).Scan(&n)
	if err == nil && n > 0 {
		c.ctx.Log.Warn("postgres: ended connections of a run of the job that was replaced", "sink", c.ctx.Name, "connections", n)
	}
	return err
}

// put writes the mark.
func (c *committer) put(ctx context.Context, tx pgx.Tx, o origin, m mark) error {
	_, err := tx.Exec(ctx, "INSERT INTO "+quoted(c.epochs)+` (job, sink, attempt, epoch, nonce) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (job, sink) DO UPDATE SET attempt = EXCLUDED.attempt, epoch = EXCLUDED.epoch, nonce = EXCLUDED.nonce, written = now()`,
		o.job, o.sink, int64(m.attempt), int64(m.epoch), m.nonce)
	if err != nil {
		return fmt.Errorf("writing the mark to table %s: %w", quoted(c.epochs), err)
	}
	return nil
}

// failure classifies an error.
func (o *options) failure(doing string, err error) error {
	if _, ok := errors.AsType[*flow.Failure](err); ok {
		return fmt.Errorf("postgres: %s: %w", doing, err)
	}
	f := &flow.Failure{Domain: flow.DomainExternal, Retryable: mends(err), Cause: err}
	where := fmt.Sprintf("%s:%d, database %q", o.config.Host, o.config.Port, o.config.Database)
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return fmt.Errorf("postgres: %s (%s): %w", doing, where, f)
	}
	advice := ""
	switch {
	case pg.Code == "42P01":
		advice = "the table does not exist; create it first, or correct the name"
	case pg.Code == "42703":
		advice = "a field has no column in the table; correct the tag `pg:\"column\"`, leave the field out with `pg:\"-\"`, or add the column"
	case pg.Code == "42P10":
		advice = "Key needs a primary key or unique index of exactly these columns: " + strings.Join(o.keys, ", ")
	case pg.Code == "42501" || pg.Code[:2] == "28":
		advice = "the user lacks the right, or the password is wrong"
	case pg.Code[:2] == "23" || pg.Code[:2] == "22":
		advice = "the table does not take a row of the epoch (" + strings.TrimSpace(pg.Detail+" "+pg.ConstraintName+" "+pg.ColumnName) +
			"); nothing of it was written. Change the table so that it does, and start the job again"
	default:
		return fmt.Errorf("postgres: %s (%s): %w", doing, where, f)
	}
	if pg.Code[:2] == "42" {
		f.Domain = flow.DomainUser
	}
	return fmt.Errorf("postgres: %s (%s): %s: %w", doing, where, advice, f)
}
