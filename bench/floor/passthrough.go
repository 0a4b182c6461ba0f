package floor

import "sync"

// Record is the record of the pass-through case: six fields without pointers.
type Record struct {
	ID     uint64
	Key    uint64
	Time   int64
	Amount int64
	Price  float64
	Kind   uint32
}

// GenerateRecord is record i.
func GenerateRecord(i int64) Record {
	return Record{ID: uint64(i), Key: uint64(i) & 1023, Time: i, Amount: i & 63, Price: float64(i&15) / 4, Kind: uint32(i & 7)}
}

// The three functions of the case change the record in place. As
// func(Record) Record they took 20 ns a call and not 1.5: the compiler keeps a
// struct of more than four fields on the stack, and copies it there in units wider
// than those in which it was just written, for which the processor has to wait.

// Discount lowers the price.
func Discount(r *Record) { r.Price *= 0.5 }

// Double doubles the amount.
func Double(r *Record) { r.Amount *= 2 }

// Classify sets the kind by the amount.
func Classify(r *Record) { r.Kind += uint32(r.Amount >> 4) }

// steps is a variable so that the functions are called and not inlined, as they
// are when they come from another package's caller.
var steps = [3]func(*Record){Discount, Double, Classify}

// CheckRecord is what a record in the output adds to a check.
func CheckRecord(r *Record) uint64 { return r.ID + uint64(r.Amount)<<8 + uint64(r.Kind) }

// Passthrough generates records in batches, sends each through three functions
// and reads the resulting batch. Each goroutine does so for its own batches; there
// is no exchange. Max is 0 and Check the sum of [CheckRecord].
func Passthrough(events int64, parallelism int) Result {
	return timed(func() (total Result) {
		var mu sync.Mutex
		var group sync.WaitGroup
		p := max(1, parallelism)
		for from := range p {
			group.Go(func() {
				part := passBatches(int64(from), int64(p), events)
				mu.Lock()
				defer mu.Unlock()
				total.add(part)
			})
		}
		group.Wait()
		return total
	})
}

func passBatches(from, p, events int64) (r Result) {
	a, b, c := steps[0], steps[1], steps[2]
	batch := make([]Record, 0, BatchSize)
	for block := from * BatchSize; block < events; block += p * BatchSize {
		batch = batch[:0]
		for i := block; i < min(block+BatchSize, events); i++ {
			batch = append(batch, GenerateRecord(i))
		}
		for i := range batch {
			record := &batch[i]
			a(record)
			b(record)
			c(record)
		}
		for i := range batch {
			r.Check += CheckRecord(&batch[i])
		}
		r.Events += int64(len(batch))
	}
	r.Results = r.Events
	return r
}
