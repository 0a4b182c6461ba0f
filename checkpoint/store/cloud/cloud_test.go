package cloud_test

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"gocloud.dev/blob/memblob"

	"github.com/weirflow/weir/checkpoint/store"
	"github.com/weirflow/weir/checkpoint/store/cloud"
	"github.com/weirflow/weir/checkpoint/store/storetest"
)

// TestSuite is over the library's own bucket in memory: no server of the two clouds'
// protocols runs in a process.
func TestSuite(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) store.Storage {
		st, err := cloud.New(memblob.OpenBucket(nil), "some/prefix", vfs.Default)
		if err != nil {
			t.Fatal(err)
		}
		return st
	})
}

// TestClaim takes a job's log through it.
func TestClaim(t *testing.T) {
	t.Parallel()
	st, err := cloud.New(memblob.OpenBucket(nil), "", vfs.Default)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	j := store.OpenJob(st, "job", store.JobOptions{})
	for want := 1; want <= 3; want++ {
		if at, _, err := j.Claim(t.Context(), 0); err != nil || int(at) != want {
			t.Fatal(at, err)
		}
	}
}

func TestLocations(t *testing.T) {
	t.Setenv("AZURE_STORAGE_ACCOUNT", "")
	for _, l := range []string{"azblob://container/prefix", "azblob:///prefix"} {
		if st, err := store.Open(t.Context(), l); err == nil {
			t.Errorf("%s was opened without credentials: %v", l, st)
		}
	}
}
