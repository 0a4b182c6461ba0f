package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/weirflow/weir/internal/testkit/rig"
)

// TestSecureScripts runs testdata/secure: all commands against a cluster of real processes,
// with TLS and tokens: 3 servers, and 2 workers of 8 slots. It is in $RIG, and worker1 is one that no
// script kills. A script finds contexts admin, submit and read; admin is the current one. Scripts run
// side by side, so each has jobs of its own.
func TestSecureScripts(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts a real cluster")
	}
	weir, err := exec.LookPath("weir") // this test, by that name
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c, err := rig.Start(ctx, rig.Options{Binary: weir, Dir: t.TempDir(), Servers: 3, Workers: 2, Slots: 8, Secure: true,
		Configure: func(_ int, c map[string]any) {
			// 20 MB are more than the job here, and less than what is to be refused.
			c["limits"] = map[string]any{"artifact": "64MB"}
			c["locations"] = []string{os.TempDir(), "s3://saved"}
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			for _, n := range c.Nodes() {
				t.Logf("%s:\n%s", n.Name, n.Tail(60))
			}
		}
	})
	if err := os.WriteFile(filepath.Join(c.Secrets(), "password"), []byte("sesame"), 0o600); err != nil {
		t.Fatal(err)
	}
	contexts, err := os.ReadFile(c.Contexts())
	if err != nil {
		t.Fatal(err)
	}
	runScripts(t, "testdata/secure", nil, func(e *testscript.Env) error {
		e.Setenv("RIG", c.Dir())
		for i, n := range c.Servers() {
			e.Setenv("SERVER"+string(rune('1'+i)), n.HTTP)
		}
		// A script may change its contexts.
		return errors.Join(os.WriteFile(e.Getenv("WEIR_CONFIG"), contexts, 0o600))
	})
}
