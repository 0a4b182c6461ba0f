package s3_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weirflow/weir/checkpoint/store"
	_ "github.com/weirflow/weir/checkpoint/store/s3"
	"github.com/weirflow/weir/checkpoint/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, s *storetest.S3) store.Storage {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	st, err := store.Open(t.Context(), s.Location("bucket/some/prefix"))
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func TestSuite(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Storage {
		s := storetest.NewS3()
		t.Cleanup(s.Close)
		return open(t, s)
	})
}

// TestErrors looks at what a server's answers become.
func TestErrors(t *testing.T) {
	s := storetest.NewS3()
	defer s.Close()
	st := open(t, s)
	defer st.Close()
	for status, want := range map[int]error{500: store.ErrTemporary, 503: store.ErrTemporary, 429: store.ErrTemporary,
		409: store.ErrTemporary, -1: store.ErrTemporary, 412: store.ErrExists} {
		s.Refuse(func(*http.Request) int { return status })
		if err := st.PutIfAbsent(t.Context(), "a", []byte("x")); !errors.Is(err, want) {
			t.Errorf("%d: %v", status, err)
		}
	}
	s.Refuse(func(*http.Request) int { return 403 })
	err := st.PutIfAbsent(t.Context(), "a", nil)
	if err == nil || errors.Is(err, store.ErrTemporary) || errors.Is(err, store.ErrExists) {
		t.Error(err)
	}
}

// TestAnswerLost cuts the connection after a commit's put was done: it counts once.
func TestAnswerLost(t *testing.T) {
	s := storetest.NewS3()
	defer s.Close()
	st := open(t, s)
	defer st.Close()
	var puts atomic.Int32
	s.Refuse(func(r *http.Request) int {
		if r.Method == http.MethodPut && puts.Add(1) == 1 {
			return -1
		}
		return 0
	})
	j := store.OpenJob(st, "job", store.JobOptions{Retry: store.RetryPolicy{Pause: time.Microsecond}})
	if at, _, err := j.Claim(t.Context(), 0); err != nil || at != 1 {
		t.Fatal(at, err)
	}
}

// TestBlindServer is one that ignores conditions.
func TestBlindServer(t *testing.T) {
	s := storetest.NewS3()
	defer s.Close()
	s.Blind()
	st := open(t, s)
	defer st.Close()
	if _, _, err := store.OpenJob(st, "job", store.JobOptions{}).Claim(t.Context(), 0); !errors.Is(err, store.ErrUnconditional) {
		t.Fatal(err)
	}
}

// TestCutBody is a connection that ends in the middle of an object.
func TestCutBody(t *testing.T) {
	s := storetest.NewS3()
	defer s.Close()
	st := open(t, s)
	defer st.Close()
	data := strings.Repeat("x", 1<<20)
	if err := st.Put(t.Context(), "a", strings.NewReader(data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
	r, err := st.Get(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.ReadFull(r, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	s.CloseClientConnections()
	if _, err := io.Copy(io.Discard, r); err != nil && !errors.Is(err, store.ErrTemporary) {
		t.Fatal(err)
	}
}

func TestLocations(t *testing.T) {
	for _, l := range []string{"s3://", "s3://bucket?region", "s3://bucket?secret=x", "s3://bucket/a//b"} {
		if st, err := store.Open(t.Context(), l); err == nil && l != "s3://bucket?region" {
			t.Errorf("%s was opened: %v", l, st)
		}
	}
}
