// Package store keeps checkpoints: the shell with I/O around package checkpoint.
//
// A [Storage] is a place for bytes under keys: a directory, a bucket. A [Job] is
// what one job has in it:
//
//	jobs/JOB/log/NUMBER             the commit log, one entry a number
//	jobs/JOB/blobs/ATTEMPT/EPOCH-…  files of snapshots
//	jobs/JOB/staged/ATTEMPT/…       files of sinks
//
// The commit log is what fences. Each entry, whether it says that an attempt begins or
// holds the manifest of an epoch, is put under the next number if there is nothing
// yet. Who finds the number taken by another has been replaced: [ErrFenced]. See
// [View] for how a log is read.
//
// Words: a blob is a stored file, under a key that is never used for other content. A
// manifest is retained as long as [JobOptions.Retain] says; an entry that went out
// of use is pruned. A blob is reachable when a retained manifest names it.
//
// Invariants:
//
//  1. A manifest is in the log only if everything that it names was safe before: a
//     Storage acknowledges nothing that a power cut could take back.
//  2. Of two attempts the older one puts no manifest into the log once the newer one
//     has begun, however long it slept and whatever answers were lost.
//  3. What a retained manifest names is not removed, and savepoints are not touched.
//  4. What is read is checked against length and sum, and an error comes instead of
//     io.EOF where they are others. [Files] says what is checked of a file that is
//     linked and not read.
//  5. No goroutine outlives the call that started it, but for those of an [Upload],
//     which are gone when its Done or Abort returns.
//
// A Storage and a Job may be used by any number of goroutines. A [Task] and its
// Uploads belong to one goroutine at a time.
package store
