package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/weirflow/weir/connector/datagen"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/operator"
	"github.com/weirflow/weir/sdk"
	"github.com/weirflow/weir/sdk/run"
)

var sorting = Case{
	Name: "sort",
	What: "records of 100 bytes brought together by key, beyond memory: source, hash exchange on disk, external sort, sink, in batch mode",
	run:  runSort,
}

// flinkSort is the time of its job, not of its start.
var flinkSort = Peer{Name: "Flink 2.3.0, batch mode, the same records and keys, two cores", EventsPerS: 10e6 / 22.6}

// sortRecord has a key of 10 digits and 90 bytes beside it.
type sortRecord struct {
	Key     string
	Payload []byte
}

const sortPayload = 90

func sortKey(i, keys int64) int64 { return int64(scramble(uint64(i))>>1) % keys }

// fillSorted makes records. They share memory by the batch.
func fillSorted(keys int64) func(first int64, out []sortRecord) {
	return func(first int64, out []sortRecord) {
		payload := make([]byte, len(out)*sortPayload)
		digits := make([]byte, 0, len(out)*10)
		for i := range out {
			digits = fmt.Appendf(digits, "%010d", sortKey(first+int64(i), keys))
		}
		all := string(digits)
		for i := range out {
			k := sortKey(first+int64(i), keys)
			p := payload[i*sortPayload : (i+1)*sortPayload : (i+1)*sortPayload]
			for j := range p {
				p[j] = byte(k + int64(j))
			}
			out[i] = sortRecord{all[i*10 : (i+1)*10], p}
		}
	}
}

// runs is a sink that counts records and runs of one key, and adds up a check of all.
type runs struct {
	mu            sync.Mutex
	records, runs int64
	check, broken uint64
}

func (s *runs) Info() operator.SinkInfo { return operator.SinkInfo{Kind: "check"} }

func (s *runs) Committer(*operator.CommitterContext) (operator.Committer, error) { return nil, nil }

func (s *runs) Writer(*operator.WriterContext) (operator.Writer[sortRecord], error) {
	return &runsWriter{sink: s}, nil
}

type runsWriter struct {
	sink          *runs
	records, runs int64
	check, broken uint64
	last          string
}

func (w *runsWriter) Write(b *flow.Batch[sortRecord]) error {
	for i := range b.Values {
		v := &b.Values[i]
		if v.Key != w.last {
			w.last = v.Key
			w.runs++
		}
		k := keyOfDigits(v.Key)
		w.check += scramble(uint64(k))
		if len(v.Payload) != sortPayload || v.Payload[sortPayload-1] != byte(k+sortPayload-1) {
			w.broken++
		}
	}
	w.records += int64(len(b.Values))
	return nil
}

func keyOfDigits(s string) (k int64) {
	for i := range len(s) {
		k = k*10 + int64(s[i]-'0')
	}
	return k
}

func (*runsWriter) Idle() error                          { return nil }
func (*runsWriter) Prepare(flow.Barrier) ([]byte, error) { return nil, nil }
func (*runsWriter) Tick(flow.Time) error                 { return nil }

func (w *runsWriter) Close() error {
	s := w.sink
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records += w.records
	s.runs += w.runs
	s.check += w.check
	s.broken += w.broken
	return nil
}

func runSort(ctx context.Context, o Options) (Result, error) {
	n, keys := o.Events, o.Keys
	if n == 0 {
		n = 10_000_000
	}
	if keys == 0 {
		keys = 10_000_000_000
	}
	if o.Memory == 0 {
		o.Memory = 256_000_000
	}
	if o.durable() {
		return Result{}, errors.New("it runs in batch mode, which takes no checkpoints")
	}
	sink := &runs{}
	p := sdk.New("sort")
	records := sdk.Read(p, datagen.Fill(fillSorted(keys), datagen.Count(n), datagen.Splits(o.Parallelism)))
	byKey := sdk.KeyBy(records, func(r sortRecord) string { return r.Key })
	together := sdk.Process(byKey, func(*sdk.Setup[string]) sdk.Processor[string, sortRecord, sortRecord] {
		return sdk.Processor[string, sortRecord, sortRecord]{
			Each: func(_ *sdk.Context[string], r sortRecord, out *sdk.Out[sortRecord]) { out.Emit(r) },
		}
	})
	sdk.Write(together, sink)
	o.mode = run.ModeBatch
	r, err := measureJob(ctx, "sort", p, o, func() int64 { return sink.records })
	if err != nil {
		return r, err
	}
	r.Peer = flinkSort.beside(r.EventsPerS)
	return r, sink.verify(n, keys)
}

// verify compares what came out with what went in: each key is one run.
func (s *runs) verify(n, keys int64) error {
	all := make([]int64, n)
	var check uint64
	for i := range all {
		all[i] = sortKey(int64(i), keys)
		check += scramble(uint64(all[i]))
	}
	slices.Sort(all)
	distinct := int64(len(slices.Compact(all)))
	switch {
	case s.records != n || s.check != check:
		return mismatch("check of all records", s.check, check)
	case s.runs != distinct:
		return mismatch("number of runs of one key", s.runs, distinct)
	case s.broken > 0:
		return mismatch("number of broken records", s.broken, 0)
	}
	return nil
}

// scramble spreads a number over all 64 bits, each to another.
func scramble(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
