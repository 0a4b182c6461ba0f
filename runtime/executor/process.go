package executor

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/runtime/artifact"
)

// drainTime is how long the output of a process is read after its end: what it wrote is there
// at once, and who else holds the pipes is about to be killed.
const drainTime = 200 * time.Millisecond

// process is an executor that lives.
type process struct {
	*Child
	dir    string
	lines  chan []byte // to its input, one at a time
	once   sync.Once
	cgroup *cgroup // may be nil
}

// closeInput ends what it is told, and a write that waits.
func (p *process) closeInput() {
	p.once.Do(func() {
		_ = p.Input.Close() // there is nothing to lose
		close(p.lines)
	})
}

// kill ends the process, its group and its cgroup.
func (p *process) kill() {
	p.cgroup.kill()
	p.Kill()
}

// spawn finds the program and starts it. It may take long, until ctx ends.
func (x *alloc) spawn(ctx context.Context) (_ *process, err error) {
	m, a := x.m, x.first
	for what, name := range map[string]string{"allocation": string(a.Alloc.ID), "job": a.Alloc.Job} {
		if err := checkName(what, name); err != nil {
			return nil, err
		}
	}
	log, err := newLog(m.logDir(a.Alloc.ID), m.o.logOptions(), m.o.testing.now)
	if err != nil {
		return nil, err
	}
	x.log.Store(log)
	path, err := x.program(ctx)
	if err != nil {
		return nil, err
	}
	dir := m.localDir(a.Alloc)
	if err := os.MkdirAll(filepath.Dir(dir), 0o750); err != nil {
		return nil, fmt.Errorf("executor: make the directory of a job: %w", err)
	}
	if err := m.inherit(a.Alloc.Job, dir); err != nil {
		return nil, err
	}
	p := &process{dir: dir, lines: make(chan []byte, 1)}
	defer func() {
		if err != nil {
			p.cgroup.remove()
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	tmp := filepath.Join(dir, "tmp")
	if err := errors.Join(os.RemoveAll(tmp), os.Mkdir(tmp, 0o700)); err != nil {
		return nil, fmt.Errorf("executor: make the directory of an executor: %w", err)
	}
	env, err := environment(a.Job, dir, os.LookupEnv, func(name string) (string, error) { return readSecret(m.o.Secrets, name) })
	if err != nil {
		return nil, err
	}
	args := append([]string{path}, a.Job.Args...)
	for _, arg := range args {
		if strings.ContainsRune(arg, 0) {
			return nil, fmt.Errorf("executor: the argument %.80q has a byte 0 in it", arg)
		}
	}
	if p.cgroup, err = m.cgroups.create(a); err != nil {
		m.o.Log.Warn("an executor runs without the limits of a cgroup", "alloc", a.Alloc.ID, "error", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	cmd := Command{Alloc: a.Alloc, Path: path, Args: args, Env: env, Dir: dir}
	if m.o.Start != nil {
		p.Child, err = m.o.Start(ctx, cmd)
	} else {
		p.Child, err = m.startLocal(ctx, cmd, p.cgroup)
	}
	if err != nil {
		return nil, fmt.Errorf("executor: start %s: %w", path, err)
	}
	x.attend(p)
	return p, nil
}

// program is the path of the job's program.
func (x *alloc) program(ctx context.Context) (string, error) {
	o, job := &x.m.o, x.first.Job
	if job.Artifact == "" {
		if o.Program == "" {
			return "", fmt.Errorf("executor: job %s names no program, and this agent has none of its own", job.Name)
		}
		return o.Program, nil
	}
	if o.Artifacts == nil {
		return "", fmt.Errorf("executor: this agent keeps no programs, and job %s needs %.80q", job.Name, job.Artifact)
	}
	h, err := artifact.ParseHash(job.Artifact)
	if err != nil {
		return "", err
	}
	var from []artifact.Source
	if o.Sources != nil {
		from = o.Sources(job)
	}
	path, release, err := o.Artifacts.Use(ctx, h, from...)
	if err != nil {
		return "", err
	}
	x.release = release
	return path, nil
}

// attend starts the goroutines that end with the process.
func (x *alloc) attend(p *process) {
	log, last := x.log.Load(), &lastWords{}
	x.m.wg.Go(func() {
		for b := range p.lines {
			_, err := p.Input.Write(b)
			x.sent <- err == nil // has room: one line is on its way
		}
	})
	var readers sync.WaitGroup
	readers.Go(func() { x.capture(log, streamOut, p.Out, func([]byte) {}) })
	readers.Go(func() { x.capture(log, streamErr, p.Err, last.say) })
	readers.Go(func() { x.hear(log, p.Events) })
	x.m.wg.Go(func() {
		how := p.Wait()
		until := time.Now().Add(drainTime)
		said := []Output{p.Out, p.Err, p.Events}
		for _, o := range said {
			_ = o.SetReadDeadline(until) // pipes have deadlines
		}
		readers.Wait()
		for _, o := range said {
			_ = o.Close() // they were read only
		}
		x.exited <- exitOf(how, p.cgroup, last)
	})
}

// exitOf says how a process ended.
func exitOf(how Ended, c *cgroup, last *lastWords) exit {
	e := exit{code: how.Code, signal: how.Signal}
	e.lines, e.head = last.lines()
	if how.Err != nil {
		e.head = "nobody knows how it ended: " + how.Err.Error()
	}
	e.oom = how.Signal == signalName(syscall.SIGKILL) && c.outOfMemory()
	return e
}

// capture writes a stream into the log until its end.
func (x *alloc) capture(log *outputLog, stream byte, r io.Reader, say func([]byte)) {
	s := lineSplitter{max: x.m.o.LogLine}
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		lines, open := s.split(buf[:n])
		for _, text := range lines {
			say(text)
		}
		log.write(stream, open, lines...)
		if err != nil { // the end, or nothing more within the drain time
			break
		}
	}
	for _, text := range s.rest() {
		say(text)
		log.write(stream, false, text)
	}
}

// maxBad is how many bad events are noted in the log; further ones are counted.
const maxBad = 5

// Events are read at this rate at most. An executor that says more waits.
const (
	eventBurst  = 200
	eventWindow = 100 * time.Millisecond
)

// hear reads events until their end. What is none is passed over.
func (x *alloc) hear(log *outputLog, r io.Reader) {
	in := bufio.NewReaderSize(r, 4<<10)
	bad, burst, since := 0, 0, time.Now()
	note := func(format string, args ...any) {
		if bad++; bad <= maxBad {
			log.note(fmt.Sprintf(format, args...))
		}
	}
	for {
		b, size, err := readLine(in, x.m.o.MaxEvent)
		var e api.ExecutorEvent
		switch {
		case size > x.m.o.MaxEvent:
			note("wrote an event of %d bytes, at most %d are read", size, x.m.o.MaxEvent)
		case len(bytes.TrimSpace(b)) == 0:
		default:
			if jerr := json.Unmarshal(b, &e); jerr != nil {
				note("wrote what is no event: %v: %.100q", jerr, b)
			} else {
				x.events <- e
			}
		}
		if err != nil {
			break
		}
		if burst++; burst >= eventBurst {
			time.Sleep(time.Until(since.Add(eventWindow)))
			burst, since = 0, time.Now()
		}
	}
	if bad > maxBad {
		log.note(fmt.Sprintf("wrote %d events that could not be read, in all", bad))
	}
}

// readLine reads a line of any size and keeps at most limit bytes of it. The bytes are the
// caller's.
func readLine(in *bufio.Reader, limit int) (line []byte, size int, err error) {
	for {
		part, err := in.ReadSlice('\n')
		size += len(part)
		if keep := limit - len(line); keep > 0 {
			line = append(line, part[:min(keep, len(part))]...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, os.ErrClosed) {
			return line, size, fmt.Errorf("executor: read events: %w", err)
		}
		return line, size, err
	}
}
