// Package storetest is what tests need of checkpoint storage: the one suite for all
// storages ([Run]), a storage that fails as real ones do ([Faulty]), and a server that
// speaks enough of S3's protocol ([NewS3]).
//
// Invariants: everything random comes from a seed, and what a Faulty acknowledges was
// done. All may be used from any goroutine, and start none but those of the S3 server, which
// its Close ends.
package storetest
