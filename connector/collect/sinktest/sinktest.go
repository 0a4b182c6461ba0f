// Package sinktest drives a sink by hand, as a job would but without one: for the
// tests of connectors.
//
// A [Job] takes its sink through attempts and epochs in the order of the engine: at
// the start of an attempt the newest committed epoch is committed once more, then
// leftovers are removed, then writers are made; an epoch is written, prepared,
// committed to the manifest, and then to the sink. Whatever fails in it fails the
// attempt, and the next one goes on from the manifest.
//
// All methods are for the test's goroutine.
package sinktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/internal/obs"
	"github.com/weirflow/weir/operator"
)

// Job is a sink in use.
type Job[T any] struct {
	Name    flow.JobID
	Staging *Staging
	// Subtasks is the number of writers; 0 means 1.
	Subtasks int
	// Attempt is the newest one's number.
	Attempt flow.Attempt
	// Epoch is the newest one in the manifest, and Prepared what its writers prepared.
	Epoch    flow.Epoch
	Prepared [][]byte
	// BeforeManifest may fail an epoch that is prepared and not yet in the manifest.
	BeforeManifest func() error

	Committer operator.Committer
	writers   []operator.Writer[T]
}

// Start begins an attempt.
func (j *Job[T]) Start(ctx context.Context, sink operator.Sink[T]) error {
	j.Stop()
	j.Attempt++
	log := slog.New(slog.DiscardHandler)
	c, err := sink.Committer(&operator.CommitterContext{
		Job: j.Name, Attempt: j.Attempt, Operator: "out", Name: "out", Staging: j.Staging, Log: log,
	})
	if err != nil {
		return err
	}
	j.Committer = c
	if j.Epoch > 0 && len(j.Prepared) > 0 {
		if err := c.Commit(ctx, j.Epoch, j.Prepared); err != nil {
			return fmt.Errorf("repeating epoch %d: %w", j.Epoch, err)
		}
	}
	if r, ok := c.(operator.Recoverer); ok {
		if err := r.Recover(ctx, j.Epoch); err != nil {
			return fmt.Errorf("recovering: %w", err)
		}
	}
	for i := range max(j.Subtasks, 1) {
		w, err := sink.Writer(&operator.WriterContext{
			Context: ctx, Job: j.Name, Attempt: j.Attempt, Operator: "out", Name: "out", Subtask: i, Parallelism: max(j.Subtasks, 1),
			Log: log, Metrics: &obs.Operator{}, Now: func() flow.Time { return 0 }, WakeAt: func(flow.Time) {}, Staging: j.Staging,
		})
		if err != nil {
			return err
		}
		j.writers = append(j.writers, w)
	}
	return nil
}

// Write hands values to the writers, in turn.
func (j *Job[T]) Write(values ...T) error {
	for i, v := range values {
		if err := j.writers[i%len(j.writers)].Write(&flow.Batch[T]{Values: []T{v}}); err != nil {
			return err
		}
	}
	return nil
}

// End ends the epoch that Write has filled. It reports whether the epoch is in the
// manifest, and so will be committed whatever the error is.
func (j *Job[T]) End(ctx context.Context) (bool, error) {
	e := j.Epoch + 1
	var prepared [][]byte
	for _, w := range j.writers {
		p, err := w.Prepare(flow.Barrier{Epoch: e})
		if err != nil {
			return false, err
		}
		if p != nil {
			prepared = append(prepared, p)
		}
	}
	if j.BeforeManifest != nil {
		if err := j.BeforeManifest(); err != nil {
			return false, err
		}
	}
	j.Epoch, j.Prepared = e, prepared
	if len(prepared) == 0 {
		return true, nil
	}
	return true, j.Committer.Commit(ctx, e, prepared)
}

// Stop ends the attempt, as a failure does: what is not in the manifest is dropped.
func (j *Job[T]) Stop() {
	for _, w := range j.writers {
		_ = w.Close()
	}
	if j.Committer != nil {
		_ = j.Committer.Close()
	}
	j.writers, j.Committer = nil, nil
}

// Staging is an operator.Staging in memory.
type Staging struct {
	files map[string][]byte
	next  int
	// Damage is called with the bytes of each file that is opened, which it may change.
	Damage func(data []byte) []byte
	// Unchecked leaves the bytes as they are: a reader must find damage itself.
	Unchecked bool
}

var _ operator.Staging = (*Staging)(nil)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Files is the number of files that are kept.
func (s *Staging) Files() int { return len(s.files) }

// Create begins a file.
func (s *Staging) Create(_ context.Context, name string) (operator.StagedWriter, error) {
	return &stagedWriter{s: s, name: name}, nil
}

// Open reads a file back.
func (s *Staging) Open(_ context.Context, f checkpoint.File) (io.ReadCloser, error) {
	data, ok := s.files[f.Blob]
	if !ok {
		return nil, fmt.Errorf("sinktest: there is no staged file %q", f.Blob)
	}
	data = bytes.Clone(data)
	if s.Damage != nil {
		data = s.Damage(data)
	}
	r := &stagedReader{Reader: bytes.NewReader(data)}
	if !s.Unchecked && crc32.Checksum(data, castagnoli) != f.CRC {
		r.end = errors.New("sinktest: the staged file has another checksum")
	}
	return r, nil
}

type stagedReader struct {
	*bytes.Reader
	end error
}

// WriteTo is left out: the error must come.
func (r *stagedReader) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{r})
}

func (r *stagedReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err == io.EOF && r.end != nil {
		err = r.end
	}
	return n, err
}

func (*stagedReader) Close() error { return nil }

type stagedWriter struct {
	s    *Staging
	name string
	buf  bytes.Buffer
	done bool
}

func (w *stagedWriter) Write(p []byte) (int, error) { return w.buf.Write(p) }

func (w *stagedWriter) Commit() (checkpoint.File, error) {
	if w.done {
		return checkpoint.File{}, errors.New("sinktest: the staged file was ended before")
	}
	w.done = true
	if w.s.files == nil {
		w.s.files = map[string][]byte{}
	}
	w.s.next++
	f := checkpoint.File{Name: w.name, Blob: fmt.Sprintf("%s-%d", w.name, w.s.next), Size: int64(w.buf.Len()), CRC: crc32.Checksum(w.buf.Bytes(), castagnoli)}
	w.s.files[f.Blob] = w.buf.Bytes()
	return f, nil
}

func (w *stagedWriter) Abort() { w.done = true }
