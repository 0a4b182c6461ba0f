package agent

import (
	"io/fs"
	"path/filepath"
)

// diskUse is what a directory's files come to. What goes away meanwhile counts nothing.
func diskUse(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // the rest still counts
		}
		if i, err := d.Info(); err == nil && i.Mode().IsRegular() {
			n += i.Size()
		}
		return nil
	})
	return n
}
