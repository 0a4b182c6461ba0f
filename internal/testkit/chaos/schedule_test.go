package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// mark is what a process has done when the time to its end begins to run.
type mark string

const (
	fromStart mark = "its start"
	fromEpoch mark = "an epoch is committed" // the first Count are let pass
	fromFile  mark = "a result is published"
)

// life is one process. Wait after Mark, or after Latest, it is killed; without a Mark it
// lives.
type life struct {
	Flags  []string
	Mark   mark
	Count  int
	Wait   time.Duration
	Latest time.Duration
}

func (l life) String() string {
	if l.Mark == "" {
		return strings.Join(l.Flags, " ") + "; lives"
	}
	return fmt.Sprintf("%s; killed %v after %s, %d before, or after %v", strings.Join(l.Flags, " "), l.Wait, l.Mark, l.Count, l.Latest)
}

// schedule is what a seed decides.
type schedule struct {
	Seed          uint64
	Parts         []string
	Events, Files int
	Keys          int
	Pace, Slow    time.Duration
	Lives         []life
}

func (s schedule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: parts %s, %d events with %d keys in %d files, pace %v, slow %v\n", s.Seed, strings.Join(s.Parts, ","), s.Events, s.Keys, s.Files, s.Pace, s.Slow)
	for i, l := range s.Lives {
		fmt.Fprintf(&b, "  life %d: %s\n", i+1, l)
	}
	return b.String()
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// drawSchedule makes the schedule of a seed.
func drawSchedule(seed uint64) schedule {
	r := rand.New(rand.NewPCG(seed, 0xc4a05))
	s := schedule{Seed: seed, Events: 4000 + r.IntN(12_000), Files: 1 + r.IntN(6), Keys: pick(r, 7, 100, 2000)}
	all := []string{"map", "keyed", "windows", "joins", "timers"}
	for _, i := range r.Perm(len(all))[:1+r.IntN(3)] {
		s.Parts = append(s.Parts, all[i])
	}
	slices.Sort(s.Parts)
	// Undisturbed, and with one subtask, it takes two seconds or more.
	rest := 2 * time.Second * 64 / time.Duration(s.Events)
	if r.IntN(2) == 0 {
		s.Slow = rest
	} else {
		s.Pace = rest
	}
	// State goes on in the backend that it was in.
	backend := "--backend=" + pick(r, "lsm", "lsm", "memory")
	for range 3 + r.IntN(5) {
		s.Lives = append(s.Lives, drawLife(r, backend, true))
	}
	s.Lives = append(s.Lives, drawLife(r, backend, false))
	return s
}

func drawLife(r *rand.Rand, backend string, killed bool) life {
	l := life{Flags: []string{
		backend,
		fmt.Sprintf("--parallelism=%d", 1+r.IntN(4)),
		fmt.Sprintf("--epoch=%v", pick(r, 5*time.Millisecond, 30*time.Millisecond, 150*time.Millisecond)),
		fmt.Sprintf("--retain=%d", 1+r.IntN(3)),
		"--memory=" + pick(r, "64MiB", "1GiB"),
		"--audit=" + pick(r, "stop", "hashes"),
	}}
	if n := pick(r, 0, 0, 1, 50); n > 0 {
		l.Flags = append(l.Flags, fmt.Sprintf("--batch-size=%d", n))
	}
	if d := pick(r, 0, time.Microsecond, 5*time.Millisecond); d > 0 {
		l.Flags = append(l.Flags, fmt.Sprintf("--align-timeout=%v", d))
	}
	if r.IntN(3) == 0 {
		l.Flags = append(l.Flags, "--no-chaining")
	}
	if killed {
		l.Mark, l.Count = pick(r, fromStart, fromEpoch, fromEpoch, fromFile, fromFile), r.IntN(3)
		l.Wait = time.Duration(r.Int64N(int64(20 * time.Millisecond)))
		if l.Mark == fromStart {
			l.Wait = time.Duration(r.Int64N(int64(500 * time.Millisecond)))
		}
		// An aligned epoch that waits behind a slow operator is not waited for.
		l.Latest = 300*time.Millisecond + time.Duration(r.Int64N(int64(time.Second)))
	}
	return l
}
