// Package client asks the HTTP API of a cluster.
//
// A [Client] knows the addresses of servers and asks the first one that answers. What only
// reads, and uploads, which are known by their content, it tries again; a request that
// changes something only where it has not reached a server, or the server says that nothing
// was changed. Errors that a server told are *api.Error, with errors.As.
//
// A Client may be used from any goroutine; it starts none that outlives a call, other than the
// connections that the standard library keeps until CloseIdle.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weirflow/weir/api"
)

// Config is where a cluster is, and who asks.
type Config struct {
	// Addresses are URLs of servers, such as https://10.0.0.1:7470.
	Addresses []string
	// TLS is for https addresses; nil for what the system trusts.
	TLS *tls.Config
	// Token is sent with each request; empty for none. It goes nowhere over plain HTTP but to
	// loopback.
	Token string
	// Rounds is how often all addresses are tried; default 3.
	Rounds int
	// Pause is between rounds, and doubles; default 200 ms.
	Pause time.Duration
}

// Client asks a cluster.
type Client struct {
	config    Config
	addresses []*url.URL
	http      *http.Client
	transport *http.Transport
	first     atomic.Int64 // the address that answered last
}

// ErrUnreachable is wrapped by errors that no server has told: none could be asked.
var ErrUnreachable = errors.New("no server could be reached")

// Bounds of what is read.
const (
	maxResponse = 64 << 20
	maxLine     = 1 << 20
	maxHops     = 3
)

// New makes a client. It connects to nothing.
func New(c Config) (*Client, error) {
	if len(c.Addresses) == 0 {
		return nil, errors.New("client: name the address of a server")
	}
	if c.Rounds <= 0 {
		c.Rounds = 3
	}
	if c.Pause <= 0 {
		c.Pause = 200 * time.Millisecond
	}
	cl := &Client{config: c}
	for _, a := range c.Addresses {
		u, err := url.Parse(a)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.User != nil {
			return nil, fmt.Errorf("client: the address %q must be a URL such as https://10.0.0.1:7470", a)
		}
		if err := cl.safe(u); err != nil {
			return nil, err
		}
		cl.addresses = append(cl.addresses, &url.URL{Scheme: u.Scheme, Host: u.Host})
	}
	cl.transport = &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 3 * time.Second}).DialContext,
		TLSClientConfig:       c.TLS.Clone(),
		TLSHandshakeTimeout:   5 * time.Second,
		ExpectContinueTimeout: 5 * time.Second,
		ResponseHeaderTimeout: 11 * time.Minute, // a savepoint may take 10
		MaxIdleConnsPerHost:   4,
		IdleConnTimeout:       time.Minute,
		ForceAttemptHTTP2:     true,
	}
	// Redirects are followed by hand: the token must go along, and to a safe place only.
	cl.http = &http.Client{Transport: cl.transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return cl, nil
}

// CloseIdle closes connections that are not used.
func (c *Client) CloseIdle() { c.transport.CloseIdleConnections() }

// safe refuses to send a token where others can read it.
func (c *Client) safe(u *url.URL) error {
	if u.Scheme == "https" || c.config.Token == "" {
		return nil
	}
	host := u.Hostname()
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("client: %s is plain HTTP to another host, which a token must not go over: use https", u)
}

// request is one call, that can be sent several times.
type request struct {
	method, path string
	query        url.Values
	kind         string // of the body
	size         int64
	body         func() (io.ReadCloser, error) // nil for none
	again        bool                          // may be repeated, whatever happened
}

// do sends the request until a server has answered it, and returns a response of success.
func (c *Client) do(ctx context.Context, r request) (*http.Response, error) {
	var last error
	pause := c.config.Pause
	for round := range c.config.Rounds {
		if round > 0 {
			timer := time.NewTimer(pause/2 + rand.N(pause))
			select {
			case <-ctx.Done():
				timer.Stop()
				return nil, fmt.Errorf("%w, after %w", ctx.Err(), last)
			case <-timer.C:
			}
			pause *= 2
		}
		first := int(c.first.Load())
		for i := range c.addresses {
			at := (first + i) % len(c.addresses)
			response, err := c.send(ctx, c.addresses[at], r)
			if err == nil {
				c.first.Store(int64(at))
				return response, nil
			}
			last = err
			if ctx.Err() != nil || !c.mayRepeat(err, r) {
				return nil, err
			}
		}
	}
	return nil, last
}

