package store

import "io"

// Whole is a reader of a blob that has size bytes: a connection that is cut does not
// look like the end. wrap makes the storage's error of one in reading.
func Whole(r io.ReadCloser, size int64, wrap func(error) error) io.ReadCloser {
	return &whole{r, size, wrap}
}

type whole struct {
	r    io.ReadCloser
	left int64
	wrap func(error) error
}

func (w *whole) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.left -= int64(n)
	if err == io.EOF && w.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err == nil || err == io.EOF {
		return n, err
	}
	return n, w.wrap(err)
}

func (w *whole) Close() error { return w.r.Close() }
