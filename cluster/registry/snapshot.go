package registry

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"
)

// The form of a snapshot: docs/format/cluster-snapshot.md. Its last byte is the version.
const (
	snapshotMagic = "weirreg\x01"
	// maxFrame bounds one piece: a job with all its versions and events is well below.
	maxFrame = 4 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// piece is one frame's body. One of its fields is there.
type piece struct {
	Head     *snapshotHead `json:"head,omitempty"`
	Node     *Node         `json:"node,omitempty"`
	Artifact *Artifact     `json:"artifact,omitempty"`
	Job      *Job          `json:"job,omitempty"`
	Alloc    *Alloc        `json:"alloc,omitempty"`
	Events   []Event       `json:"events,omitempty"`
}

type snapshotHead struct {
	Level   int    `json:"level"`
	Applied uint64 `json:"applied"`
	Index   uint64 `json:"index"`
}

// Snapshot is a state to be written. The registry may go on meanwhile.
type Snapshot struct{ s *state }

// Snapshot takes the state as it is. It is refused by a replica that is [Registry.Behind].
func (r *Registry) Snapshot() (*Snapshot, error) {
	if err := r.Behind(); err != nil {
		return nil, fmt.Errorf("registry: no snapshot is taken without what a newer release has decided: %w", err)
	}
	return &Snapshot{r.View().s.at(r.Applied())}, nil
}

// at says up to which entry a view's state goes: refused entries make no new view.
func (s *state) at(applied uint64) *state {
	c := *s
	c.applied = max(c.applied, applied)
	return &c
}

// WriteTo writes it: equal states give equal bytes.
func (s *Snapshot) WriteTo(w io.Writer) (int64, error) {
	out := frameWriter{w: bufio.NewWriterSize(w, 64<<10)}
	out.write([]byte(snapshotMagic))
	out.piece(&piece{Head: &snapshotHead{Level: Level, Applied: s.s.applied, Index: s.s.index}})
	for _, n := range byKey(s.s.nodes) {
		out.piece(&piece{Node: n})
	}
	for _, a := range byKey(s.s.artifacts) {
		out.piece(&piece{Artifact: a})
	}
	for _, j := range byKey(s.s.jobs) {
		out.piece(&piece{Job: j})
	}
	for _, a := range byKey(s.s.allocs) {
		out.piece(&piece{Alloc: a})
	}
	if len(s.s.events) > 0 {
		out.piece(&piece{Events: s.s.events})
	}
	out.end()
	if out.err != nil {
		return out.bytes, fmt.Errorf("registry: write a snapshot: %w", out.err)
	}
	return out.bytes, nil
}

func byKey[K cmp.Ordered, V any](m map[K]V) (list []V) {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		list = append(list, m[k])
	}
	return list
}

// frameWriter keeps the first error.
type frameWriter struct {
	w     *bufio.Writer
	err   error
	bytes int64
	count uint64
}

func (f *frameWriter) write(b []byte) {
	if f.err != nil {
		return
	}
	n, err := f.w.Write(b)
	f.bytes += int64(n)
	f.err = err
}

func (f *frameWriter) piece(p *piece) {
	body, err := marshal(p)
	if err == nil && len(body) > maxFrame {
		err = fmt.Errorf("%w: a record takes %d bytes", ErrLimit, len(body))
	}
	if f.err == nil {
		f.err = err
	}
	if f.err != nil {
		return
	}
	var head [8]byte
	binary.LittleEndian.PutUint32(head[:], uint32(len(body)))
	binary.LittleEndian.PutUint32(head[4:], crc32.Checksum(body, castagnoli))
	f.write(head[:])
	f.write(body)
	f.count++
}

func (f *frameWriter) end() {
	var end [16]byte
	binary.LittleEndian.PutUint64(end[8:], f.count)
	binary.LittleEndian.PutUint32(end[4:], crc32.Checksum(end[8:], castagnoli))
	f.write(end[:])
	if f.err == nil {
		f.err = f.w.Flush()
	}
}

