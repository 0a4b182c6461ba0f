// Package portable is the form of snapshots in which any store can hand its entries
// to any other: one stream of bytes. Savepoints have it.
//
//	stream   = magic, section ...
//	magic    = "weirstate" and the format's version, 1
//	section  = type (1 byte), length (4), CRC-32C of type, length and payload (4), payload
//	  'H'    = header, in msgpack by name: max parallelism, first and end of the
//	           key groups, and of each state its id, operator, name, kind and schemas
//	  'G'    = entries of one key group: as often as needed
//	             length of key (uvarint), key, length of value (uvarint), value
//	             key = key group (2), state id (2), key · namespace (see state.Resident)
//	  'E'    = number of entries (8): nothing follows
//
// Numbers are big-endian. Sections of entries come in ascending order of key group
// and state id, each about 64 KB or one entry. There is one header, and it is
// first; a stream without its end section is not whole.
//
// Invariants:
//
//  1. A [Reader] takes streams from anywhere: whatever they hold, it returns an error
//     and does not panic, and takes no more memory than a multiple of what it read.
//  2. A stream that was read to its end is as it was written: all entries, each once
//     and unchanged.
//
// A Writer or Reader belongs to one goroutine.
package portable
