package floor

import "sync"

// eventBatch goes from one goroutine of the first stage to one of the second.
type eventBatch struct {
	from      int   // the sending goroutine
	watermark int64 // no event that is before follows from this sender
	events    []Event
}

// channelDepth is the number of batches that a channel holds: enough for both
// ends to work on while the other one has no processor.
const channelDepth = 16

// twoStages runs the keyed cases: parallelism goroutines generate events and
// send each by its key to one of as many goroutines, which run consume until
// their channel is closed. consume calls recycle with a batch that it has read.
// Blocks of events are dealt to the generators by turns, so that event time
// advances in all of them alike.
func twoStages(events int64, keys uint64, parallelism int, consume func(in <-chan *eventBatch, recycle func(*eventBatch)) Result) Result {
	p := max(1, parallelism)
	inputs := make([]chan *eventBatch, p)
	for i := range inputs {
		inputs[i] = make(chan *eventBatch, channelDepth)
	}
	free := make(chan *eventBatch, p*(channelDepth+2*p))
	take := func() *eventBatch {
		select {
		case b := <-free:
			return b
		default:
			return &eventBatch{events: make([]Event, 0, BatchSize)}
		}
	}
	recycle := func(b *eventBatch) {
		b.events = b.events[:0]
		select {
		case free <- b:
		default:
		}
	}

	var total Result
	var mu sync.Mutex
	var consumers sync.WaitGroup
	for _, in := range inputs {
		consumers.Go(func() {
			part := consume(in, recycle)
			mu.Lock()
			defer mu.Unlock()
			total.add(part)
		})
	}
	var generators sync.WaitGroup
	for from := range p {
		generators.Go(func() { generate(from, events, keys, inputs, take) })
	}
	generators.Wait()
	for _, in := range inputs {
		close(in)
	}
	consumers.Wait()
	return total
}

// generate makes every len(outputs)-th block of events and sends them by key.
func generate(from int, events int64, keys uint64, outputs []chan *eventBatch, take func() *eventBatch) {
	p := uint64(len(outputs))
	open := make([]*eventBatch, p)
	for i := range open {
		open[i] = take()
	}
	for block := int64(from) * BatchSize; block < events; block += int64(p) * BatchSize {
		for i := block; i < min(block+BatchSize, events); i++ {
			e := GenerateEvent(i, keys)
			to := owner(e.Key, p)
			b := open[to]
			b.events = append(b.events, e)
			if len(b.events) == BatchSize {
				b.from, b.watermark = from, i
				outputs[to] <- b
				open[to] = take()
			}
		}
	}
	for to, b := range open {
		b.from, b.watermark = from, maxTime
		outputs[to] <- b
	}
}

// owner is the goroutine of p that a key belongs to. The product's high half is
// as even as a remainder and costs no division; the keys are small numbers, so they are
// spread over 64 bits first.
func owner(key, p uint64) uint64 { return (key * 0x9e3779b97f4a7c15 >> 32) * p >> 32 }
