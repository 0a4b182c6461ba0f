package text

import (
	"math"
	"math/bits"
	"math/rand/v2"
)

// VocabularySize is the number of different words.
const VocabularySize = 200_000

const (
	shortest, longest = 3, 10
	exponent          = 1.1
)

// entry is a word with its letters in place, so that drawing it touches one
// cache line.
type entry struct {
	letters [longest]byte
	length  uint8
}

// column is one of the equally likely columns of Vose's alias table: below the
// threshold it stands for its own word, above for its alias.
type column struct {
	threshold uint32
	alias     uint32
}

// vocabulary draws words by an alias table: one random number and two look-ups
// for a word of any rank. Drawing by binary search in the sums of the
// probabilities needs 18 look-ups. It is not changed after it was made.
type vocabulary struct {
	words   []entry
	columns []column
}

func newVocabulary(seed uint64) *vocabulary {
	v := &vocabulary{words: make([]entry, 0, VocabularySize)}
	random := rand.New(rand.NewPCG(seed, 0x766f636162))
	known := make(map[entry]struct{}, VocabularySize)
	for len(v.words) < VocabularySize {
		e := entry{length: uint8(shortest + random.IntN(longest-shortest+1))}
		for i := range e.length {
			e.letters[i] = 'a' + byte(random.IntN(26))
		}
		if _, ok := known[e]; !ok {
			known[e] = struct{}{}
			v.words = append(v.words, e)
		}
	}
	v.columns = aliasTable(zipf(VocabularySize))
	return v
}

// zipf returns the probabilities of the ranks 1 to n.
func zipf(n int) []float64 {
	p, sum := make([]float64, n), 0.0
	for i := range p {
		p[i] = math.Pow(float64(i+1), -exponent)
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
	return p
}

// aliasTable makes the columns for probabilities p: what a word lacks to fill
// its column is filled with a share of a word that has too much.
func aliasTable(p []float64) []column {
	columns := make([]column, len(p))
	height := make([]float64, len(p))
	var low, high []uint32
	for i := range p {
		height[i] = p[i] * float64(len(p))
		if height[i] < 1 {
			low = append(low, uint32(i))
		} else {
			high = append(high, uint32(i))
		}
	}
	for len(low) > 0 && len(high) > 0 {
		l, h := low[len(low)-1], high[len(high)-1]
		low = low[:len(low)-1]
		columns[l] = column{uint32(height[l] * (1 << 32)), h}
		height[h] -= 1 - height[l]
		if height[h] < 1 {
			low, high = append(low, h), high[:len(high)-1]
		}
	}
	// What is left has height 1 but for rounding.
	for _, i := range append(low, high...) {
		columns[i] = column{math.MaxUint32, i}
	}
	return columns
}

// draw picks the column by the product's high half and the side of the threshold
// by the top of its low half, which is as good as a second random number: the
// columns are few beside 2^32.
func (v *vocabulary) draw(random uint64) []byte {
	hi, lo := bits.Mul64(random, uint64(len(v.columns)))
	i := uint32(hi)
	if c := v.columns[i]; uint32(lo>>32) >= c.threshold {
		i = c.alias
	}
	e := &v.words[i]
	return e.letters[:e.length]
}
