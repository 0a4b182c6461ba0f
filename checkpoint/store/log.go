package store

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/flow/codec"
)

// Kind says what an [Entry] of the commit log is.
type Kind uint8

const (
	// Begins says that an attempt begins, with what the log's newest manifest holds.
	Begins Kind = 1
	// Fresh says that an attempt begins with nothing: older manifests are out of use.
	Fresh Kind = 2
	// Committed holds the manifest of an epoch.
	Committed Kind = 3
	// Removed stands where a manifest was that somebody has deleted.
	Removed Kind = 4
)

// String is the kind's name in messages.
func (k Kind) String() string {
	switch k {
	case Begins:
		return "begins"
	case Fresh:
		return "begins fresh"
	case Committed:
		return "committed"
	case Removed:
		return "removed"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Entry is one entry of a commit log.
type Entry struct {
	Kind    Kind   `msgpack:"kind"`
	Attempt uint64 `msgpack:"attempt"`
	// Writer is a random number of whoever claimed the attempt. It tells its entry
	// from the same one of another.
	Writer uint64 `msgpack:"writer"`
	// Epoch is that of the manifest or, where an attempt begins, the newest that the
	// job ever had.
	Epoch uint64 `msgpack:"epoch"`
	// Created is in microseconds since 1970.
	Created int64 `msgpack:"created"`
	// Host and PID say who has written it, for people.
	Host string `msgpack:"host"`
	PID  int    `msgpack:"pid"`
	// Manifest is a checkpoint.Manifest in its stored form.
	Manifest []byte `msgpack:"manifest"`
}

// String is for scripts and messages.
func (e *Entry) String() string {
	switch e.Kind {
	case Committed, Removed:
		return fmt.Sprintf("attempt %d %s epoch %d", e.Attempt, e.Kind, e.Epoch)
	}
	return fmt.Sprintf("attempt %d %s after epoch %d", e.Attempt, e.Kind, e.Epoch)
}

const (
	magicEntry   = "WRLE"
	entryVersion = 1
)

var entryCodec = func() *codec.Codec[Entry] {
	c, err := codec.For[Entry]()
	if err != nil {
		panic("store: entries cannot be stored: " + err.Error())
	}
	return c
}()

// AppendEntry appends the stored form of e; it has the frame of manifests.
func AppendEntry(dst []byte, e *Entry) []byte {
	start := len(dst)
	dst = append(append(dst, magicEntry...), entryVersion)
	dst = entryCodec.AppendNamed(dst, e)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// DecodeEntry reads what AppendEntry wrote. The error wraps checkpoint.ErrCorrupt or
// checkpoint.ErrVersion.
func DecodeEntry(b []byte) (*Entry, error) {
	if len(b) < 9 || string(b[:4]) != magicEntry {
		return nil, fmt.Errorf("%w: %d bytes are not an entry of a commit log", checkpoint.ErrCorrupt, len(b))
	}
	body := b[:len(b)-4]
	if got, want := crc32.Checksum(body, castagnoli), binary.LittleEndian.Uint32(b[len(b)-4:]); got != want {
		return nil, fmt.Errorf("%w: log entry has the sum %08x and says %08x", checkpoint.ErrCorrupt, got, want)
	}
	if v := body[4]; v != entryVersion {
		return nil, fmt.Errorf("%w: log entry has version %d, this release reads %d", checkpoint.ErrVersion, v, entryVersion)
	}
	e := new(Entry)
	rest, err := entryCodec.Decode(body[5:], e)
	if err != nil {
		return nil, fmt.Errorf("%w: log entry: %w", checkpoint.ErrCorrupt, err)
	}
	if len(rest) > 0 || e.Kind < Begins || e.Kind > Removed {
		return nil, fmt.Errorf("%w: log entry of %s with %d bytes behind its end", checkpoint.ErrCorrupt, e.Kind, len(rest))
	}
	return e, nil
}

// Numbered is an entry and its number in the log.
type Numbered struct {
	Number uint64
	*Entry
}

// View is what the entries of a log say together, as pure decisions.
//
// Numbers go up by one. Old entries are pruned from the front, lowest first, always
// up to a manifest that is kept; so what counts is the last run of numbers without a gap,
// and of it what follows. A sleeper may have woken up, found its old number free
// again, and put an entry in front of the run: its attempt shows it, since a manifest
// of another attempt right behind it, and not the beginning of that, could not be.
// Such entries, and those before a gap, are Stray: nobody reads them, and they are
// pruned.
type View struct {
	// Entries is the run that counts, in order.
	Entries []Numbered
	// Stray is what does not count.
	Stray []Numbered
}

// Read makes a view of all entries of a log.
func Read(all []Numbered) View {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b Numbered) int { return cmp.Compare(a.Number, b.Number) })
	first := len(all)
	for first > 0 {
		if first < len(all) && !follows(all[first-1], all[first]) {
			break
		}
		first--
	}
	return View{Entries: all[first:], Stray: all[:first]}
}

// follows reports whether b can be the entry right behind a.
func follows(a, b Numbered) bool {
	if b.Number != a.Number+1 {
		return false
	}
	switch b.Kind {
	case Begins, Fresh:
		return a.Attempt < b.Attempt
	}
	return a.Attempt == b.Attempt
}

// Next is the number of the entry to put next.
func (v View) Next() uint64 {
	if n := len(v.Entries); n > 0 {
		return v.Entries[n-1].Number + 1
	}
	return 1
}

// Attempt is the current attempt, 0 where there was none.
func (v View) Attempt() flow.Attempt {
	if n := len(v.Entries); n > 0 {
		return flow.Attempt(v.Entries[n-1].Attempt)
	}
	return 0
}

// LastEpoch is the newest epoch that the job has ever committed.
func (v View) LastEpoch() flow.Epoch {
	if n := len(v.Entries); n > 0 {
		return flow.Epoch(v.Entries[n-1].Epoch)
	}
	return 0
}

// Lost reports whether the log knows of an epoch that was committed, and holds no manifest
// and nothing that says why. Nothing prunes a log to that: somebody has removed files from
// it, and a job that took it for an empty one would give its results twice.
func (v View) Lost() bool {
	return v.LastEpoch() > 0 && !slices.ContainsFunc(v.Entries, func(e Numbered) bool { return e.Kind != Begins })
}

// Manifests are the entries with manifests in use, oldest first.
func (v View) Manifests() []Numbered {
	var out []Numbered
	for _, e := range v.Entries {
		switch e.Kind {
		case Fresh:
			out = nil
		case Committed:
			out = append(out, e)
		}
	}
	return out
}

// Retained is how many of the newest manifests are kept when retain are wanted.
// Savepoints are not counted: what comes after one builds on the files of the
// checkpoint before it. kind gives the flow.BarrierKind of a manifest's entry.
func (v View) Retained(retain int, kind func(Numbered) flow.BarrierKind) []Numbered {
	ms := v.Manifests()
	for i := len(ms) - 1; i >= 0; i-- {
		if kind(ms[i]) != flow.BarrierSavepoint {
			retain--
		}
		if retain == 0 {
			return ms[i:]
		}
	}
	return ms
}

// Prunable are the entries in front of the oldest of retained, and what is stray, in
// the order in which they may be deleted. Nothing in retained: then nothing but what
// is stray is prunable.
func (v View) Prunable(retained []Numbered) []Numbered {
	out := slices.Clone(v.Stray)
	for _, e := range v.Entries {
		if len(retained) == 0 || e.Number >= retained[0].Number {
			break
		}
		out = append(out, e)
	}
	return out
}
