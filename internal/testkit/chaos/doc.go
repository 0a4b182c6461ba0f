// Package chaos kills the processes of jobs with SIGKILL, at moments that a seed
// chooses, starts them again with the same command, and wants their results to be what
// they would have been.
//
// Words. A schedule is what a seed decides: the parts of the program in job that run,
// its input, and its lives. A life is one process: with settings of its own where they
// may differ from one to the next, and a mark at which it is killed, such as "30 ms
// after the second epoch that it commits". The last life is left alone.
//
// What is checked of every schedule:
//
//  1. The results are those of the oracle, a naive program that reads the whole input
//     and shares no code with the engine: no line more, none less.
//  2. A reader that looks at the results meanwhile, again and again, sees whole lines
//     of the oracle's in files that neither change nor vanish; and when a process has
//     been killed, no result is there of an epoch that is not committed.
//  3. `weir audit` balances the books.
//  4. At the end nothing is left behind: no hidden file, no working directory. The
//     same command once more changes nothing.
//
// The other tests are of programs that change from one process to the next, and of the
// example clickstream by `weir run`. What a killed process can do at a point of its
// own choosing is tested in package metamorphic, without processes; here the kernel
// decides.
//
// TestClusters does the same to clusters: three servers and two workers, which are agents
// with TLS and tokens in processes of their own, run one job from files or Kafka. A
// schedule there is a job, a cluster, and faults, which may overlap: processes are killed
// and stopped, agents restarted in order and out of order, hosts cut off in one direction or
// both, for some ports or all, disks filled, nodes drained, the job rescaled. In the end all is
// whole again, and the job has to finish. Beyond what stands above: no executor is left, no
// file of one, no log that has grown too long, no panic in any of them; and no result was
// ever seen of an epoch that was not committed. docs/design/0015-chaos-cluster.md has the
// list of faults and what they have found.
//
// How to run it:
//
//	go test ./internal/testkit/chaos          three schedules
//	make chaos                                20, the example, and Kafka
//	WEIR_CHAOS_SEED=7 go test -run Kills ...  one schedule, by its seed
//	make chaos-cluster                        50 schedules over clusters
//	make chaos-cluster CHAOS_FIRST=7 CHAOS_SEEDS=1 CHAOS_FAULTS=1,3
//	                                          one of them, with some of its faults
//
// A seed decides what is done, not when the kernel does it: a schedule that failed
// once may pass the next time. What is printed first is the one that counts.
package chaos
