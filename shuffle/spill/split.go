package spill

// Split divides sub-partitions of the given sizes, in bytes over all producers, among
// as many consumers as have about target bytes each, at least one and at most
// maxParallelism. The ranges follow each other, cover all sub-partitions and none is
// empty; the largest is as small as ranges allow.
//
// A sub-partition is not divided: one key group that holds most of the data makes one
// large range.
func Split(sizes []int64, target int64, maxParallelism int) []Range {
	if len(sizes) == 0 {
		return nil
	}
	target, maxParallelism = max(target, 1), max(maxParallelism, 1)
	var total, largest int64
	for _, n := range sizes {
		total += max(n, 0)
		largest = max(largest, n)
	}
	most := min(int64(maxParallelism), int64(len(sizes)))
	n := int(min(most, max(1, (total+target-1)/target)))
	// The smallest capacity with which n ranges suffice.
	low, high := largest, total
	for low < high {
		middle := low + (high-low)/2
		if len(fill(sizes, middle, n)) <= n {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return fill(sizes, low, n)
}

// fill fills ranges up to the capacity, one behind the other. It stops when there are
// more than n.
func fill(sizes []int64, capacity int64, n int) (out []Range) {
	var used int64
	r := Range{}
	for i, size := range sizes {
		size = max(size, 0)
		if i > r.First && used+size > capacity {
			out = append(out, r)
			if len(out) > n {
				return out
			}
			r, used = Range{First: i}, 0
		}
		used += size
		r.End = i + 1
	}
	return append(out, r)
}
