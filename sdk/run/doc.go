// Package run runs pipelines in this process: the same scheduler and the same
// worker as in a cluster, joined by calls.
//
// [Main] is the body of a program that is a pipeline: flags, progress, signals,
// exit codes. [Run] is the function below it, for programs of another make and for
// tests.
//
// It is apart from package sdk because a pipeline knows no driver: sdk ends in a
// graph.
//
// Invariants:
//
//  1. Run neither reads flags, environment and signals nor prints; Main does.
//  2. What Main shows is read from counters while the job runs: showing it takes
//     nothing from the records' way but the counters' cache lines.
//  3. The standard output is the job's. Main writes there only the report that
//     `-o json` asks for, after the job's own output.
package run