// mayRepeat says whether another try does no harm, and may help.
func (c *Client) mayRepeat(err error, r request) bool {
	if e, ok := errors.AsType[*api.Error](err); ok {
		return e.Retryable
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return false
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return true // nothing was sent
	}
	return r.again && errors.Is(err, ErrUnreachable)
}

// send sends the request to one server, and to the one that it names.
func (c *Client) send(ctx context.Context, to *url.URL, r request) (*http.Response, error) {
	u := *to
	u.Path, u.RawQuery = r.path, r.query.Encode()
	for range maxHops {
		response, err := c.once(ctx, &u, r)
		if err != nil {
			return nil, err
		}
		switch {
		case response.StatusCode == http.StatusTemporaryRedirect:
			next, err := response.Location()
			drop(response)
			if err != nil {
				return nil, fmt.Errorf("client: %s: %w", u.Host, err)
			}
			if u.Scheme == "https" && next.Scheme != "https" {
				return nil, fmt.Errorf("client: %s sends on from https to %s: it is not asked", u.Host, next)
			}
			if err := c.safe(next); err != nil {
				return nil, err
			}
			u = *next
		case response.StatusCode/100 == 2:
			return response, nil
		default:
			return nil, errorOf(response, u.Host)
		}
	}
	return nil, &api.Error{Code: api.CodeNoLeader, Message: "servers send each other's requests around", Hint: "try again in a moment", Retryable: true}
}

func (c *Client) once(ctx context.Context, u *url.URL, r request) (*http.Response, error) {
	var body io.ReadCloser
	if r.body != nil {
		var err error
		if body, err = r.body(); err != nil {
			return nil, err
		}
	}
	q, err := http.NewRequestWithContext(ctx, r.method, u.String(), body)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	q.ContentLength = r.size
	if r.kind != "" {
		q.Header.Set("Content-Type", r.kind)
	}
	if r.size > 64<<10 {
		// A server that refuses it, or sends it on, says so before the body is sent.
		q.Header.Set("Expect", "100-continue")
	}
	if c.config.Token != "" {
		q.Header.Set("Authorization", "Bearer "+c.config.Token)
	}
	response, err := c.http.Do(q)
	if err == nil {
		return response, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // it says the URL with the query
	}
	return nil, fmt.Errorf("%w: %s: %w", ErrUnreachable, u.Host, err)
}

// errorOf reads what a server told.
func errorOf(r *http.Response, host string) error {
	defer drop(r)
	data, err := io.ReadAll(io.LimitReader(r.Body, maxLine))
	var b api.ErrorBody
	if err != nil || json.Unmarshal(data, &b) != nil || b.Error.Code == "" {
		return &api.Error{Code: api.CodeInternal, Message: fmt.Sprintf("%s answers %s, which is not what a Weir server says", host, r.Status)}
	}
	return &b.Error
}

// drop reads a little of what is left, so that the connection can be used again.
func drop(r *http.Response) {
	_, _ = io.CopyN(io.Discard, r.Body, 4096) // it is only for the connection's sake
	r.Body.Close()
}

// call sends a value and reads one; either may be nil.
func (c *Client) call(ctx context.Context, r request, in, out any) error {
	r.again = r.again || r.method == http.MethodGet
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("client: %w", err)
		}
		r.kind, r.size = "application/json", int64(len(data))
		r.body = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
	}
	response, err := c.do(ctx, r)
	if err != nil {
		return err
	}
	defer drop(response)
	if err := json.NewDecoder(io.LimitReader(response.Body, maxResponse)).Decode(out); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("client: reading the answer of %s: %w", response.Request.URL.Host, err)
	}
	return nil
}
