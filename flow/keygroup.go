package flow

import "fmt"

// KeyGroup is the unit in which keyed state is stored, moved and rescaled.
type KeyGroup uint16

// DefaultMaxParallelism is the number of key groups of a job that sets none. It
// is fixed for the life of a job's state.
const DefaultMaxParallelism = 128

// MaxMaxParallelism is the largest number of key groups.
const MaxMaxParallelism = 32768

// KeyGroupOf is the key group of a key's hash among maxParallelism groups.
func KeyGroupOf(h Hash, maxParallelism int) KeyGroup {
	return KeyGroup(uint32(h>>32) % uint32(maxParallelism))
}

// KeyGroupRange is the half-open range of key groups [First, End) that one task
// of a keyed operator owns.
type KeyGroupRange struct{ First, End KeyGroup }

// RangeOf is the range that subtask owns when maxParallelism groups are divided
// among parallelism tasks. The ranges of all subtasks are disjoint, contiguous
// and differ in size by at most one.
func RangeOf(maxParallelism, parallelism, subtask int) KeyGroupRange {
	first := (subtask*maxParallelism + parallelism - 1) / parallelism
	end := ((subtask+1)*maxParallelism + parallelism - 1) / parallelism
	return KeyGroupRange{KeyGroup(first), KeyGroup(end)}
}

// SubtaskOf is the subtask that owns g: the inverse of RangeOf.
func SubtaskOf(g KeyGroup, maxParallelism, parallelism int) int {
	return int(g) * parallelism / maxParallelism
}

// Contains reports whether g is in the range.
func (r KeyGroupRange) Contains(g KeyGroup) bool { return r.First <= g && g < r.End }

// Len is the number of key groups in the range.
func (r KeyGroupRange) Len() int { return int(r.End) - int(r.First) }

// String is "[first,end)".
func (r KeyGroupRange) String() string { return fmt.Sprintf("[%d,%d)", r.First, r.End) }
