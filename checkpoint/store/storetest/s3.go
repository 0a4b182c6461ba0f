package storetest

import (
	"bufio"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// S3 is a server in this process that speaks as much of S3's protocol as package s3
// needs, with conditional puts. It believes every signature.
type S3 struct {
	*httptest.Server
	mu struct {
		sync.Mutex
		objects map[string]object
		refuse  func(*http.Request) int
		page    int
		blind   bool
	}
}

type object struct {
	data     []byte
	modified time.Time
}

// NewS3 starts a server. Any bucket is there.
func NewS3() *S3 {
	s := &S3{}
	s.mu.objects = map[string]object{}
	s.mu.page = 3 // Small, so that listings have pages.
	s.Server = httptest.NewServer(s)
	return s
}

// Refuse sets a function that gives the status with which a request is refused, 0 for none;
// -1 cuts the connection after the request was done.
func (s *S3) Refuse(f func(*http.Request) int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.refuse = f
}

// Blind makes the server ignore conditions, as some do.
func (s *S3) Blind() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.blind = true
}

// Location is the URL of a bucket and prefix for store.Open.
func (s *S3) Location(path string) string {
	return "s3://" + path + "?endpoint=" + url.QueryEscape(s.URL)
}

func (s *S3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	refuse := s.mu.refuse
	s.mu.Unlock()
	if refuse != nil {
		switch status := refuse(r); {
		case status == -1:
			s.serve(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler) // How a handler cuts the connection.
		case status != 0:
			fail(w, status, strings.ReplaceAll(http.StatusText(status), " ", ""))
			return
		}
	}
	s.serve(w, r)
}

func (s *S3) serve(w http.ResponseWriter, r *http.Request) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case key == "" && r.Method == http.MethodGet:
		s.list(w, r, bucket)
	case r.Method == http.MethodPut:
		s.put(w, r, bucket+"/"+key)
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		s.mu.Lock()
		o, ok := s.mu.objects[bucket+"/"+key]
		s.mu.Unlock()
		if !ok {
			fail(w, http.StatusNotFound, "NoSuchKey")
			return
		}
		w.Header().Set("ETag", `"etag"`)
		w.Header().Set("Last-Modified", o.modified.UTC().Format(http.TimeFormat))
		w.Header().Set("Content-Length", strconv.Itoa(len(o.data)))
		if r.Method == http.MethodGet {
			_, _ = w.Write(o.data) // A client that is gone needs no answer.
		}
	case r.Method == http.MethodDelete:
		s.mu.Lock()
		delete(s.mu.objects, bucket+"/"+key)
		s.mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
	default:
		fail(w, http.StatusNotImplemented, "NotImplemented")
	}
}

func fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, http.StatusText(status))
}

func (s *S3) put(w http.ResponseWriter, r *http.Request, key string) {
	data, err := readBody(r)
	if err != nil {
		fail(w, http.StatusBadRequest, "IncompleteBody")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.mu.objects[key]; ok && !s.mu.blind && r.Header.Get("If-None-Match") != "" {
		fail(w, http.StatusPreconditionFailed, "PreconditionFailed")
		return
	}
	s.mu.objects[key] = object{data, time.Now()}
	w.Header().Set("ETag", `"etag"`)
}

// readBody takes off the chunks in which clients send what they sign while sending.
func readBody(r *http.Request) ([]byte, error) {
	if !strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		return io.ReadAll(r.Body)
	}
	in := bufio.NewReader(r.Body)
	var out []byte
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil, err
		}
		size, _, _ := strings.Cut(strings.TrimSpace(line), ";")
		n, err := strconv.ParseInt(size, 16, 64)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			break
		}
		chunk := make([]byte, n+2) // with the line's end
		if _, err := io.ReadFull(in, chunk); err != nil {
			return nil, err
		}
		out = append(out, chunk[:n]...)
	}
	if want := r.Header.Get("X-Amz-Decoded-Content-Length"); want != "" && want != strconv.Itoa(len(out)) {
		return nil, errors.New("storetest: another length than announced")
	}
	return out, nil
}

func (s *S3) list(w http.ResponseWriter, r *http.Request, bucket string) {
	q := r.URL.Query()
	prefix, after := bucket+"/"+q.Get("prefix"), q.Get("continuation-token")
	s.mu.Lock()
	defer s.mu.Unlock()
	type content struct {
		Key          string
		LastModified string
		Size         int
		ETag         string
	}
	var result struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		Name                  string
		EncodingType          string
		IsTruncated           bool
		NextContinuationToken string `xml:",omitempty"`
		Contents              []content
	}
	result.Name, result.EncodingType = bucket, q.Get("encoding-type")
	var keys []string
	for k := range s.mu.objects {
		if strings.HasPrefix(k, prefix) && k > after {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	if len(keys) > s.mu.page {
		keys = keys[:s.mu.page]
		result.IsTruncated, result.NextContinuationToken = true, keys[len(keys)-1]
	}
	for _, k := range keys {
		o := s.mu.objects[k]
		name := strings.TrimPrefix(k, bucket+"/")
		if result.EncodingType == "url" {
			name = url.QueryEscape(name)
		}
		result.Contents = append(result.Contents, content{name, o.modified.UTC().Format(time.RFC3339), len(o.data), `"etag"`})
	}
	w.Header().Set("Content-Type", "application/xml")
	_ = xml.NewEncoder(w).Encode(result) // A client that is gone needs no answer.
}
