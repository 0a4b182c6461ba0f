// Package gossip finds the agents of a cluster and suspects those that are silent, with
// hashicorp/memberlist. It decides nothing: what it says may be late or wrong, and is a
// reason to look. Decisions are in cluster/registry.
//
//	seeds ─► Gossip ◄─ UDP, TCP ─► other agents
//	            │
//	            ├─► Members: who is here, who has failed, who has left
//	            └─► Events: what has changed
//
// Words: a member is an agent as gossip knows it, by its id. Its meta is what it tells of
// itself, in 512 bytes. A member has failed if it is silent, and has left if it said so. A
// seed is where to ask first: an address, a name in DNS, or a file of such.
//
// Invariants:
//
//  1. Without a key nothing beyond loopback is listened at, unless that is allowed in so many
//     words. With one, what is not sealed with a key of the ring is dropped.
//  2. Meta is checked before it is sent and before it is believed: a member whose meta cannot
//     be read is not taken in.
//  3. What Members and Events hand out is a copy. (The library's own list is written to while
//     it is read.)
//  4. Events are bounded: who does not read in time gets a Missed, and looks at Members.
//  5. Seeds are asked again, ever more rarely up to Options.Rejoin, for as long as one of
//     them is not a member: so the halves of a cluster that was cut find each other.
//
// A Gossip may be used from any goroutine. Open starts its goroutines, Close ends them;
// those of the library end within its timeouts.
package gossip
