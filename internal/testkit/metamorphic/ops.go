package metamorphic

import (
	"errors"
	"fmt"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/sdk"
)

// ops are all kinds of nodes that are drawn.
var ops = []*op{
	mapOp, filterOp, flatMapOp, tryMapOp, deadLetterOp, delayOp, unionOp, rebalanceOp, broadcastOp,
	sumOp, sideOp, listOp, tallyOp, textOp, timerOp,
	updateOp, asyncOp, lookupOp, reduceOp, aggregateOp, distinctOp, topOp,
	windowOp, windowOp, countWindowOp, triggerOp, coOp, rulesOp,
	intervalJoinOp, windowJoinOp, temporalJoinOp, innerJoinOp, outerJoinOp,
}

// sourceOp is not drawn among others; see build.source.
var sourceOp = &op{name: "source", outputs: 1, grow: 1}

func small(name string) func(t *rapid.T, n *node) {
	return func(t *rapid.T, n *node) {
		n.p[0] = rapid.Int64Range(1, 9).Draw(t, name)
		n.p[1] = rapid.Int64Range(0, 4).Draw(t, name)
	}
}

func params(n *node) string { return fmt.Sprintf("%d %d", n.p[0], n.p[1]) }

// each is an eval of a function that turns a record into any number of others.
func each(f func(n *node, r Record, emit func(Record))) func(n *node, in [][]Record) [][]Record {
	return func(n *node, in [][]Record) [][]Record {
		var out []Record
		for _, r := range in[0] {
			f(n, r, func(r Record) { out = append(out, r) })
		}
		return [][]Record{out}
	}
}

var mapOp = &op{
	name: "map", inputs: 1, outputs: 1, grow: 1, draw: small("factor"), say: params,
	build: func(b *build, n *node, in []*sdk.Stream[Record]) []*sdk.Stream[Record] {
		return one(sdk.Map(in[0], func(r Record) Record { b.yield(r); return mapped(n, r) }, b.opts(n)...))
	},
	eval: each(func(n *node, r Record, emit func(Record)) { emit(mapped(n, r)) }),
}

func mapped(n *node, r Record) Record {
	r.Val = r.Val*n.p[0] + n.p[1]
	r.Key += r.Val * (n.p[1] % 2)
	return r
}

var filterOp = &op{
	name: "filter", inputs: 1, outputs: 1, grow: 1, draw: small("modulus"), say: params,
	build: func(b *build, n *node, in []*sdk.Stream[Record]) []*sdk.Stream[Record] {
		return one(sdk.Filter(in[0], func(r Record) bool { return kept(n, r) }, b.opts(n)...))
	},
	eval: each(func(n *node, r Record, emit func(Record)) {
		if kept(n, r) {
			emit(r)
		}
	}),
}

func kept(n *node, r Record) bool { return mod(r.Val+n.p[1], n.p[0]+1) != 0 }

var flatMapOp = &op{
	name: "flatmap", inputs: 1, outputs: 1, grow: 1.5, draw: small("spread"), say: params,
	build: func(b *build, n *node, in []*sdk.Stream[Record]) []*sdk.Stream[Record] {
		return one(sdk.FlatMap(in[0], func(r Record, out *sdk.Out[Record]) {
			b.yield(r)
			for i := range fan(n, r) {
				out.Emit(child(r, i))
			}
		}, b.opts(n)...))
	},
	eval: each(func(n *node, r Record, emit func(Record)) {
		for i := range fan(n, r) {
			emit(child(r, i))
		}
	}),
}

func fan(n *node, r Record) int64 { return mod(r.Val+n.p[0], 4) }

func child(r Record, i int64) Record {
	r.Val, r.Ord = r.Val+1000*i, r.Ord*4+i
	return r
}

// refusal carries the record in its message, since that is what a dead letter
// keeps of an error.
func refusal(r Record) error {
	return errors.New(fmt.Sprint(r.Key, r.Val, r.Time, r.Lane, r.Ord, r.Origin, r.Pos))
}

func refused(reason string) (r Record, err error) {
	_, err = fmt.Sscan(reason, &r.Key, &r.Val, &r.Time, &r.Lane, &r.Ord, &r.Origin, &r.Pos)
	return r, err
}

func tried(n *node, r Record) (Record, error) {
	if !kept(n, r) {
		return Record{}, refusal(r)
	}
	r.Val--
	return r, nil
}

var tryMapOp = &op{
	name: "trymap-skip", inputs: 1, outputs: 1, grow: 1, draw: small("modulus"), say: params,
	build: func(b *build, n *node, in []*sdk.Stream[Record]) []*sdk.Stream[Record] {
		return one(sdk.TryMap(in[0], func(r Record) (Record, error) { return tried(n, r) },
			b.tryOpts(n, sdk.SkipBad(0, 0))...))
	},
	eval: func(n *node, in [][]Record) [][]Record { return evalTry(n, in)[:1] },
}

