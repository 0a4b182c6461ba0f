//go:build !race

package invariants

// Race says that this is a race build. Tests that count allocations or time
// skip those parts in it.
const Race = false
