package run

import (
	"context"
	"errors"
	"flag"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirflow/weir/checkpoint/store"
	"github.com/weirflow/weir/connector/collect"
	"github.com/weirflow/weir/connector/slice"
	"github.com/weirflow/weir/scheduler"
	"github.com/weirflow/weir/sdk"
)

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"512MB": 512_000_000, "512MiB": 512 << 20, "2G": 2_000_000_000, "1.5 GiB": 3 << 29, "700": 700, "64kb": 64_000, "7B": 7,
		"": -1, "MB": -1, "-1MB": -1, "1XB": -1, "1kk": -1, "1i": -1, "9999999T": -1, "1MB1": -1,
	} {
		got, err := ParseSize(text)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %d, want %d (%v)", text, got, want, err)
		}
	}
}

func TestDurableFlags(t *testing.T) {
	parse := func(args ...string) (Options, error) {
		var f Flags
		fs := flag.NewFlagSet("", flag.ContinueOnError)
		fs.SetOutput(new(strings.Builder))
		if err := f.Register(fs, nil); err != nil {
			t.Fatal(err)
		}
		if err := fs.Parse(args); err != nil {
			return f.Options, err
		}
		f.Options.EnsureDefaults()
		return f.Options, f.Options.Validate()
	}
	o, err := parse("-state", "d", "-restart", "5/1m", "-memory", "1GiB", "-on-stop", "drain", "-audit", "hashes", "-fresh", "-retain", "7", "-job", "x")
	if err != nil || o.State != "d" || o.Restart != (Restart{Most: 5, Window: time.Minute}) || o.Memory != 1<<30 || o.onStop() != StopDrain ||
		o.Audit != AuditHashes || !o.Fresh || o.Retain != 7 || o.jobID("p") != "x" {
		t.Errorf("%+v %v", o, err)
	}
	if o, err := parse("-state", "d"); err != nil || o.onStop() != StopCheckpoint || o.jobID("p") != "p" {
		t.Errorf("%+v %v", o, err)
	}
	if o, err := parse(); err != nil || o.onStop() != StopDrain || sameJob(&o) {
		t.Errorf("%+v %v", o, err)
	}
	for _, bad := range []string{
		"-restart 0/1m", "-restart 5", "-restart 5/x", "-memory 1MB", "-on-stop now", "-audit maybe", "-backend disk", "-retain 0", "-state=",
		"-from s", "-fresh", "-restart 5/1m", "-on-stop checkpoint", "-allow-dropped-state", "-state d -savepoint s", "-state d -on-stop savepoint",
	} {
		if _, err := parse(strings.Fields(bad)...); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

// A program that runs its pipeline itself can have savepoints too.
func TestControl(t *testing.T) {
	var c Control
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Savepoint(ended, "x"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	stop := make(chan struct{})
	done := make(chan error, 1)
	got := collect.New[int]()
	go func() {
		p := sdk.New("p")
		sdk.Write(sdk.Read(p, slice.Of(1, 2, 3).Unbounded()), got)
		done <- Run(t.Context(), p, Options{Parallelism: 2, Control: &c, Stop: stop, Durable: Durable{State: t.TempDir()}})
	}()
	to := filepath.Join(t.TempDir(), "save")
	e, err := c.Savepoint(t.Context(), to)
	if err != nil || e == 0 {
		t.Fatal(e, err)
	}
	m, st, err := store.LoadSavepoint(t.Context(), to)
	if err != nil || m.Epoch != e || len(m.Graph) == 0 || m.Job != "p" {
		t.Fatalf("%+v %v", m, err)
	}
	st.Close()
	close(stop)
	if err := <-done; !errors.Is(err, ErrStopped) {
		t.Error(err)
	}
	if _, err := c.Savepoint(t.Context(), to+"2"); !errors.Is(err, scheduler.ErrOver) {
		t.Error(err)
	}
}

// sameJob reports whether two runs are one job.
func sameJob(o *Options) bool {
	first := o.jobID("p")
	return first == o.jobID("p")
}
