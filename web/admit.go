package web

import (
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/web/token"
)

// admit finds out who asks, and refuses who may not.
func (c *call) admit() error {
	s := c.server
	now := s.opts.Now()
	if err := s.sites.Check(c.r); err != nil {
		return api.Errorf(api.CodeForbidden, "a page of another site can't do this")
	}
	address := c.address()
	if s.opts.Tokens == nil {
		// A page that a name was rebound for would come with that name.
		host := c.r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		if c.r.TLS == nil && !loopback(strings.Trim(host, "[]")) {
			return api.Errorf(api.CodeForbidden, "a server without tokens answers on loopback only, and was asked as %q", c.r.Host)
		}
		c.who = token.Entry{Role: token.Admin}
	}
	if c.route.role == "" {
		if !s.known.take("@"+address, now) { // no name of a token begins so
			return tooMany()
		}
		return nil
	}
	if s.opts.Tokens != nil {
		// Who guesses is slowed down before the guess is looked at.
		if s.strange.spent(address, now) {
			return tooMany()
		}
		text, ok := strings.CutPrefix(c.r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			s.strange.take(address, now)
			return api.Errorf(api.CodeUnauthenticated, "this takes a token").
				WithHint("send Authorization: Bearer weir_...; weir context set --token-file names one for the command line")
		}
		if c.who, ok = s.opts.Tokens.Identify(text); !ok {
			s.strange.take(address, now)
			return api.Errorf(api.CodeUnauthenticated, "the token is not known here").WithHint("weir token list shows, on a server, which there are")
		}
	}
	key := c.who.Name
	if key == "" {
		key = "@" + address
	}
	if !s.known.take(key, now) {
		return tooMany()
	}
	if !c.who.Role.Allows(c.route.role) {
		return api.Errorf(api.CodeForbidden, "the token %q has the role %s, and this takes %s", c.who.Name, c.who.Role, c.route.role)
	}
	return nil
}

func tooMany() *api.Error {
	return api.Errorf(api.CodeTooMany, "too many requests").WithHint("wait a second")
}

// forwardedHeader is on requests that another server sends on: whom it is for. They are not
// sent on once more.
const forwardedHeader = "Weir-Forwarded-For"

// forward sends a request for the leader to it. It reports whether the request is answered by
// that.
func (c *call) forward() (bool, error) {
	if c.route.local {
		return false, nil
	}
	if stale, err := c.flag("stale"); stale || err != nil {
		return false, err
	}
	l, ok := c.server.backend.Leader()
	switch {
	case ok && l.Self:
		return false, nil
	case !ok, c.r.Header.Get(forwardedHeader) != "":
		return false, noLeader()
	}
	to, err := url.Parse(l.HTTP)
	if err != nil || to.Host == "" {
		return false, noLeader()
	}
	c.forwarded = l.HTTP
	if c.server.opts.Forward == nil {
		c.w.Header().Set("Location", to.Scheme+"://"+to.Host+c.r.URL.RequestURI())
		c.w.WriteHeader(http.StatusTemporaryRedirect)
		return true, nil
	}
	proxy := &httputil.ReverseProxy{
		Transport:     c.server.opts.Forward,
		FlushInterval: -1,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = to.Scheme, to.Host, to.Host
			p.Out.Header.Set(forwardedHeader, c.from())
		},
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) {
			// It may have got there, so only reads can be tried again.
			e := api.Errorf(api.CodeUnavailable, "the leader at %s does not answer: %v", l.HTTP, err).WithHint("try again in a moment")
			e.Retryable = !c.route.changes()
			c.refuse(e)
		},
		ModifyResponse: func(r *http.Response) error {
			if r.StatusCode >= 400 {
				c.result = &api.Error{Code: api.CodeInternal, Message: "the leader answered " + r.Status}
			}
			return nil
		},
	}
	proxy.ServeHTTP(c.w, c.r.WithContext(c.ctx))
	return true, nil
}
