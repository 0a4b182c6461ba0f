package web

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

// transferTimeout is how long a peer may take for what it sends or takes next.
const transferTimeout = 30 * time.Second

// renewing sets a deadline for what is written, and none for the time in which nothing is: an
// answer may take long to come, and a stream may be quiet.
type renewing struct {
	http.ResponseWriter
	control *http.ResponseController
	status  int // 0 before the answer
}

func newRenewing(w http.ResponseWriter) *renewing {
	return &renewing{ResponseWriter: w, control: http.NewResponseController(w)}
}

// Unwrap is for http.ResponseController.
func (r *renewing) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// WriteHeader begins the answer.
func (r *renewing) WriteHeader(status int) {
	r.within(transferTimeout)
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// code is what was answered.
func (r *renewing) code() int {
	if r.status == 0 {
		return http.StatusOK // which the library writes where nobody has said another
	}
	return r.status
}

func (r *renewing) Write(p []byte) (int, error) {
	r.within(transferTimeout)
	return r.ResponseWriter.Write(p)
}

// FlushError sends what is written so far.
func (r *renewing) FlushError() error {
	r.within(transferTimeout)
	err := r.control.Flush()
	_ = r.control.SetWriteDeadline(time.Time{}) // a recorder has none
	return err
}

func (r *renewing) within(d time.Duration) {
	_ = r.control.SetWriteDeadline(time.Now().Add(d)) // a recorder has none
}

// end sets deadlines for what the library does when the handler has returned: it sends what is
// buffered, and reads what was left of the body.
func (r *renewing) end() {
	r.within(transferTimeout)
	_ = r.control.SetReadDeadline(time.Now().Add(headerTimeout)) // a recorder has none
}

// renewingBody sets a deadline for each read, and none once all was read: the library reads on,
// to notice that a client has gone, and a deadline that passes would look like that.
type renewingBody struct {
	io.ReadCloser
	ctx     context.Context
	control *http.ResponseController
}

func (b *renewingBody) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	if err := b.control.SetReadDeadline(time.Now().Add(transferTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		_ = b.control.SetReadDeadline(time.Time{}) // what failed is told by err
	}
	return n, err
}
