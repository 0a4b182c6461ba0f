package checkpoint

import (
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow"
)

// booksSim is a job of three chains, read → count → out and rules ⇒ count, that
// keeps books of records which it sends, takes, prepares and commits at random.
type booksSim struct {
	plan   Target
	hashes bool
	next   uint64 // record
	// channels are records sent and not taken yet.
	channels map[simChannel][]uint64
	counts   map[Entry]*tally // by account and place, Records and Sum 0
	sinks    []sinkSim
}

type simChannel struct {
	to                       string
	port, producer, consumer int
}

// sinkSim is one subtask of the sink.
type sinkSim struct{ pending, prepared int64 }

func newBooksSim(producers, consumers, sinks int, hashes bool) *booksSim {
	s := &booksSim{hashes: hashes, channels: map[simChannel][]uint64{}, counts: map[Entry]*tally{}, sinks: make([]sinkSim, sinks)}
	s.plan = Target{MaxParallelism: 8, Chains: []TargetChain{
		{ID: "r", Parallelism: producers, Operators: []TargetOperator{{ID: "r", Name: "read", Source: true}}},
		{ID: "x", Parallelism: 1, Operators: []TargetOperator{{ID: "x", Name: "rules", Source: true}}},
		{ID: "c", Parallelism: consumers, Operators: []TargetOperator{{ID: "c", Name: "count", Inputs: []TargetInput{
			{Port: 0, From: "r", Exchange: ExchangeHash}, {Port: 1, From: "x", Exchange: ExchangeBroadcast}}}}},
		{ID: "m", Parallelism: sinks, Operators: []TargetOperator{
			{ID: "m", Name: "shape", Inputs: []TargetInput{{From: "c", Exchange: ExchangeRebalance}}},
			{ID: "o", Name: "out", Inputs: []TargetInput{{From: "m"}}}}},
	}}
	return s
}

func (s *booksSim) count(a Account, op string, port, producer, consumer int, record uint64) {
	k := Entry{Account: a, Operator: op, Port: port, Producer: producer, Consumer: consumer}
	t := s.counts[k]
	if t == nil {
		t = &tally{}
		s.counts[k] = t
	}
	t.records++
	if s.hashes && (a == AccountSent || a == AccountReceived || a == AccountQueued || a == AccountReplayed) {
		t.sum.Add(Sum{record * 0x9e3779b97f4a7c15, record * 0xbf58476d1ce4e5b9})
	}
}

func (s *booksSim) send(to string, port, producer, consumer int) {
	s.next++
	c := simChannel{to, port, producer, consumer}
	s.channels[c] = append(s.channels[c], s.next)
	s.count(AccountSent, to, port, producer, consumer, s.next)
}

// step lets something happen.
func (s *booksSim) step(t *rapid.T) {
	n := func(limit int) int { return rapid.IntRange(0, limit-1).Draw(t, "n") }
	consumers := s.plan.Chains[2].Parallelism
	switch rapid.IntRange(0, 4).Draw(t, "step") {
	case 0:
		s.send("c", 0, n(s.plan.Chains[0].Parallelism), n(consumers))
	case 1:
		for c := range consumers {
			s.send("c", 1, 0, c)
		}
	default:
		s.take(n(consumers), n(len(s.sinks)))
	}
}

// take lets a consumer take one record that waits for it, and send one on, and the
// sink one.
func (s *booksSim) take(consumer, sink int) {
	for _, c := range s.sorted() {
		records := s.channels[c]
		if len(records) == 0 || c.to == "c" && c.consumer != consumer || c.to == "m" && c.consumer != sink {
			continue
		}
		s.count(AccountReceived, c.to, c.port, c.producer, c.consumer, records[0])
		s.channels[c] = records[1:]
		s.into(c.to, c.consumer, sink)
		return
	}
}

func (s *booksSim) into(op string, subtask, sink int) {
	s.count(AccountIn, op, 0, 0, subtask, 0)
	if op == "c" {
		s.send("m", 0, subtask, sink)
		return
	}
	s.count(AccountIn, "o", 0, 0, subtask, 0)
	s.sinks[subtask].pending++
}

