package profile_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/weirflow/weir/internal/obs/profile"
)

func TestKinds(t *testing.T) {
	for _, kind := range profile.Kinds {
		var b bytes.Buffer
		n, err := profile.Write(t.Context(), &b, kind, 10*time.Millisecond)
		if err != nil || n != int64(b.Len()) || n == 0 {
			t.Errorf("%s: %d bytes of %d: %v", kind, n, b.Len(), err)
			continue
		}
		if kind == "trace" {
			continue
		}
		z, err := gzip.NewReader(&b)
		if err == nil {
			_, err = io.Copy(io.Discard, z)
		}
		if err != nil {
			t.Errorf("%s: it is no profile: %v", kind, err)
		}
	}
}

func TestRefused(t *testing.T) {
	for kind, over := range map[string]time.Duration{"": 1, "../cpu": 1, "cmdline": 1, "cpu": 0, "trace": profile.Longest + 1} {
		if _, err := profile.Write(t.Context(), io.Discard, kind, over); err == nil {
			t.Errorf("%q over %s is taken", kind, over)
		}
	}
	if err := pprof.StartCPUProfile(io.Discard); err != nil {
		t.Fatal(err)
	}
	_, err := profile.Write(t.Context(), io.Discard, "cpu", time.Millisecond)
	pprof.StopCPUProfile()
	if err == nil || !strings.Contains(err.Error(), "cpu") {
		t.Errorf("a second one at the same time: %v", err)
	}
}

// TestGivenUp ends a profile that would take longer than anybody waits.
func TestGivenUp(t *testing.T) {
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { cancel(why) })
	if _, err := profile.Write(ctx, io.Discard, "cpu", profile.Longest); !errors.Is(err, why) {
		t.Fatal(err)
	}
	if _, err := profile.Write(t.Context(), io.Discard, "cpu", time.Millisecond); err != nil {
		t.Errorf("the next one: %v", err)
	}
}

type full struct{}

var errFull = errors.New("the disk is full")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestNoRoom(t *testing.T) {
	for _, kind := range []string{"cpu", "heap"} {
		if _, err := profile.Write(t.Context(), full{}, kind, time.Millisecond); !errors.Is(err, errFull) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}
