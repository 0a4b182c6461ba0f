// Package memory keeps keyed state in memory: the model that other backends are
// measured against, and the backend of jobs whose state fits.
//
// The typed layer of package state holds everything here; what this package adds
// is snapshots, in the form of package portable.
//
// Invariants:
//
//  1. Restore takes streams from anywhere: whatever they hold, it returns an error
//     and does not panic, and takes no more memory than a multiple of what it read.
//  2. What is restored and not claimed by a registered state is kept, and written
//     again. No entry is lost because its operator came late.
//
// A Store and its states belong to one goroutine.
package memory
