package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/shuffle/local"
	"github.com/weirflow/weir/shuffle/wire"
)

var shuffling = Case{
	Name: "shuffle",
	What: "one partition from process to process over loopback, with credit and checksums, beside a bare TCP stream of the same frames",
	run:  runShuffle,
}

// Shuffle is what the shuffle case measured beside what all do. An event of the result is a
// frame.
type Shuffle struct {
	FrameBytes int     `json:"frame_bytes"`
	MBPerS     float64 `json:"mb_per_s"`
	BareMBPerS float64 `json:"bare_mb_per_s"`
	// The processor time of both ends for a frame says more than the clock where others work on
	// the machine too: CPURatio is the bare stream's by the shuffle's.
	CPUMicros     float64 `json:"cpu_us_per_frame"`
	BareCPUMicros float64 `json:"bare_cpu_us_per_frame"`
	CPURatio      float64 `json:"cpu_ratio"`
}

// piece is a record that costs next to nothing to encode: what is measured is the way.
type piece [1 << 10]byte

const (
	piecesPerFrame = 64
	shuffleTurns   = 5 // of both in turn, so that both meet the same machine
)

func runShuffle(ctx context.Context, o Options) (r Result, err error) {
	frames := o.Events
	if frames == 0 {
		frames = 100_000
	}
	each := max(frames/shuffleTurns, 1)
	s := &Shuffle{}
	var wall, bareWall, cpu, bareCPU time.Duration
	for range shuffleTurns {
		m, err := measure(func() int64 { return each }, func() (err error) {
			s.FrameBytes, err = shuffleFrames(ctx, each)
			return err
		})
		if err != nil {
			return r, err
		}
		wall += seconds(m.WallS)
		cpu += seconds(m.CPUS)
		r.PeakRSSMB, r.AllocsPerEvent = max(r.PeakRSSMB, m.PeakRSSMB), max(r.AllocsPerEvent, m.AllocsPerEvent)
		if o.NoFloor {
			continue
		}
		if m, err = measure(func() int64 { return each }, func() error { return bareFrames(ctx, each, s.FrameBytes) }); err != nil {
			return r, err
		}
		bareWall += seconds(m.WallS)
		bareCPU += seconds(m.CPUS)
	}
	n := each * shuffleTurns
	r.Events, r.WallS, r.CPUS, r.EventsPerS = n, wall.Seconds(), cpu.Seconds(), float64(n)/wall.Seconds()
	s.MBPerS = r.EventsPerS * float64(s.FrameBytes) / 1e6
	s.CPUMicros = cpu.Seconds() / float64(n) * 1e6
	if !o.NoFloor {
		r.FloorPerS = float64(n) / bareWall.Seconds()
		s.BareMBPerS = r.FloorPerS * float64(s.FrameBytes) / 1e6
		s.BareCPUMicros = bareCPU.Seconds() / float64(n) * 1e6
		s.CPURatio = s.BareCPUMicros / max(s.CPUMicros, 1e-9)
	}
	r.Shuffle = s
	return r, nil
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// loopback listens where only this host can reach it.
func loopback() (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening on loopback: %w", err)
	}
	return l, nil
}

// passed is an operator that counts what it gets.
type passed struct{ records int64 }

func (p *passed) Receive(b *flow.Batch[piece]) error {
	p.records += int64(len(b.Values))
	return nil
}

// shuffleFrames sends n batches from one endpoint to another, and takes them off the gate. It
// returns the size of a frame.
func shuffleFrames(ctx context.Context, n int64) (size int, err error) {
	l, err := loopback()
	if err != nil {
		return 0, err
	}
	at, from := wire.New(wire.Options{Listener: l}), wire.New(wire.Options{})
	defer func() { err = errors.Join(err, from.Close(), at.Close()) }()
	gate, inlets := local.NewGate[piece](1, local.Options{BatchSize: piecesPerFrame})
	defer gate.Close()
	var got passed
	if err := gate.Attach(&got); err != nil {
		return 0, err
	}
	id := wire.PartitionID{Job: "shuffle", Attempt: 1, Edge: flow.EdgeID{To: "to"}}
	if _, err := wire.Attach(at, id, inlets[0], wire.AttachOptions{}); err != nil {
		return 0, err
	}
	s, err := wire.NewSender[piece](from, at.Addr().String(), id, wire.SenderOptions{BatchSize: piecesPerFrame})
	if err != nil {
		return 0, err
	}
	defer s.Close()
	var vals [piecesPerFrame]piece
	for i := range vals {
		for j := range vals[i] {
			vals[i][j] = byte(i * j >> 3)
		}
	}
	wake, over, stop := make(chan struct{}, 1), make(chan error, 1), make(chan struct{})
	gate.Notify(func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	go func() {
		for {
			e, ok, err := gate.Next()
			if err != nil || e.Control.Kind == flow.ControlEnd {
				over <- err
				return
			}
			if ok {
				continue
			}
			select {
			case <-wake:
			case <-stop:
				over <- nil
				return
			}
		}
	}()
	size = len(vals) * len(vals[0])
	for range n {
		b := s.Buffer()
		b.Values = append(b.Values, vals[:]...)
		if err := s.Send(ctx, b, size); err != nil {
			close(stop)
			return 0, errors.Join(err, <-over)
		}
	}
	s.Control(flow.Control{Kind: flow.ControlEnd})
	if err := <-over; err != nil {
		return 0, err
	}
	if got.records != n*piecesPerFrame {
		return 0, mismatch("number of records", got.records, n*piecesPerFrame)
	}
	return size, nil
}

// bareFrames sends n frames of size bytes: a head and a body, written together, and read into a
// buffer.
func bareFrames(ctx context.Context, n int64, size int) (err error) {
	l, err := loopback()
	if err != nil {
		return err
	}
	defer l.Close()
	over := make(chan error, 1)
	go func() { over <- takeFrames(l, n, size) }()
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", l.Addr().String())
	if err != nil {
		return errors.Join(fmt.Errorf("a bare stream: %w", err), l.Close(), <-over)
	}
	body, head := make([]byte, size), make([]byte, 24) // as long as those of package wire
	binary.LittleEndian.PutUint32(head, uint32(size))
	for range n {
		frame := net.Buffers{head, body}
		if _, err = frame.WriteTo(c); err != nil {
			break
		}
	}
	err = errors.Join(err, c.Close())
	return errors.Join(err, <-over)
}

// takeFrames reads n frames from the first connection.
func takeFrames(l net.Listener, n int64, size int) error {
	c, err := l.Accept()
	if err != nil {
		return fmt.Errorf("a bare stream: %w", err)
	}
	defer c.Close()
	buf := make([]byte, max(size, 24))
	for range n {
		if _, err := io.ReadFull(c, buf[:24]); err != nil {
			return fmt.Errorf("a bare stream: %w", err)
		}
		if _, err := io.ReadFull(c, buf[:binary.LittleEndian.Uint32(buf)]); err != nil {
			return fmt.Errorf("a bare stream: %w", err)
		}
	}
	return nil
}
