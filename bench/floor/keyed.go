package floor

// KeyedSum adds up the values of each key and puts every running sum out, in two
// stages with an exchange by key between them.
//
// Results is the number of running sums, Max the largest of them, which is the
// largest sum at the end. Check is the sum of [CheckKey] over keys and their sums
// at the end; a running sum's value depends on the order in which the generators'
// batches meet, those two do not.
func KeyedSum(events, keys int64, parallelism int) Result {
	return timed(func() Result {
		r := twoStages(events, uint64(keys), parallelism, sumByKey)
		r.Events = events
		return r
	})
}

func sumByKey(in <-chan *eventBatch, recycle func(*eventBatch)) (r Result) {
	sums := map[uint64]int64{}
	out := make([]Event, 0, BatchSize)
	flush := func() {
		for i := range out {
			r.Max = max(r.Max, out[i].Value)
		}
		r.Results += int64(len(out))
		out = out[:0]
	}
	for b := range in {
		for _, e := range b.events {
			sum := sums[e.Key] + e.Value
			sums[e.Key] = sum
			out = append(out, Event{e.Key, sum, e.Time})
			if len(out) == BatchSize {
				flush()
			}
		}
		recycle(b)
	}
	flush()
	for key, sum := range sums {
		r.Check += CheckKey(key, sum)
	}
	return r
}
