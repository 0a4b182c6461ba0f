// Package keyhash makes the hash functions that turn keys into [flow.Hash].
//
// State is stored by key group, and a key group is chosen by a key's hash. So the
// hash of a value is part of the format of stored state: it is the same in every
// process, on every platform and in every release, and golden tests hold it.
//
// What is hashed is the value, not the type: a number has one hash in all integer
// types, and a named type the hash of its underlying type. Two keys that are equal
// by == have equal hashes.
//
//   - integers and bool: a bijective mixer of 64 bits, so that distinct integers
//     never collide.
//   - floats: their bits as a float64; both zeros are one, all NaNs are one. A NaN
//     is a useless key nevertheless, as it does not equal itself.
//   - strings and arrays of bytes: XXH3-64 of the bytes.
//   - structs and other arrays: the hashes of their parts, combined in order;
//     nesting does not matter. Blank fields do not count, as they do not for ==.
//
// Refused, with the field that is at fault, is what has no value that means the
// same in another process: pointers, channels, interfaces; and time.Time, which ==
// compares by more than its instant.
//
// Both halves of a hash are as good as any: key groups are taken from the high 32
// bits, hash tables use the low ones.
//
// The functions made here are pure and may be called by any goroutine.
package keyhash
