// Package file reads and writes files: text, CSV, JSON Lines, Avro and Parquet,
// plain or compressed with gzip or zstd.
//
// A path names a file, a folder or a glob. The enumerator lists it and cuts large
// files into splits; the readers read splits. With [Watch] the listing is
// repeated for ever, and files that appear later are read too.
//
// Words: a split is a part of one file, or all of it. A cursor reads one split of
// one format. A block is a piece of a file held in memory, from which lines are
// cut; it is never written again once a line of it was handed out, so that lines
// are substrings and cost no allocation. A part is a file that a sink is writing.
//
// Which files are taken: those that the path names, but for names that begin with
// '.' or '_' or end in .tmp or .inprogress, which are taken to be unfinished.
// A file is taken as it was when it was found. One that vanished, shrank, grew or
// was written again before its end was reached is an error that says where, since
// nobody can tell what was read of it.
//
// Compression is told by a file's first bytes. A damaged gzip file may bring wrong
// records before the damage shows: its checksum comes at its end. zstd has one for
// each frame, too. A compressed file is read as a whole, by one subtask; after a
// restart it is unpacked again up to the position.
//
// Invariants:
//
//  1. However a file is cut into splits, each record is read exactly once; and a
//     reader made from a snapshot reads exactly what the first had not returned.
//  2. A record that cannot be read goes to ReaderContext.Bad, with its place and
//     beginning; none is dropped silently. What is wrong with a file as a whole
//     (a broken gzip stream, Avro block, Parquet footer) goes there too, and if
//     it is tolerated the rest of the block or split is left out.
//  3. A sink's data is in its final place only after Commit, and then survives a
//     power cut. Until then it has a hidden name.
//  4. Memory is bounded: a line by MaxRecord, open parts by MaxOpen, the files that
//     a watched source remembers by MaxFiles.
//
// Nothing here starts a goroutine. Readers and writers belong to their task's
// goroutine, enumerators and committers to the one that calls them.
package file
