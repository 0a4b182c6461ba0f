package datagen

import "math/bits"

// Rand is the random numbers of record index, under a seed. They are the same in
// every run, subtask and release, since a record may depend on nothing but its
// index.
//
//	datagen.New(func(i int64) Click {
//		r := datagen.Rand(7, i)
//		return Click{User: r.IntN(1000), Price: r.Float64()}
//	})
func Rand(seed uint64, index int64) Random {
	// The seed is mixed first: seeds that differ by one are far apart.
	return Random{state: mix(seed+golden) ^ mix(uint64(index)*golden+golden)}
}

// Hash is the first number of Rand: for records that need but one.
func Hash(seed uint64, index int64) uint64 {
	r := Rand(seed, index)
	return r.Uint64()
}

// Random makes numbers by the splitmix64 method. It is a small value; to copy it
// is to repeat its numbers.
type Random struct{ state uint64 }

// golden is 2^64 divided by the golden ratio, made odd: the step of splitmix64.
const golden = 0x9e3779b97f4a7c15

func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Uint64 is the next number.
func (r *Random) Uint64() uint64 {
	r.state += golden
	return mix(r.state)
}

// Int64N is the next number under n, which must be positive.
func (r *Random) Int64N(n int64) int64 {
	if n <= 0 {
		panic("datagen: Int64N of a number that is not positive")
	}
	// The high half of a product is a division without one. Its bias is n/2^64.
	hi, _ := bits.Mul64(r.Uint64(), uint64(n))
	return int64(hi)
}

// IntN is the next number under n, which must be positive.
func (r *Random) IntN(n int) int { return int(r.Int64N(int64(n))) }

// Float64 is the next number from 0 to 1, without 1.
func (r *Random) Float64() float64 { return float64(r.Uint64()>>11) / (1 << 53) }
