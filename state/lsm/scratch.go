package lsm

import "github.com/cockroachdb/pebble/v2/vfs"

// scratch is a file system on which nothing is synced. What a store has on disk is of
// no use after a crash (invariant 2), so it need not wait for the disk; what is to
// survive is synced by whoever takes it over as a part of a snapshot. With it a cut is
// on its way as soon as it is written, also on a disk that takes its time.
type scratch struct{ vfs.FS }

func (s scratch) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return wrapScratch(s.FS.Create(name, c))
}

func (s scratch) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return wrapScratch(s.FS.OpenReadWrite(name, c, opts...))
}

func (s scratch) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return wrapScratch(s.FS.ReuseForWrite(from, to, c))
}

func (s scratch) OpenDir(name string) (vfs.File, error) { return wrapScratch(s.FS.OpenDir(name)) }

// Unwrap is the file system itself.
func (s scratch) Unwrap() vfs.FS { return s.FS }

func wrapScratch(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return scratchFile{f}, nil
}

type scratchFile struct{ vfs.File }

func (scratchFile) Sync() error                             { return nil }
func (scratchFile) SyncData() error                         { return nil }
func (scratchFile) SyncTo(int64) (fullSync bool, err error) { return false, nil }
