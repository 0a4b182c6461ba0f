package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/weirflow/weir/flow/codec"
)

// magic begins a connection, in both directions, with the version behind it.
const magic = "weirwire"

// Version is the version of the form. Both sides must have the same: a job's processes run
// one program.
const Version = 1

// preambleSize is the length of magic and version.
const preambleSize = len(magic) + 4

// maxHello is the largest body of a frame before the connection is made, and of frames that
// are not batches after it.
const maxHello = 8 << 10

// lingers is how long a process that was refused may take to hear why.
const lingers = 100 * time.Millisecond

// ErrVersion is why two processes do not talk. Callers may use errors.Is.
var ErrVersion = errors.New("shuffle/wire: the other process speaks another version")

// greeting is the body of hello, welcome and refused.
type greeting struct {
	Job    string
	Name   string
	Reason string
}

func appendPreamble(dst []byte, version uint32) []byte {
	return binary.LittleEndian.AppendUint32(append(dst, magic...), version)
}

// readPreamble reads magic and version. It reads no byte more, so that what follows can be
// read through a buffer.
func readPreamble(r io.Reader) error {
	var b [preambleSize]byte
	if n, err := io.ReadFull(r, b[:]); err != nil {
		if n == 0 {
			return err
		}
		return cut(err)
	}
	if string(b[:len(magic)]) != magic {
		return protocol("the connection begins with %q and not with %q", b[:len(magic)], magic)
	}
	if v := binary.LittleEndian.Uint32(b[len(magic):]); v != Version {
		return fmt.Errorf("%w: %d and not %d: run the same release of both", ErrVersion, v, Version)
	}
	return nil
}

// dialog is the handshake of one side.
type dialog struct {
	opt    *Options
	greets *codec.Codec[greeting]
}

func newDialog(opt *Options) (*dialog, error) {
	c, err := codec.For[greeting]()
	if err != nil {
		return nil, fmt.Errorf("shuffle/wire: %w", err)
	}
	return &dialog{opt, c}, nil
}

func (d *dialog) frame(k kind, g greeting) []byte {
	return appendFrame(nil, header{kind: k}, d.greets.AppendNamed(nil, &g))
}

func (d *dialog) read(f *frames, body []byte) (g greeting, err error) {
	rest, err := d.greets.Decode(body, &g)
	if err != nil || len(rest) > 0 {
		return g, protocol("a greeting: %v, %d bytes behind it", err, len(rest))
	}
	return g, nil
}

// ask greets a process, and returns its name and what reads its frames.
func (d *dialog) ask(c net.Conn) (peer string, f *frames, err error) {
	if err := c.SetDeadline(time.Now().Add(d.opt.HandshakeTimeout)); err != nil {
		return "", nil, err
	}
	hello := append(appendPreamble(nil, Version), d.frame(kindHello, greeting{Job: d.opt.Job, Name: d.opt.Name})...)
	if _, err := c.Write(hello); err != nil {
		return "", nil, fmt.Errorf("greeting it: %w", err)
	}
	if err := readPreamble(c); err != nil {
		return "", nil, fmt.Errorf("its greeting: %w", cut(err))
	}
	f = newFrames(c, creditBuffer, maxHello)
	h, body, err := f.next()
	if err != nil {
		return "", nil, fmt.Errorf("its greeting: %w", cut(err))
	}
	g, err := d.read(f, body)
	switch {
	case err != nil:
		return "", nil, err
	case h.kind == kindRefused:
		return "", nil, fmt.Errorf("refused: %s", g.Reason)
	case h.kind != kindWelcome:
		return "", nil, protocol("a greeting is answered by %s", h.kind)
	}
	return g.Name, f, c.SetDeadline(time.Time{})
}

// answer hears a process that has connected, and returns its name. Where it is refused it is
// told why.
func (d *dialog) answer(c net.Conn, full bool) (peer string, f *frames, err error) {
	if err := c.SetDeadline(time.Now().Add(d.opt.HandshakeTimeout)); err != nil {
		return "", nil, err
	}
	g, f, err := d.hear(c)
	switch {
	case err != nil:
	case full:
		err = fmt.Errorf("there are %d connections already", d.opt.MaxConnections)
	case d.opt.Job != "" && g.Job != "" && d.opt.Job != g.Job:
		err = fmt.Errorf("this process is of job %q and not of %q", d.opt.Job, g.Job)
	}
	if err != nil {
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			// Best effort: the connection is closed in any case.
			_, _ = c.Write(append(appendPreamble(nil, Version), d.frame(kindRefused, greeting{Name: d.opt.Name, Reason: err.Error()})...))
			// What it has sent in the meantime is read, for to close with it unread would
			// cut off the answer.
			_ = c.SetReadDeadline(time.Now().Add(lingers))
			_, _ = io.CopyN(io.Discard, c, readBuffer)
		}
		return g.Name, nil, err
	}
	if _, err := c.Write(append(appendPreamble(nil, Version), d.frame(kindWelcome, greeting{Job: d.opt.Job, Name: d.opt.Name})...)); err != nil {
		return g.Name, nil, err
	}
	f.limit = d.opt.MaxFrame
	return g.Name, f, c.SetDeadline(time.Time{})
}

func (d *dialog) hear(c net.Conn) (g greeting, f *frames, err error) {
	if err := readPreamble(c); err != nil {
		return g, nil, err
	}
	f = newFrames(c, readBuffer, maxHello)
	h, body, err := f.next()
	if err != nil {
		return g, nil, err
	}
	if h.kind != kindHello {
		return g, nil, protocol("a connection begins with %s", h.kind)
	}
	g, err = d.read(f, body)
	return g, f, err
}