var deadLetterOp = &op{
	name: "trymap-deadletter", inputs: 1, outputs: 2, grow: 1, draw: small("modulus"), say: params,
	build: func(b *build, n *node, in []*sdk.Stream[Record]) []*sdk.Stream[Record] {
		s := sdk.TryMap(in[0], func(r Record) (Record, error) { return tried(n, r) },
			b.tryOpts(n, sdk.DeadLetterBad(0, 0))...)
		dead := sdk.Map(sdk.DeadLetters(s), func(d sdk.BadRecord) Record {
			r, err := refused(d.Reason)
			if err != nil {
				b.watch.blame(n, "dead letter with reason %q: %v", d.Reason, err)
			}
			return r
		}, b.named(n, "letters")...)
		return []*sdk.Stream[Record]{s, dead}
	},
	eval: evalTry,
}

func evalTry(n *node, in [][]Record) [][]Record {
	out := make([][]Record, 2)
	for _, r := range in[0] {
		if good, err := tried(n, r); err == nil {
			out[0] = append(out[0], good)
		} else {
			out[1] = append(out[1], r)
		}
	}
	return out
}

// delayOp gives later event times: no record becomes late by it.
var delayOp = &op{
	name: "assign-time", inputs: 1, outputs: 1, grow: 1, draw: small("delay"), say: params,
	build: func(b *build, n *node, in []*sdk.Stream[Record]) []*sdk.Stream[Record] {
		s := sdk.Map(in[0], func(r Record) Record { return delayed(n, r) }, b.named(n, "value")...)
		return one(sdk.AssignTime(s, func(r Record) sdk.Time { return sdk.Time(r.Time) }, b.opts(n)...))
	},
	eval: each(func(n *node, r Record, emit func(Record)) { emit(delayed(n, r)) }),
}

func delayed(n *node, r Record) Record {
	r.Time += n.p[0] * mod(r.Val, 7)
	return r
}

var unionOp = &op{
	name: "union", outputs: 1, grow: 1,
	say: func(n *node) string { return map[bool]string{true: "mixed", false: "lanes kept"}[n.mixed] },
	build: func(b *build, n *node, in []*sdk.Stream[Record]) []*sdk.Stream[Record] {
		branches := make([]*sdk.Stream[Record], len(in))
		for i, s := range in {
			opts := append(b.named(n, fmt.Sprint("branch ", i)), sdk.Parallelism(b.p.Nodes[n.in[i].node].par))
			branches[i] = sdk.Map(s, func(r Record) Record { b.yield(r); return branched(n, i, r) }, opts...)
		}
		return one(sdk.Union(branches[0], branches[1:]...))
	},
	eval: func(n *node, in [][]Record) [][]Record {
		var out []Record
		for i, branch := range in {
			for _, r := range branch {
				out = append(out, branched(n, i, r))
			}
		}
		return [][]Record{out}
	},
}

// branched makes lanes of their own of each branch: two that come from one stream
// have no order among each other.
func branched(n *node, branch int, r Record) Record {
	if n.mixed || r.Lane == 0 {
		return r.unordered()
	}
	r.Lane = mix(r.Lane, uint64(n.id), uint64(branch))
	return r
}

var rebalanceOp = &op{
	name: "rebalance", inputs: 1, outputs: 1, grow: 1, keyed: true,
	build: func(b *build, n *node, in []*sdk.Stream[Record]) []*sdk.Stream[Record] {
		return one(sdk.Map(sdk.Rebalance(in[0]), func(r Record) Record { b.yield(r); return r.unordered() }, b.opts(n)...))
	},
	eval: each(func(_ *node, r Record, emit func(Record)) { emit(r.unordered()) }),
}

// broadcastOp has a parallelism that is part of the pipeline, since it says how
// often each record comes.
var broadcastOp = &op{
	name: "broadcast", inputs: 1, outputs: 1, grow: 2, keyed: true,
	draw: func(t *rapid.T, n *node) { n.par = rapid.IntRange(1, 3).Draw(t, "copies") },
	build: func(b *build, n *node, in []*sdk.Stream[Record]) []*sdk.Stream[Record] {
		return one(sdk.Map(sdk.Broadcast(in[0]), func(r Record) Record { b.yield(r); return r.unordered() }, b.opts(n)...))
	},
	eval: each(func(n *node, r Record, emit func(Record)) {
		for range n.par {
			emit(r.unordered())
		}
	}),
}

func one(s *sdk.Stream[Record]) []*sdk.Stream[Record] { return []*sdk.Stream[Record]{s} }
