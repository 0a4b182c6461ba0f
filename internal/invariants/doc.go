// Package invariants says at compile time how much a build checks of itself.
//
// Its words: an invariants build is one made with `-tags invariants`; a race
// build is one made with `-race`. To mangle memory is to overwrite it with
// values that nobody wrote, so that whoever kept it longer than he may reads
// nonsense at once, and a test fails, instead of reading his neighbour's record
// once a month.
//
// Invariants:
//
//  1. In an ordinary build every function here is empty or the identity, and is
//     inlined to nothing; a check costs nothing if it stands in
//     `if invariants.Enabled`.
//  2. No result of a job depends on the kind of build.
//
// The functions are safe to call from any goroutine that owns the memory it
// passes; a [Lender] belongs to one goroutine.
package invariants