// epoch is the commit of an epoch: aligned, when all that was sent is taken first.
func (s *booksSim) epoch(e flow.Epoch, aligned bool) Commit {
	for aligned && s.waiting() > 0 {
		for c := range s.plan.Chains[2].Parallelism {
			for k := range s.sinks {
				s.take(c, k)
			}
		}
	}
	m := manifestOf(s.plan)
	c := Commit{Barrier: flow.Barrier{Epoch: e}, Snapshots: m.Tasks}
	var cs []Committable
	for i := range s.sinks {
		k := &s.sinks[i]
		k.prepared += k.pending
		if k.pending > 0 {
			cs = append(cs, Committable{Operator: "o", Subtask: i, Epoch: e, Records: k.pending})
		}
		k.pending = 0
		task := tasksOf(m, s.plan, "o")[i]
		task.Books = append(task.Books, Entry{Account: AccountPrepared, Operator: "o", Consumer: i, Records: k.prepared})
	}
	c.Operators = []OperatorCommit{{"o", cs}}
	for _, k := range slices.SortedFunc(maps.Keys(s.counts), func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Operator, b.Operator), cmp.Compare(a.Port, b.Port),
			cmp.Compare(a.Producer, b.Producer), cmp.Compare(a.Consumer, b.Consumer))
	}) {
		n := s.counts[k]
		op, at := k.Operator, k.Consumer
		if k.Account == AccountSent {
			op, at = map[string]string{"c": "r", "m": "c"}[op], k.Producer
			if k.Operator == "c" && k.Port == 1 {
				op = "x"
			}
		}
		k.Records, k.Sum = n.records, n.sum
		task := tasksOf(m, s.plan, op)[at]
		task.Books = append(task.Books, k)
	}
	for _, k := range s.sorted() {
		records := s.channels[k]
		if len(records) == 0 {
			continue
		}
		task := tasksOf(m, s.plan, k.to)[k.consumer]
		e := Entry{Account: AccountQueued, Operator: k.to, Port: k.port, Producer: k.producer, Consumer: k.consumer}
		for _, r := range records {
			s.count(AccountQueued, k.to, k.port, k.producer, k.consumer, r)
		}
		e.Records, e.Sum = s.counts[e].records, s.counts[e].sum
		delete(s.counts, Entry{Account: AccountQueued, Operator: k.to, Port: k.port, Producer: k.producer, Consumer: k.consumer})
		task.Books = append(task.Books, e)
		task.InFlight = &File{Blob: task.Task().String(), Size: 1 << 20}
		task.Channels = append(task.Channels, Channel{To: k.to, Port: k.port, Producer: k.producer, Records: int64(len(records)),
			Length: 1, Exchange: uint8(map[string]Exchange{"c0": ExchangeHash, "c1": ExchangeBroadcast, "m0": ExchangeRebalance}[k.to+string(rune('0'+k.port))])})
	}
	return c
}

// sorted is the channels in the same order in every run.
func (s *booksSim) sorted() []simChannel {
	return slices.SortedFunc(maps.Keys(s.channels), func(a, b simChannel) int {
		return cmp.Or(cmp.Compare(a.to, b.to), cmp.Compare(a.port, b.port), cmp.Compare(a.producer, b.producer),
			cmp.Compare(a.consumer, b.consumer))
	})
}

func (s *booksSim) waiting() int {
	n := 0
	for _, r := range s.channels {
		n += len(r)
	}
	return n
}

// restored is the next attempt from an unaligned epoch: what waited is replayed.
func (s *booksSim) restored() *booksSim {
	n := newBooksSim(s.plan.Chains[0].Parallelism, s.plan.Chains[2].Parallelism, len(s.sinks), s.hashes)
	n.next = s.next
	for _, op := range []string{"c", "m"} {
		for _, c := range s.sorted() {
			for _, r := range s.channels[c] {
				if c.to == op {
					n.count(AccountReplayed, op, c.port, 0, c.consumer, r)
					n.into(op, c.consumer, 0)
				}
			}
		}
	}
	return n
}

