//go:build integration

package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/weirflow/weir/connector/collect/sinktest"
	"github.com/weirflow/weir/connector/postgres"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
)

type order struct {
	ID     int64
	Name   string
	Amount float64
	Tags   []string
	Raw    []byte
	At     time.Time
	Note   *string
	Small  uint16 `pg:"small"`
}

const columns = "(id bigint %s, name text, amount float8 NOT NULL, tags text[], raw bytea, at timestamptz, note text, small int, extra text DEFAULT 'x')"

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// database connects to the server at WEIR_POSTGRES and makes a table.
func database(t *testing.T, key string) (url, table string, conn *pgx.Conn) {
	t.Helper()
	url = os.Getenv("WEIR_POSTGRES")
	if url == "" {
		t.Skip("WEIR_POSTGRES is not set; start a server by scripts/postgres/server and set it to the URL")
	}
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	table = fmt.Sprintf("%s_%d", strings.ToLower(strings.ReplaceAll(t.Name(), "/", "_")), time.Now().UnixNano())
	_, err = conn.Exec(t.Context(), "CREATE TABLE "+table+fmt.Sprintf(columns, key))
	must(t, err)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		_, _ = conn.Exec(ctx, "DROP TABLE "+table)
		_ = conn.Close(ctx)
	})
	return url, table, conn
}

func orders(from, to int64) []order {
	var all []order
	for i := from; i < to; i++ {
		o := order{ID: i, Name: fmt.Sprint("order ", i), Amount: float64(i) / 2, Tags: []string{"a", fmt.Sprint(i)}, Raw: []byte{0, byte(i)},
			At: time.UnixMicro(1_700_000_000_000_000 + i).UTC(), Small: uint16(i)}
		if i%2 == 0 {
			o.Note = &o.Name
		}
		all = append(all, o)
	}
	return all
}

func read(t *testing.T, url, table string) []order {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	defer conn.Close(t.Context())
	rows, err := conn.Query(t.Context(), "SELECT id, name, amount, tags, raw, at, note, small FROM "+table+" ORDER BY id, name")
	must(t, err)
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[order])
	must(t, err)
	for i := range all {
		all[i].At = all[i].At.UTC()
	}
	return all
}

func wantRows(t *testing.T, url, table string, want []order) {
	t.Helper()
	if got := read(t, url, table); len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
		t.Fatalf("%d rows, want %d: %v", len(got), len(want), got[:min(3, len(got))])
	}
}

func newJob(name string) *sinktest.Job[order] {
	return &sinktest.Job[order]{Name: flow.JobID(name), Staging: &sinktest.Staging{}, Subtasks: 2}
}

func epoch(t *testing.T, j *sinktest.Job[order], rows ...order) {
	t.Helper()
	must(t, j.Write(rows...))
	_, err := j.End(t.Context())
	must(t, err)
}

func TestAppend(t *testing.T) {
	url, table, _ := database(t, "")
	sink := postgres.Sink[order](url, "public."+table)
	j := newJob(table)
	must(t, j.Start(t.Context(), sink))
	must(t, j.Write(orders(0, 5000)...))
	wantRows(t, url, table, nil)
	_, err := j.End(t.Context())
	must(t, err)
	for range 3 {
		must(t, j.Committer.Commit(t.Context(), j.Epoch, j.Prepared))
	}
	if n, err := j.Committer.(operator.Auditor).Records(j.Prepared); n != 5000 || err != nil {
		t.Error(n, err)
	}
	epoch(t, j)
	epoch(t, j, orders(5000, 5010)...)
	for range 3 {
		must(t, j.Start(t.Context(), sink))
	}
	j.Stop()
	wantRows(t, url, table, orders(0, 5010))
	// A run that begins anew, with numbers that were there before.
	k := newJob(table)
	must(t, k.Start(t.Context(), sink))
	epoch(t, k, orders(5010, 5020)...)
	k.Stop()
	wantRows(t, url, table, orders(0, 5020))
}

