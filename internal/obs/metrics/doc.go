// Package metrics shows the counters of package obs to Prometheus.
//
// A [Job] collects what one process knows of its job: each operator, each exchange, and, where
// the job's scheduler runs, its checkpoints and attempts. [Process] is what the Go runtime and
// the system know of the process. An executor hands all of it to its agent as one
// text ([Pack]); the agent unpacks it ([Unpack]), says whose it is, and shows it beside its own
// ([Write]).
//
// Its words: a family is a metric with all its series, a scrape is one look at all families.
//
// Names begin with weir_ and end in their unit. Labels are few, so that the number of series
// is bounded: figures are of an operator and not of its subtasks.
//
//	job_name        the job. Prometheus itself calls what it scrapes a job, hence the longer name
//	alloc           the executor, where an agent shows it
//	operator, name  an operator's id, and what its program calls it
//
// Invariants:
//
//  1. A scrape costs what reads of counters cost; records are never counted for it anew.
//  2. What an executor hands over is a stranger's: its size and its number of series are bounded,
//     its labels job_name and alloc are the agent's, and a family of it that does not fit is left out.
//  3. One executor that does not answer takes its own families away and no others.
//
// Everything may be called from any goroutine.
package metrics