// Restore puts a snapshot in the place of the state. Where it returns an error the state
// is what it was.
func (r *Registry) Restore(from io.Reader) error {
	s, err := readState(bufio.NewReaderSize(from, 64<<10))
	if err != nil {
		return fmt.Errorf("registry: restore a snapshot: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.s, r.mu.behind = s, nil
	r.wakeLocked()
	return nil
}

func readState(in io.Reader) (*state, error) {
	magic := make([]byte, len(snapshotMagic))
	if _, err := io.ReadFull(in, magic); err != nil {
		return nil, short(err)
	}
	switch {
	case string(magic[:7]) != snapshotMagic[:7]:
		return nil, fmt.Errorf("%w: it does not begin as one", ErrForm)
	case string(magic) != snapshotMagic:
		return nil, fmt.Errorf("%w: version %d, and this release reads 1: upgrade this server", ErrNewer, magic[7])
	}
	s := newState()
	for count := uint64(0); ; count++ {
		body, err := readFrame(in, count)
		if err == nil && body == nil {
			if count == 0 {
				return nil, fmt.Errorf("%w: it is empty", ErrForm)
			}
			break
		}
		var p piece
		if err == nil {
			err = unmarshal(body, &p)
			if err != nil {
				err = fmt.Errorf("%w: %w", ErrForm, err)
			}
		}
		if err == nil {
			err = s.add(&p, count == 0)
		}
		if err != nil {
			return nil, fmt.Errorf("piece %d: %w", count+1, err)
		}
	}
	if n, err := in.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: something follows its end", ErrForm)
	}
	for _, j := range s.jobs {
		s.sortMade(j.Allocs)
	}
	return s, nil
}

// readFrame returns the next body; nil at the end, which knows how many there were.
func readFrame(in io.Reader, count uint64) ([]byte, error) {
	var head [8]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return nil, short(err)
	}
	size, sum := binary.LittleEndian.Uint32(head[:]), binary.LittleEndian.Uint32(head[4:])
	isEnd := size == 0
	if isEnd {
		size = 8
	}
	if size > maxFrame {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are possible", ErrForm, size, maxFrame)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(in, body); err != nil {
		return nil, short(err)
	}
	if crc32.Checksum(body, castagnoli) != sum {
		return nil, fmt.Errorf("%w: its bytes have changed: the sum is wrong", ErrForm)
	}
	if !isEnd {
		return body, nil
	}
	if n := binary.LittleEndian.Uint64(body); n != count {
		return nil, fmt.Errorf("%w: it has %d pieces, and %d were written", ErrForm, count, n)
	}
	return nil, nil
}

func short(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it is cut off", ErrForm)
	}
	return err
}

// add takes one piece into a state that is being read. What the rest of the package takes
// for granted is looked at: sums guard against disks, not against other programs.
func (s *state) add(p *piece, first bool) error {
	if first != (p.Head != nil) {
		return fmt.Errorf("%w: the head is missing, or not the first piece", ErrForm)
	}
	switch {
	case p.Head != nil:
		if p.Head.Level > Level {
			return fmt.Errorf("%w: level %d, and this release knows up to %d: upgrade this server", ErrNewer, p.Head.Level, Level)
		}
		s.applied, s.index = p.Head.Applied, p.Head.Index
		return nil
	case p.Node != nil:
		return s.addNode(p.Node)
	case p.Artifact != nil:
		if err := checkHash(p.Artifact.Hash); err != nil || s.artifacts[p.Artifact.Hash] != nil || len(s.artifacts) >= MaxArtifacts {
			return fmt.Errorf("%w: program %.100q", ErrForm, p.Artifact.Hash)
		}
		s.artifacts[p.Artifact.Hash] = p.Artifact
		return nil
	case p.Job != nil:
		return s.addJob(p.Job)
	case p.Alloc != nil:
		return s.addAlloc(p.Alloc)
	case len(p.Events) > MaxEvents:
		return fmt.Errorf("%w: %d events", ErrForm, len(p.Events))
	case len(p.Events) > 0:
		s.events = p.Events
		return nil
	}
	return fmt.Errorf("%w: it holds nothing that this release knows: upgrade this server", ErrNewer)
}

func (s *state) addNode(n *Node) error {
	err := checkName("a node", string(n.Info.ID))
	if err != nil || s.nodes[n.Info.ID] != nil || len(s.nodes) >= MaxNodes {
		return fmt.Errorf("%w: node %.100q", ErrForm, n.Info.ID)
	}
	s.nodes[n.Info.ID] = n
	return nil
}

func (s *state) addJob(j *Job) error {
	err := checkName("a job", j.Name)
	if err != nil || s.jobs[j.Name] != nil || len(s.jobs) >= 2*(MaxJobs+MaxEnded) ||
		len(j.Versions) == 0 || len(j.Versions) > MaxVersions || j.Spec().Name != j.Name ||
		len(j.Savepoints) > MaxSavepoints || len(j.Events) > MaxJobEvents {
		return fmt.Errorf("%w: job %.100q", ErrForm, j.Name)
	}
	for i := range j.Versions {
		size, err := specSize(&j.Versions[i].Spec)
		if err != nil {
			return fmt.Errorf("%w: job %s: %w", ErrForm, j.Name, err)
		}
		j.bytes += size
	}
	s.specs += j.bytes
	s.jobs[j.Name] = j
	return nil
}

func (s *state) addAlloc(a *Alloc) error {
	id := a.Alloc.ID
	j, n := s.jobs[a.Alloc.Job], s.nodes[a.Alloc.Node]
	if checkName("an allocation", string(id)) != nil || s.allocs[id] != nil || a.Status.Alloc != id || j == nil ||
		a.Live() && (n == nil || s.live >= MaxAllocs) {
		return fmt.Errorf("%w: allocation %.100q of job %.100q on node %.100q", ErrForm, id, a.Alloc.Job, a.Alloc.Node)
	}
	a.Status.Job = nil
	s.allocs[id] = a
	j.Allocs = append(j.Allocs, id)
	if a.Live() {
		s.live++
		at, _ := slices.BinarySearch(n.Allocs, id)
		n.Allocs = slices.Insert(n.Allocs, at, id)
	}
	return nil
}