func TestUpsert(t *testing.T) {
	url, table, conn := database(t, "PRIMARY KEY")
	sink := postgres.Sink[order](url, table, postgres.Key("id"))
	j := newJob(table)
	j.Subtasks = 1
	must(t, j.Start(t.Context(), sink))
	rows := orders(0, 10)
	old := slices.Clone(rows)
	for i := range old {
		old[i].Name, old[i].Note = "old", nil
	}
	epoch(t, j, old[:5]...)
	_, err := conn.Exec(t.Context(), "UPDATE "+table+" SET extra = 'kept'")
	must(t, err)
	// Twice in one epoch: the last one stays.
	epoch(t, j, append(slices.Clone(old), rows...)...)
	wantRows(t, url, table, rows)
	var kept int
	must(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM "+table+" WHERE extra = 'kept'").Scan(&kept))
	if kept != 5 {
		t.Errorf("%d rows have what was not the sink's", kept)
	}
	j.Stop()
}

// TestKills kills the process between any two steps, over and over.
func TestKills(t *testing.T) {
	for _, key := range []string{"", "PRIMARY KEY"} {
		seen := map[string]bool{}
		for seed := range uint64(15) {
			rng := rand.New(rand.NewPCG(seed, 5))
			url, table, _ := database(t, key)
			left := 8
			kill := func(step string) error {
				if left > 0 && rng.IntN(8) == 0 {
					left--
					seen[step] = true
					return postgres.ErrKilled
				}
				return nil
			}
			opts := []postgres.Option{postgres.Step(kill)}
			if key != "" {
				opts = append(opts, postgres.Key("id"))
			}
			sink := postgres.Sink[order](url, table, opts...)
			j := newJob(table)
			j.BeforeManifest = func() error { return kill("manifest") }
			var want []order
			running := false
			for n := int64(0); n < 8; {
				var err error
				if !running {
					if err = j.Start(t.Context(), sink); err == nil {
						running = true
					}
				} else {
					rows := orders(10*n, 10*n+1+rng.Int64N(9))
					must(t, j.Write(rows...))
					var in bool
					if in, err = j.End(t.Context()); in {
						want = append(want, rows...)
						n++
					}
				}
				if err != nil {
					if !errors.Is(err, postgres.ErrKilled) {
						t.Fatalf("seed %d: %v", seed, err)
					}
					running = false
				}
			}
			if !running {
				must(t, j.Start(t.Context(), sink))
			}
			j.Stop()
			wantRows(t, url, table, want)
		}
		for _, s := range []string{"connected", "begun", "locked", "file", "written", "ended", "claimed", "manifest"} {
			if !seen[s] {
				t.Errorf("nothing was killed at %q", s)
			}
		}
	}
}

// A zombie stands still with the mark locked, and wakes up when its successor has gone
// on.
func TestZombie(t *testing.T) {
	url, table, _ := database(t, "")
	plain := postgres.Sink[order](url, table)
	var old, next *sinktest.Job[order]
	armed := false
	sink := postgres.Sink[order](url, table, postgres.Step(func(s string) error {
		if !armed || s != "written" {
			return nil
		}
		armed = false
		next = &sinktest.Job[order]{Name: old.Name, Staging: old.Staging, Attempt: old.Attempt, Epoch: old.Epoch, Prepared: old.Prepared}
		must(t, next.Start(t.Context(), plain))
		epoch(t, next, orders(2, 3)...)
		return nil
	}))
	old = newJob(table)
	must(t, old.Start(t.Context(), sink))
	epoch(t, old, orders(0, 1)...)
	armed = true
	must(t, old.Write(orders(1, 2)...))
	if _, err := old.End(t.Context()); !errors.Is(err, postgres.ErrReplaced) || flow.FailureOf(err).Retryable {
		t.Fatalf("the zombie: %v", err)
	}
	epoch(t, next, orders(3, 4)...)
	wantRows(t, url, table, orders(0, 4))
	next.Stop()
	old.Stop()
}

// The server dies and comes back, between epochs and in the middle of one.
func TestServerRestarts(t *testing.T) {
	command := strings.Fields(os.Getenv("WEIR_POSTGRES_RESTART"))
	if len(command) == 0 {
		t.Skip("WEIR_POSTGRES_RESTART is not set; set it to a command that restarts the server")
	}
	url, table, _ := database(t, "")
	at := ""
	sink := postgres.Sink[order](url, table, postgres.Step(func(s string) error {
		if s == at {
			at = ""
			if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		return nil
	}))
	j := newJob(table)
	must(t, j.Start(t.Context(), sink))
	var want []order
	for i, s := range []string{"begun", "file", "written", "ended"} {
		at = s
		rows := orders(int64(10*i), int64(10*i+10))
		epoch(t, j, rows...)
		want = append(want, rows...)
	}
	j.Stop()
	wantRows(t, url, table, want)
}

func TestErrors(t *testing.T) {
	url, table, conn := database(t, "PRIMARY KEY")
	start := func(sink operator.Sink[order]) error {
		j := newJob(table)
		defer j.Stop()
		return j.Start(t.Context(), sink)
	}
	for _, c := range []struct {
		err  error
		want string
	}{
		{start(postgres.Sink[order](url, "nowhere")), "the table does not exist"},
		{start(postgres.Sink[order](url, table, postgres.Key("name"))), "Key needs a primary key"},
		{start(postgres.Sink[order](strings.Replace(url, ":weir@", ":wrong@", 1), table)), "password"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) || flow.FailureOf(c.err).Retryable {
			t.Errorf("got %v, want %q", c.err, c.want)
		}
	}
	type more struct {
		ID    int64
		Other string
	}
	k := &sinktest.Job[more]{Name: "more", Staging: &sinktest.Staging{}}
	if err := k.Start(t.Context(), postgres.Sink[more](url, table)); err == nil || !strings.Contains(err.Error(), "no column in the table") {
		t.Error(err)
	}
	k.Stop()
	type wide struct {
		ID     int64
		Amount float64
		Small  uint64
	}
	w := &sinktest.Job[wide]{Name: "wide", Staging: &sinktest.Staging{}}
	must(t, w.Start(t.Context(), postgres.Sink[wide](url, table)))
	must(t, w.Write(wide{ID: 1, Small: 7}))
	if err := w.Write(wide{ID: 2, Small: 1 << 40}); err == nil || !strings.Contains(err.Error(), `record 2 of this subtask: its field for column "small"`) || flow.FailureOf(err).Domain != flow.DomainUser {
		t.Error(err)
	}
	w.Stop()
	// What only the table can tell: nothing of the epoch is written, and it goes on
	// when the table takes it.
	_, err := conn.Exec(t.Context(), "ALTER TABLE "+table+" ADD CONSTRAINT few CHECK (id < 100)")
	must(t, err)
	j := newJob(table)
	sink := postgres.Sink[order](url, table)
	must(t, j.Start(t.Context(), sink))
	must(t, j.Write(orders(95, 105)...))
	_, err = j.End(t.Context())
	if err == nil || !strings.Contains(err.Error(), "few") || flow.FailureOf(err).Retryable {
		t.Error(err)
	}
	wantRows(t, url, table, nil)
	_, err = conn.Exec(t.Context(), "ALTER TABLE "+table+" DROP CONSTRAINT few")
	must(t, err)
	must(t, j.Start(t.Context(), sink))
	wantRows(t, url, table, orders(95, 105))
	// Damage of staged rows is found, and nothing is written.
	must(t, j.Write(orders(0, 50)...))
	j.Staging.Damage = func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	if _, err := j.End(t.Context()); err == nil {
		t.Error("damaged rows were written")
	}
	j.Staging.Damage = nil
	wantRows(t, url, table, orders(95, 105))
	// The mark is gone.
	_, err = conn.Exec(t.Context(), "DELETE FROM weir_epochs WHERE job = $1", table)
	must(t, err)
	if err := j.Start(t.Context(), sink); !errors.Is(err, postgres.ErrUnknown) || flow.FailureOf(err).Retryable {
		t.Error(err)
	}
	j.Stop()
}
