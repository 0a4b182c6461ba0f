// Package sim runs whole clusters in one process, on a simulated network and with fake time:
// five agents of which three are servers, with raft, gossip, leases and all that decides, and
// a job with the coordinator, the executors, the tasks and the checkpoints that it has
// everywhere. Faults come by a schedule that a seed gives.
//
// Words. A [Network] joins hosts; what goes from one to another can be cut, held back, slowed
// and lost, for each direction and for control and partitions apart. A [Process] is an agent
// or an executor: it may be killed, or stand still. A host has a disk, which an agent that is
// started again finds as it was; a ledger is where the job's results go.
//
// What is real: all of internal/node, api/rpc with gRPC, cluster/raft with its log on disk,
// cluster/gossip, runtime/executor but for the process, shuffle/wire, and what runs tasks.
// What is not: TCP, UDP, time, processes, the storage of checkpoints, programs.
//
// What is checked of every schedule:
//
//  1. The job ends in its time, and its committed results are those of a run that nobody has
//     disturbed: none lost, none doubled.
//  2. No allocation has two executors at a time.
//  3. What the leader takes for ended does not run, unless its agent stood still.
//  4. An executor that was killed is gone within a second.
//  5. All goroutines end.
//
// The same seed gives the same schedule, not the same interleaving: goroutines run as they
// do. A failure is printed with the schedule, which is then made smaller by leaving out
// faults for as long as it fails.
//
//	make sim SIM_SEEDS=500                                   seeds from 1 on
//	go test ./internal/testkit/sim -run Sim -seed 17         one of them
//	go test ./internal/testkit/sim -run Sim -seed 17 -keep 0,3   with some of its faults
package sim
