// Package floor holds the benchmark cases as programs written by hand, without
// any engine: what a good Go programmer writes in about sixty lines a case.
// An engine's speed is told as a ratio to its floor in the same run, so that the
// figure means the same on a slow machine and on a busy one.
//
// Its words: a case is one program here and one pipeline in the engine with the
// same input and output; its check is a number made from the output that does not
// depend on the order of the results, by which both are compared.
//
// Invariants:
//
//  1. A floor is no straw man: it uses batches between goroutines, recycled
//     buffers, and the fastest hash table that its size of program allows.
//  2. A floor does the case's whole work: every result is put into an output
//     batch, also where nobody reads it.
//  3. The output's check is the same with any parallelism.
//
// Each function starts its goroutines and returns when all of them have ended.
// Result.CPU is that of the process: run one case at a time.
package floor

import "time"

// BatchSize is the number of records that move between goroutines as one.
const BatchSize = 1024

// Event is the record of the keyed cases.
type Event struct {
	Key   uint64
	Value int64
	Time  int64 // microseconds
}

// Result is what a case did and what it cost.
type Result struct {
	Events  int64         // records read or generated; words in WordCount
	Results int64         // records that reached the output
	Wall    time.Duration // from the call to the last goroutine's end
	CPU     time.Duration // user and system time of the process in Wall; 0 where it can't be read
	Check   uint64        // a sum over the output; each case says of what
	Max     int64         // largest value in the output
}

// EventsPerSecond is Events per second of Wall.
func (r Result) EventsPerSecond() float64 { return float64(r.Events) / r.Wall.Seconds() }

// GenerateEvent is event i of the keyed cases: a random-looking key below keys, a
// value of 1 to 8, and a million events a second of event time.
func GenerateEvent(i int64, keys uint64) Event {
	return Event{Key: mix(uint64(i)) % keys, Value: 1 + i&7, Time: i}
}

// CheckKey is what a key and its value add to a check.
func CheckKey(key uint64, value int64) uint64 { return mix(key+1) * uint64(value) }

// CheckWord is what a word and its count add to a check.
func CheckWord(word string, count int64) uint64 {
	h := uint64(hashStart)
	for i := range len(word) {
		h = hashByte(h, word[i])
	}
	return mix(h) * uint64(count)
}

// mix is the splitmix64 generator's step from a counter to a number.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// timed fills in what fn cost.
func timed(fn func() Result) Result {
	start, cpu := time.Now(), cpuTime()
	r := fn()
	r.Wall, r.CPU = time.Since(start), cpuTime()-cpu
	return r
}

// add merges the part of another goroutine into r.
func (r *Result) add(part Result) {
	r.Events += part.Events
	r.Results += part.Results
	r.Check += part.Check
	r.Max = max(r.Max, part.Max)
}
