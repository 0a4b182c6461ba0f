// Package run runs pipelines in this process: the same scheduler and the same
// worker as in a cluster, joined by calls.
//
// [Main] is the body of a program that is a pipeline: flags, progress, signals,
// exit codes. [Run] is the function below it, for programs of another make and for
// tests.
//
// A program that an agent of a cluster has started is an executor: Main finds that in the
// environment, reads what to run from the standard input (api.ExecutorConfig, then
// api.ExecutorCommands), tells on file descriptor 3 what becomes of it, and ends when
// its input does. The pipeline is built as ever, from the arguments of the submission;
// processes that have built different graphs refuse each other.
//
// It is apart from package sdk because a pipeline knows no driver: sdk ends in a
// graph.
//
// Invariants:
//
//  1. Run neither reads flags, environment and signals nor prints; Main does. Of the
//     environment Run looks at one variable, to refuse what must not be.
//  2. What Main shows is read from counters while the job runs: showing it takes
//     nothing from the records' way but the counters' cache lines.
//  3. The standard output is the job's. Main writes there only the report that
//     `-o json` asks for, after the job's own output.
package run
