package store_test

import (
	"testing"

	"github.com/weirflow/weir/checkpoint/store"
	"github.com/weirflow/weir/flow"
)

func TestIdentityStays(t *testing.T) {
	st, err := store.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	identity := func(id flow.JobID) string {
		j := store.OpenJob(st, id, store.JobOptions{})
		defer j.Close()
		word, err := j.Identity(t.Context())
		if err != nil || word == "" {
			t.Fatal(word, err)
		}
		return word
	}
	first := identity("a job/x")
	if again := identity("a job/x"); again != first {
		t.Errorf("%q, then %q", first, again)
	}
	if other := identity("other"); other == first {
		t.Error("two jobs with one identity")
	}
}
