package metamorphic

import (
	"fmt"
	"math/rand/v2"

	"pgregory.net/rapid"
)

// Input is what the sources hold: for each some origins, each a run of records in
// order. How origins are put into splits is a matter of the [Config].
type Input struct {
	seed    uint64
	keys    int64
	step    int64 // between two records of an origin, in event time
	jitter  int64 // how far a record may be out of order
	base    int64
	sources [][][]Record // source, origin, record
}

// DrawInput draws the input of a number of sources with about records records
// each. Only sizes are drawn; the rest is made from a seed.
func DrawInput(t *rapid.T, sources, records int) *Input {
	in := &Input{
		seed:   rapid.Uint64Range(1, 1<<20).Draw(t, "input seed"),
		keys:   rapid.SampledFrom([]int64{1, 2, 10, 300, 1 << 40}).Draw(t, "keys"),
		step:   rapid.SampledFrom([]int64{0, 1, 10, 1000}).Draw(t, "time step"),
		jitter: rapid.SampledFrom([]int64{0, 1, 50, 5000}).Draw(t, "time jitter"),
		base:   rapid.SampledFrom([]int64{0, -3000, 1_700_000_000_000_000}).Draw(t, "time base"),
	}
	rnd := rand.New(rand.NewPCG(in.seed, 1))
	origin := int32(0)
	for range sources {
		var src [][]Record
		for range rapid.IntRange(1, 5).Draw(t, "origins") {
			src = append(src, in.origin(rnd, origin, rapid.IntRange(0, records).Draw(t, "records")))
			origin++
		}
		in.sources = append(in.sources, src)
	}
	return in
}

func (in *Input) origin(rnd *rand.Rand, origin int32, n int) []Record {
	rs := make([]Record, n)
	for i := range rs {
		rs[i] = Record{
			Key: rnd.Int64N(in.keys), Val: rnd.Int64N(1000) - 500,
			Time: in.base + int64(i)*in.step + rnd.Int64N(in.jitter+1),
			Lane: mix(uint64(origin)), Ord: int64(i) + 1, Origin: origin, Pos: int32(i),
		}
	}
	return rs
}

// records are all of one source.
func (in *Input) records(source int) []Record {
	var all []Record
	for _, o := range in.sources[source] {
		all = append(all, o...)
	}
	return all
}

// Len is the number of records of all sources.
func (in *Input) Len() int {
	n := 0
	for i := range in.sources {
		n += len(in.records(i))
	}
	return n
}

// far is the event time of sentinels: all windows are over by then.
func (in *Input) far() int64 { return in.base + 1<<42 }

// slack is how much splits may shuffle the records of their origins in time.
const slack = 500

// bound is how much records of a split may be out of order.
func (in *Input) bound() int64 { return in.jitter + slack }

// String describes the input.
func (in *Input) String() string {
	s := fmt.Sprintf("input: seed %d, %d keys, time step %d, jitter %d, base %d; origins of", in.seed, in.keys, in.step, in.jitter, in.base)
	for i, src := range in.sources {
		s += fmt.Sprintf(" n%d:", i)
		for _, o := range src {
			s += fmt.Sprintf(" %d", len(o))
		}
	}
	return s + "\n"
}

// splits cuts one source's input into splits. Each origin is in one split, in its
// order; origins that share one are merged in a random order in which no record is
// more than bound behind the newest before it.
func (in *Input) splits(source, n int, seed uint64) [][]Record {
	rnd := rand.New(rand.NewPCG(seed, uint64(source)))
	groups := make([][][]Record, n)
	for _, o := range in.sources[source] {
		at := rnd.IntN(n)
		groups[at] = append(groups[at], o)
	}
	splits := make([][]Record, n)
	for i, g := range groups {
		splits[i] = merge(rnd, g)
	}
	return splits
}

// merge interleaves origins. The next record is one whose origin has come the
// least far in time, or at most slack more.
func merge(rnd *rand.Rand, origins [][]Record) []Record {
	var all []Record
	next := make([]int, len(origins))
	newest := make([]int64, len(origins))
	var open []int
	for i, o := range origins {
		if len(o) > 0 {
			open = append(open, i)
			newest[i] = o[0].Time
		}
	}
	for len(open) > 0 {
		least := newest[open[0]]
		for _, i := range open {
			least = min(least, newest[i])
		}
		at := rnd.IntN(len(open))
		for newest[open[at]] > least+slack {
			at = (at + 1) % len(open)
		}
		i := open[at]
		all = append(all, origins[i][next[i]])
		next[i]++
		if next[i] == len(origins[i]) {
			open = append(open[:at], open[at+1:]...)
			continue
		}
		newest[i] = max(newest[i], origins[i][next[i]].Time)
	}
	return all
}
