package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirflow/weir/api"
)

// script is a server that answers as it is told, one request after the other.
type script struct {
	*httptest.Server
	seen    []string
	answers []http.HandlerFunc
}

func newScript(t *testing.T, answers ...http.HandlerFunc) *script {
	s := &script{answers: answers}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.seen = append(s.seen, fmt.Sprintf("%s %s %s %s", r.Method, r.URL.RequestURI(), r.Header.Get("Authorization"), body))
		if len(s.answers) == 0 {
			t.Errorf("one request too many: %s", s.seen)
			return
		}
		answer := s.answers[0]
		s.answers = s.answers[1:]
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func say(v any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(v) }
}

func refuse(code api.ErrorCode) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code.Status())
		_ = json.NewEncoder(w).Encode(api.ErrorBody{Error: *api.Errorf(code, "no")})
	}
}

func hangUp(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func sendTo(url string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", url+r.URL.RequestURI())
		w.WriteHeader(http.StatusTemporaryRedirect)
	}
}

func newClient(t *testing.T, addresses ...string) *Client {
	t.Helper()
	c, err := New(Config{Addresses: addresses, Token: "weir_x", Pause: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdle)
	return c
}

// nobody is an address where nobody listens.
func nobody() string {
	s := httptest.NewServer(nil)
	s.Close()
	return s.URL
}

func code(err error) api.ErrorCode {
	e, ok := errors.AsType[*api.Error](err)
	if !ok {
		return ""
	}
	return e.Code
}

func TestReadsAreTriedAgain(t *testing.T) {
	s := newScript(t, hangUp, refuse(api.CodeUnavailable), say(api.JobInfo{Epoch: 7}))
	j, err := newClient(t, nobody(), s.URL).Job(t.Context(), "a", Wait{Index: 3, For: time.Second})
	if err != nil || j.Epoch != 7 {
		t.Fatal(j, err)
	}
	if s.seen[2] != "GET /v1/jobs/a?wait=3&wait_for=1s Bearer weir_x " {
		t.Errorf("%q", s.seen)
	}
}

func TestChangesAreNotRepeated(t *testing.T) {
	s := newScript(t, hangUp)
	if _, err := newClient(t, s.URL).Stop(t.Context(), "a"); !errors.Is(err, ErrUnreachable) {
		t.Errorf("%v", err)
	}
	s = newScript(t, refuse(api.CodeNoLeader), refuse(api.CodeConflict))
	if _, err := newClient(t, nobody(), s.URL).Stop(t.Context(), "a"); code(err) != api.CodeConflict {
		t.Errorf("%v", err)
	}
	s = newScript(t, refuse(api.CodeTimeout))
	if _, err := newClient(t, s.URL).Stop(t.Context(), "a"); code(err) != api.CodeTimeout {
		t.Errorf("%v", err)
	}
}

func TestUploadBeginsAgain(t *testing.T) {
	s := newScript(t, hangUp, say(api.ArtifactInfo{Size: 7}))
	opened := 0
	_, err := newClient(t, s.URL).Upload(t.Context(), "sha256:0", 7, func() (io.ReadCloser, error) {
		opened++
		return io.NopCloser(strings.NewReader("program")), nil
	})
	if err != nil || opened != 2 || !strings.HasSuffix(s.seen[1], " program") {
		t.Fatal(err, opened, s.seen)
	}
}

func TestLeaderElsewhere(t *testing.T) {
	leader := newScript(t, say(api.Submitted{Job: "a", Version: 2}))
	s := newScript(t, sendTo(leader.URL))
	r, err := newClient(t, s.URL).Submit(t.Context(), api.JobSpec{Name: "a"}, true)
	if err != nil || r.Version != 2 {
		t.Fatal(r, err)
	}
	if !strings.HasPrefix(leader.seen[0], `POST /v1/jobs?dry_run=true Bearer weir_x {"name":"a"`) {
		t.Errorf("%q", leader.seen)
	}
	// The token goes to no other host in the clear.
	s = newScript(t, sendTo("http://192.0.2.1:1"))
	if _, err := newClient(t, s.URL).Submit(t.Context(), api.JobSpec{Name: "a"}, true); err == nil || !strings.Contains(err.Error(), "must not go") {
		t.Errorf("%v", err)
	}
	if _, err := New(Config{Addresses: []string{"http://192.0.2.1:1"}, Token: "x"}); err == nil {
		t.Error("a token over plain HTTP")
	}
	// Servers that send each other around.
	var one, two *script
	one = newScript(t, slices.Repeat([]http.HandlerFunc{func(w http.ResponseWriter, r *http.Request) { sendTo(two.URL)(w, r) }}, 9)...)
	two = newScript(t, slices.Repeat([]http.HandlerFunc{func(w http.ResponseWriter, r *http.Request) { sendTo(one.URL)(w, r) }}, 9)...)
	if _, err := newClient(t, one.URL).Nodes(t.Context(), Page{}, Wait{}); code(err) != api.CodeNoLeader {
		t.Errorf("%v", err)
	}
}

// A program is sent to the leader only, however large it is.
func TestUploadToTheLeader(t *testing.T) {
	program := strings.Repeat("x", 8<<20)
	leader := newScript(t, say(api.ArtifactInfo{Size: int64(len(program))}))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { sendTo(leader.URL)(w, r) }))
	defer server.Close()
	sent := 0
	info, err := newClient(t, server.URL).Upload(t.Context(), "sha256:0", int64(len(program)), func() (io.ReadCloser, error) {
		sent++
		return io.NopCloser(strings.NewReader(program)), nil
	})
	if err != nil || info.Size != int64(len(program)) || sent != 2 {
		t.Fatal(err, info, sent)
	}
}

func TestStream(t *testing.T) {
	s := newScript(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"seq":4,"kind":"failed"}`, "\n\n", `{"seq":5}`, "\n", `{"error":{"code":"timeout","message":"late"}}`, "\n")
	})
	var seqs []uint64
	err := newClient(t, s.URL).FollowEvents(t.Context(), "a", 3, func(e api.JobEvent) error {
		seqs = append(seqs, e.Seq)
		return nil
	})
	if code(err) != api.CodeTimeout || !slices.Equal(seqs, []uint64{4, 5}) {
		t.Errorf("%v %v", err, seqs)
	}
}

func TestOthersAnswers(t *testing.T) {
	for _, answer := range []http.HandlerFunc{
		func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", http.StatusBadGateway) },
		func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
	} {
		s := newScript(t, answer)
		if _, err := newClient(t, s.URL).Leader(t.Context()); err == nil {
			t.Error("taken")
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := newClient(t, nobody()).Leader(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	for _, a := range []string{"", "host:1", "ftp://x", "http://x/path", "http://me:pw@x"} {
		if _, err := New(Config{Addresses: []string{a}}); err == nil {
			t.Errorf("%q is an address", a)
		}
	}
}
