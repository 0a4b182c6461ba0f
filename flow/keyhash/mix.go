package keyhash

import (
	"math"
	"math/bits"

	"github.com/weirflow/weir/flow"
)

// The constants are part of the stored format: see the package comment.
const (
	increment = 0x9e3779b97f4a7c15
	mul1      = 0xbf58476d1ce4e5b9
	mul2      = 0x94d049bb133111eb
	partMul   = 0xd6e8feb86659fd93
	seed      = 0x2d358dccaa6c78a5
	nan       = 0x7ff8000000000001
)

// mix is the finaliser of SplitMix64: a bijection under which each bit of x
// changes each bit of the result with a probability near one half.
func mix(x uint64) uint64 {
	x += increment
	x = (x ^ x>>30) * mul1
	x = (x ^ x>>27) * mul2
	return x ^ x>>31
}

// combine adds the hash of the next part to that of the parts before it. The two
// do not commute: (a, b) and (b, a) are different keys.
func combine(h, part uint64) uint64 {
	h = (bits.RotateLeft64(h, 29) ^ part) * partMul
	return h ^ h>>32
}

func hashInt(v int64) flow.Hash   { return flow.Hash(mix(uint64(v))) }
func hashUint(v uint64) flow.Hash { return flow.Hash(mix(v)) }

// hashFloat takes equal values to equal bits first.
func hashFloat(v float64) flow.Hash {
	switch b := math.Float64bits(v); {
	case v == 0:
		return flow.Hash(mix(0))
	case v != v:
		return flow.Hash(mix(nan))
	default:
		return flow.Hash(mix(b))
	}
}

func hashBool(v bool) flow.Hash {
	if v {
		return flow.Hash(mix(1))
	}
	return flow.Hash(mix(0))
}