func found(c Commit) map[flow.OperatorID]int64 {
	m := map[flow.OperatorID]int64{}
	for _, o := range c.Operators {
		for _, x := range o.Committables {
			m[o.Operator] += x.Records
		}
	}
	return m
}

// TestBooksBalance runs jobs over some epochs and a restart: what is right balances,
// and totals go on; then one number is made wrong, and that is found.
func TestBooksBalance(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := func(what string) int { return rapid.IntRange(1, 3).Draw(t, what) }
		s := newBooksSim(n("producers"), n("consumers"), n("sinks"), rapid.Bool().Draw(t, "hashes"))
		books := NewBooks(s.plan, nil, nil)
		var e flow.Epoch
		var last Commit
		epoch := func() {
			for range rapid.IntRange(0, 30).Draw(t, "steps") {
				s.step(t)
			}
			e++
			last = s.epoch(e, rapid.Bool().Draw(t, "aligned"))
			if err := books.Balance(last, found(last)); err != nil {
				t.Fatal(err)
			}
		}
		for range rapid.IntRange(1, 3).Draw(t, "epochs") {
			epoch()
		}
		checkTotals(t, books.Totals())
		if rapid.Bool().Draw(t, "restart") {
			m := manifestOf(s.plan)
			m.Tasks, m.Totals, m.Epoch = last.Snapshots, books.Totals(), uint64(e)
			r, err := Resolve(m, s.plan, ResolveOptions{})
			if err != nil {
				t.Fatal(err)
			}
			s = s.restored()
			books = NewBooks(s.plan, m, r)
			epoch()
			checkTotals(t, books.Totals())
		}
		for range 10 {
			s.step(t)
		}
		e++
		c := s.epoch(e, rapid.Bool().Draw(t, "aligned"))
		plantFault(t, books, c)
	})
}

// checkTotals: the totals of a job balance too.
func checkTotals(t *rapid.T, totals []Entry) {
	sums := map[Account]int64{}
	for _, e := range totals {
		sums[e.Account] += e.Records
	}
	if sums[AccountSent] != sums[AccountReceived]+sums[AccountReplayed]+sums[AccountQueued] ||
		sums[AccountPrepared] != sums[AccountCommitted] {
		t.Fatalf("totals %v", totals)
	}
}

func plantFault(t *rapid.T, books *Books, c Commit) {
	f := found(c)
	var at []*Entry
	for i := range c.Snapshots {
		for j := range c.Snapshots[i].Books {
			at = append(at, &c.Snapshots[i].Books[j])
		}
	}
	by := rapid.SampledFrom([]int64{-1, 1}).Draw(t, "by")
	switch fault := rapid.IntRange(0, 3).Draw(t, "fault"); {
	case fault == 0:
		f["o"] += by
	case fault == 1 && len(c.Operators[0].Committables) > 0:
		c.Operators[0].Committables[0].Records += by
	case fault == 2 && len(at) > 0:
		e := at[rapid.IntRange(0, len(at)-1).Draw(t, "entry")]
		if (e.Sum == Sum{}) {
			t.Skip("nothing hashed")
		}
		e.Sum.High ^= 1 << 63
		if e.Account == AccountReplayed && e.Sum == (Sum{}) {
			t.Skip("looks like no sum")
		}
	case len(at) > 0:
		at[rapid.IntRange(0, len(at)-1).Draw(t, "entry")].Records += by
	default:
		t.Skip("nothing to make wrong")
	}
	err := books.Balance(c, f)
	wrong, ok := errors.AsType[*ImbalanceError](err)
	if !ok || wrong.Epoch != c.Barrier.Epoch {
		t.Fatalf("a planted fault was not found: %v", err)
	}
}

