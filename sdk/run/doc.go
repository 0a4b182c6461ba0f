// Package run runs pipelines in this process: the same scheduler and the same
// worker as in a cluster, joined by calls.
//
// It is apart from package sdk because a pipeline knows no driver: sdk ends in a
// graph.
package run
