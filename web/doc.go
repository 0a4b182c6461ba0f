// Package web is the HTTP API of a cluster: what people and their programs can see and ask for.
//
// Its words: a [Backend] is the cluster behind it; a route is one method and path, with the
// role that it takes; the caller is who the token says; the audit log has a line for each
// request that changes something, and for each that was refused.
//
// Invariants:
//
//  1. What a request may ask for is known before it reaches the Backend: method, path, query,
//     size and form are checked here, and the role of the caller. Names and hashes are
//     of a form that is no path.
//  2. Every error has one shape, [api.ErrorBody]. What is not an [api.Error] is written to the
//     log and told as "internal" with the number of the request.
//  3. Memory is bounded: bodies, headers, connections, requests at one time, uploads, streams, and
//     who is counted for rate limits. Every read and write has a deadline.
//  4. Without TLS and tokens a listener is on loopback, see [Exposure]; there requests of other
//     sites' pages and names are refused, so that a browser on the same host is no way in.
//  5. The routes and the types of api are all there is in openapi.yaml, and nothing else: a
//     test makes it from them.
//
// A [Server]'s methods may be called from any goroutine. Serve returns when all that it
// started has ended.
package web
