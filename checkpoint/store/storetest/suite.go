package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/weirflow/weir/checkpoint/store"
)

// Run is the suite. open gives an empty storage; PutFile and Fetch are tried with files of
// the operating system.
func Run(t *testing.T, open func(t *testing.T) store.Storage) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, store.Storage)
	}{
		{"put and get", putAndGet},
		{"sizes", sizes},
		{"wrong size", wrongSize},
		{"put if absent", putIfAbsent},
		{"put if absent races", putIfAbsentRaces},
		{"files", files},
		{"list", list},
		{"delete", deletes},
		{"keys", keys},
		{"contexts", contexts},
		{"many at once", manyAtOnce},
	} {
		t.Run(c.name, func(t *testing.T) {
			st := open(t)
			defer func() {
				if err := st.Close(); err != nil {
					t.Error(err)
				}
			}()
			c.run(t, st)
		})
	}
}

func put(t *testing.T, st store.Storage, key, data string) {
	t.Helper()
	if err := st.Put(t.Context(), key, strings.NewReader(data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, st store.Storage, key string) string {
	t.Helper()
	r, err := st.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// want fails the test unless err wraps target.
func want(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("the error is %v and not %v", err, target)
	}
}

// Keys lists what begins with prefix.
func Keys(ctx context.Context, st store.Storage, prefix string) ([]string, error) {
	var out []string
	for info, err := range st.List(ctx, prefix) {
		if err != nil {
			return nil, err
		}
		out = append(out, info.Key)
	}
	return out, nil
}

func keysOf(t *testing.T, st store.Storage, prefix string) []string {
	t.Helper()
	out, err := Keys(t.Context(), st, prefix)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func putAndGet(t *testing.T, st store.Storage) {
	_, err := st.Get(t.Context(), "a/b")
	want(t, err, store.ErrNotFound)
	put(t, st, "a/b", "one")
	if got := get(t, st, "a/b"); got != "one" {
		t.Fatalf("%q", got)
	}
	put(t, st, "a/b", "another")
	if got := get(t, st, "a/b"); got != "another" {
		t.Fatalf("%q", got)
	}
}

func sizes(t *testing.T, st store.Storage) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 4095, 1 << 20, 3<<20 + 7} {
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		key := fmt.Sprintf("sizes/%d", n)
		// Not a Seeker: it can be sent only once.
		if err := st.Put(t.Context(), key, io.MultiReader(bytes.NewReader(data)), int64(n)); err != nil {
			t.Fatal(n, err)
		}
		if got := get(t, st, key); got != string(data) {
			t.Fatalf("%d bytes came back as %d others", n, len(got))
		}
	}
	for info, err := range st.List(t.Context(), "sizes/") {
		if err != nil || info.Key != fmt.Sprintf("sizes/%d", info.Size) || info.Modified.IsZero() {
			t.Fatal(info, err)
		}
	}
}

func wrongSize(t *testing.T, st store.Storage) {
	if err := st.Put(t.Context(), "short", io.MultiReader(strings.NewReader("12345")), 6); err == nil {
		t.Error("a short body was taken")
	}
	if got := keysOf(t, st, ""); len(got) != 0 {
		t.Error(got)
	}
}

func putIfAbsent(t *testing.T, st store.Storage) {
	ctx := t.Context()
	if err := st.PutIfAbsent(ctx, "log/1", []byte("first")); err != nil {
		t.Fatal(err)
	}
	want(t, st.PutIfAbsent(ctx, "log/1", []byte("second")), store.ErrExists)
	want(t, st.PutIfAbsent(ctx, "log/1", []byte("first")), store.ErrExists)
	if got := get(t, st, "log/1"); got != "first" {
		t.Fatalf("%q", got)
	}
	put(t, st, "log/2", "put")
	want(t, st.PutIfAbsent(ctx, "log/2", nil), store.ErrExists)
	if err := st.Delete(ctx, "log/1"); err != nil {
		t.Fatal(err)
	}
	if err := st.PutIfAbsent(ctx, "log/1", []byte("third")); err != nil {
		t.Fatal(err)
	}
}

func putIfAbsentRaces(t *testing.T, st store.Storage) {
	for round := range 5 {
		key := fmt.Sprintf("race/%d", round)
		var wins atomic.Int32
		var winner atomic.Value
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				mine := fmt.Sprintf("writer %d", i)
				for {
					err := st.PutIfAbsent(t.Context(), key, []byte(mine))
					if errors.Is(err, store.ErrTemporary) {
						continue
					}
					if err == nil {
						wins.Add(1)
						winner.Store(mine)
					} else if !errors.Is(err, store.ErrExists) {
						t.Error(err)
					}
					return
				}
			})
		}
		all.Wait()
		if got := get(t, st, key); wins.Load() != 1 || got != winner.Load() {
			t.Fatalf("%d have won, %v at last, and %q is there", wins.Load(), winner.Load(), got)
		}
	}
}

