// Package bench holds the benchmark cases: pipelines that are measured against the
// programs of bench/floor, in one run.
//
// A [Case] is run by `weir bench CASE`. It makes its input or reads it, runs the
// pipeline embedded, checks its output against the floor's, and returns a
// [Result], which is what -o json prints.
package bench
