// Package shuffletest is the suite that every transport of package shuffle has to
// pass.
//
// Its words: a [Transport] makes exchanges for the suite; a [Record] says which
// producer wrote it and as which, so that order and completeness show.
//
// Invariants:
//
//  1. The suite says what the contract says and no more: it passes whether a
//     partition is a slice or a socket. So it does not count on a message to have
//     arrived when Send returns; it waits.
//  2. What waits ends with the test's context, and then tells what was missing.
//
// The suite starts goroutines and waits for all of them.
package shuffletest
