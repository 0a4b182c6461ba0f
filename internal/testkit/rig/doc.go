// Package rig runs a cluster of real processes: agents of a given weir, on this host, with
// certificates, tokens and encrypted gossip if that is wanted.
//
// Its words: a node is an agent, whether its process runs or not; server1, server2 and so on
// take part in raft, worker1 and so on only run executors. All that belongs to a cluster is
// below one directory:
//
//	contexts.yaml          for the command line: one context for each role
//	pki/ tokens.json *.token gossip.key
//	secrets/               what jobs may name
//	NODE/agent.yaml        what the node is told
//	NODE/agent.log         what its processes have said, one after the other
//	NODE/data/             its data directory
//
// Invariants:
//
//  1. Processes die with the one that has started them, also if that is killed (on Linux), and
//     executors with their agent.
//  2. A node has the same addresses in all its lives. Ports are below those that the system
//     gives away for connections, and a cluster holds one more port of each node's, so that two
//     clusters on one host do not meet.
//  3. Close ends all, and says which process is left that the cluster has started, directly or
//     not: they are known by their environment, which names the directory.
//
// A [Cluster] may be used from any goroutine. It starts one for all processes, which lives
// until Close, and one for each process, which ends with it.
package rig
