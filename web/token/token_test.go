package token

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var day = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestTokens(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens.json")
	ada, err := Create(file, "ada", Admin, day)
	if err != nil {
		t.Fatal(err)
	}
	bob, err := Create(file, "bob", Read, day)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Create(file, "bob", Read, day); err == nil {
		t.Fatal("two of one name")
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	if strings.Contains(string(data), strings.TrimPrefix(ada, prefix)) {
		t.Fatal("the token is in the file")
	}
	now := day
	var told []error
	s, err := Open(file, func() time.Time { return now }, func(err error) { told = append(told, err) })
	if err != nil {
		t.Fatal(err)
	}
	if e, ok := s.Identify(ada); !ok || e.Name != "ada" || e.Role != Admin {
		t.Fatalf("%v %v", e, ok)
	}
	if e, ok := s.Identify(bob); !ok || e.Name != "bob" {
		t.Fatalf("%v %v", e, ok)
	}
	for _, wrong := range []string{"", prefix, ada[:len(ada)-1], ada + "x", "weir_" + strings.Repeat("A", 43)} {
		if _, ok := s.Identify(wrong); ok {
			t.Fatalf("%q was taken", wrong)
		}
	}
	if err := Revoke(file, "bob"); err != nil {
		t.Fatal(err)
	}
	if err := Revoke(file, "bob"); err == nil {
		t.Fatal("revoked twice")
	}
	now = now.Add(time.Second)
	if _, ok := s.Identify(bob); ok {
		t.Fatal("a revoked token was taken")
	}
	// A broken file lets nobody in, and a good one does again.
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Second)
	if _, ok := s.Identify(ada); ok || len(told) != 1 || told[0] == nil {
		t.Fatalf("taken, or not told: %v", told)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Second)
	if _, ok := s.Identify(ada); !ok || len(told) != 2 || told[1] != nil {
		t.Fatalf("not taken, or not told: %v", told)
	}
	all, err := List(file)
	if err != nil || len(all) != 2 || all[0].Name != "ada" || !all[0].Created.Equal(day) {
		t.Fatalf("%v %v", all, err)
	}
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "tokens.json")
	for _, name := range []string{"", "../x", "a b", ".x", strings.Repeat("a", 65)} {
		if _, err := Create(file, name, Read, day); err == nil {
			t.Errorf("%q is a name", name)
		}
	}
	if _, err := Create(file, "a", "king", day); err == nil {
		t.Error("king is a role")
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("there is a file")
	}
	if err := os.WriteFile(file+".new", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(file, "a", Read, day); err == nil || !strings.Contains(err.Error(), "somebody changes") {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(file, []byte(`{"tokens":[]}`), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file, nil, nil); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("got %v", err)
	}
}

func TestRoles(t *testing.T) {
	for i, r := range roles {
		for j, need := range roles {
			if got := r.Allows(need); got != (i >= j) {
				t.Errorf("%s allows %s: %v", r, need, got)
			}
		}
	}
	if Role("").Allows(Read) || Role("king").Allows(Read) || Admin.Allows("king") {
		t.Error("what is no role allows something")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"tokens":[{"name":"a","role":"read","sha256":"00","created":"2026-01-02T03:04:05Z"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parse(data)
		if err != nil && len(c.Tokens) > 0 {
			t.Fatal("tokens of a broken file")
		}
	})
}