func files(t *testing.T, st store.Storage) {
	dir := t.TempDir()
	local := filepath.Join(dir, "local")
	content := strings.Repeat("a table of a tree ", 10_000)
	if err := os.WriteFile(local, []byte(content), 0o666); err != nil {
		t.Fatal(err)
	}
	for range 2 { // The second time is a try whose first answer was lost.
		if err := st.PutFile(t.Context(), "f/1", local); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(local); err != nil {
		t.Fatal(err)
	}
	if got := get(t, st, "f/1"); got != content {
		t.Fatalf("%d bytes", len(got))
	}
	back := filepath.Join(dir, "back")
	if err := st.Fetch(t.Context(), "f/1", back); err != nil {
		t.Fatal(err)
	}
	if err := st.Delete(t.Context(), "f/1"); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(back); err != nil || string(got) != content {
		t.Fatal(len(got), err)
	}
	want(t, st.Fetch(t.Context(), "f/1", filepath.Join(dir, "other")), store.ErrNotFound)
	if _, err := os.Stat(filepath.Join(dir, "other")); err == nil {
		t.Error("a file was left of what is not there")
	}
	if err := st.PutFile(t.Context(), "f/2", local); err == nil {
		t.Error("a file that is not there was stored")
	}
}

func list(t *testing.T, st store.Storage) {
	all := []string{"a", "a-b/c", "a/b", "a/b0/x", "a/b/c", "a/c", "ab/d", "b"}
	all = slices.DeleteFunc(all, func(k string) bool { return k == "a" || k == "a/b" }) // A directory has no file and folder of one name.
	for _, k := range all {
		put(t, st, k, k)
	}
	slices.Sort(all)
	for _, prefix := range []string{"", "a", "a/", "a/b", "a/b/", "a-b/", "b", "c", "a/b/c", "a/b/c/", "none/x"} {
		var w []string
		for _, k := range all {
			if strings.HasPrefix(k, prefix) {
				w = append(w, k)
			}
		}
		if got := keysOf(t, st, prefix); !slices.Equal(got, w) {
			t.Errorf("%q: %q and not %q", prefix, got, w)
		}
	}
	for info := range st.List(t.Context(), "") {
		if info.Key != all[0] {
			t.Error(info)
		}
		break // It must bear that nobody listens.
	}
}

func deletes(t *testing.T, st store.Storage) {
	put(t, st, "d/x/1", "1")
	put(t, st, "d/x/2", "2")
	for range 2 {
		if err := st.Delete(t.Context(), "d/x/1"); err != nil {
			t.Fatal(err)
		}
	}
	if got := keysOf(t, st, ""); !slices.Equal(got, []string{"d/x/2"}) {
		t.Fatal(got)
	}
	if err := st.Delete(t.Context(), "d/x/2"); err != nil {
		t.Fatal(err)
	}
	put(t, st, "d/x/3", "3") // Also where folders have gone.
	if got := keysOf(t, st, "d"); !slices.Equal(got, []string{"d/x/3"}) {
		t.Fatal(got)
	}
}

func keys(t *testing.T, st store.Storage) {
	for _, key := range []string{"", "/a", "a/", "a//b", "../a", "a/../../b", ".tmp/x", "a/.", "a\x00b", "a b", "ä", "a\\b", strings.Repeat("x", 241)} {
		want(t, st.Put(t.Context(), key, strings.NewReader(""), 0), store.ErrKey)
		want(t, st.PutIfAbsent(t.Context(), key, nil), store.ErrKey)
	}
	long := strings.Repeat("y", 240) + "/a-Z_0.=+@%2F,"
	put(t, st, long, "1")
	if got := keysOf(t, st, ""); !slices.Equal(got, []string{long}) {
		t.Fatal(got)
	}
}

func contexts(t *testing.T, st store.Storage) {
	put(t, st, "a", "1")
	why := errors.New("enough of it")
	ctx, cancel := context.WithCancelCause(t.Context())
	r, err := st.Get(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	cancel(why)
	_, gerr := st.Get(ctx, "a")
	_, lerr := Keys(ctx, st, "")
	for i, err := range []error{st.Put(ctx, "b", strings.NewReader("1"), 1), st.PutIfAbsent(ctx, "c", nil), gerr, lerr,
		st.Fetch(ctx, "a", filepath.Join(t.TempDir(), "x")), st.Delete(ctx, "a")} {
		if err == nil {
			t.Errorf("operation %d went on after its context", i)
		}
	}
	if got := keysOf(t, st, ""); !slices.Equal(got, []string{"a"}) {
		t.Error(got)
	}
}

func manyAtOnce(t *testing.T, st store.Storage) {
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for i := range 10 {
				key := fmt.Sprintf("many/%d/%d", i%3, w)
				data := fmt.Sprint(w, i)
				if err := st.Put(t.Context(), key, strings.NewReader(data), int64(len(data))); err != nil {
					t.Error(err)
					return
				}
				if i%4 == 3 {
					if err := st.Delete(t.Context(), key); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	all.Wait()
	for _, key := range keysOf(t, st, "many/") {
		get(t, st, key)
	}
}
