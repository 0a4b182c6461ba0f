package metamorphic

import "fmt"

// Record is what all streams of a pipeline carry.
type Record struct {
	Key, Val int64
	// Time is the event time, which the engine has beside the record as well.
	Time int64
	// Lane is 0 where no order is promised; Ord grows along a lane.
	Lane uint64
	Ord  int64
	// Origin and Pos name the input record that this one comes from; Origin is
	// merged where it comes from several.
	Origin, Pos int32
}

const (
	merged   int32 = -1
	sentinel int32 = -2 // the last record of a split that has no end
)

// String is short, for diffs.
func (r Record) String() string {
	from := fmt.Sprintf("input %d/%d", r.Origin, r.Pos)
	if r.Origin == merged {
		from = "merged"
	}
	return fmt.Sprintf("{key %d val %d time %d lane %x ord %d, %s}", r.Key, r.Val, r.Time, r.Lane, r.Ord, from)
}

// mix is a hash of its arguments, never 0.
func mix(words ...uint64) uint64 {
	h := uint64(0x9e3779b97f4a7c15)
	for _, w := range words {
		h ^= w
		h *= 0xbf58476d1ce4e5b9
		h ^= h >> 29
		h *= 0x94d049bb133111eb
		h ^= h >> 32
	}
	return max(h, 1)
}

// mod is the remainder that is never negative.
func mod(a, n int64) int64 { return (a%n + n) % n }

// laneKey is the key of ops that depend on the order of records: within it the
// order is the same in every run.
type laneKey struct {
	Lane uint64
	Key  int64
}

// lane is r's laneKey with keys divided into n classes. A record without a lane is
// alone, but for equals of it: among these order makes no difference.
func (r Record) lane(n int64) laneKey {
	if r.Lane == 0 {
		return laneKey{mix(uint64(r.Key), uint64(r.Val), uint64(r.Time), uint64(r.Ord), uint64(r.Origin), uint64(r.Pos)), -1}
	}
	return laneKey{r.Lane, mod(r.Key, n)}
}

// keyed is r behind a keyed exchange by lane.
func (r Record) keyed(k laneKey) Record {
	if r.Lane != 0 {
		r.Lane = mix(k.Lane, uint64(k.Key))
	}
	return r
}

// unordered is r where order is no longer promised.
func (r Record) unordered() Record { r.Lane, r.Ord = 0, 0; return r }