func TestBooksMessages(t *testing.T) {
	s := newBooksSim(1, 2, 1, true)
	s.send("c", 0, 0, 1)
	s.take(1, 0)
	s.take(0, 0)
	for _, c := range []struct {
		wrong func(*Commit, map[flow.OperatorID]int64)
		want  string
	}{
		{func(*Commit, map[flow.OperatorID]int64) {}, ""},
		{func(c *Commit, _ map[flow.OperatorID]int64) { edit(c, AccountSent, "c", 2, 0) },
			"read → count (port 0), subtask 0 to 1: 2 records sent, 1 received and 0 under way"},
		{func(c *Commit, _ map[flow.OperatorID]int64) { edit(c, AccountReceived, "c", 1, 7) },
			"read → count (port 0), subtask 0 to 1: 1 records sent and as many received, but not the same ones: " +
				"the sums of their hashes are 9e3779b97f4a7c15bf58476d1ce4e5b9 and 9e3779b97f4a7c15bf58476d1ce4e5c0"},
		{func(c *Commit, _ map[flow.OperatorID]int64) { edit(c, AccountIn, "c", 0, 0) },
			"count, subtask 1: 1 records came off its inputs, 0 went into it"},
		{func(c *Commit, _ map[flow.OperatorID]int64) { edit(c, AccountPrepared, "o", 3, 0) },
			"out, subtask 0: 1 records were given to the sink, it has prepared 3"},
		{func(c *Commit, _ map[flow.OperatorID]int64) { c.Operators[0].Committables[0].Records = 2 },
			"out, subtask 0: 1 records were prepared, 2 are committed"},
		{func(_ *Commit, f map[flow.OperatorID]int64) { f["o"] = 0 },
			"out: 1 records were prepared, its committer finds 0"},
		{func(c *Commit, _ map[flow.OperatorID]int64) {
			c.Snapshots[0].Books = append(c.Snapshots[0].Books, Entry{Account: AccountSent, Operator: "c", Port: 5, Records: 1})
		}, "count: records are counted on an edge 0 at port 5, which the plan does not have"},
		{func(c *Commit, _ map[flow.OperatorID]int64) {
			c.Snapshots[0].Books = append(c.Snapshots[0].Books, Entry{Account: AccountReplayed, Operator: "o", Records: 1})
		}, "out (port 0): 1 records were taken in again, none were under way in the epoch that was restored"},
		{func(c *Commit, _ map[flow.OperatorID]int64) { edit(c, AccountIn, "o", -1, 0) },
			"out: task m/0 says -1 records in"},
	} {
		commit := s.epoch(4, false)
		s.sinks[0] = sinkSim{pending: 1} // for the next case
		f := found(commit)
		c.wrong(&commit, f)
		err := NewBooks(s.plan, nil, nil).Balance(commit, f)
		if c.want == "" && err == nil {
			continue
		}
		if want := "checkpoint: the books of epoch 4 do not balance: " + c.want; err == nil || err.Error() != want && c.want != "" {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

// edit sets what the first entry of an account says.
func edit(c *Commit, a Account, op string, records int64, sum uint64) {
	for i := range c.Snapshots {
		for j := range c.Snapshots[i].Books {
			if e := &c.Snapshots[i].Books[j]; e.Account == a && e.Operator == op {
				e.Records = records
				e.Sum.Low += sum
				return
			}
		}
	}
}

func TestBooksGoForward(t *testing.T) {
	s := newBooksSim(1, 1, 1, false)
	s.send("c", 0, 0, 0)
	books := NewBooks(s.plan, nil, nil)
	c := s.epoch(1, true)
	if err := books.Balance(c, nil); err != nil {
		t.Fatal(err)
	}
	c = newBooksSim(1, 1, 1, false).epoch(2, true)
	if err := books.Balance(c, nil); err == nil || !strings.Contains(err.Error(), "fewer than the 1 of the epoch before") {
		t.Fatal(err)
	}
}

func TestAccountJSON(t *testing.T) {
	b, err := json.Marshal([]Account{AccountRead, AccountCommitted, 99})
	if err != nil || string(b) != `["read","committed","account 99"]` {
		t.Fatal(string(b), err)
	}
}
