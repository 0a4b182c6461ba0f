package checkpoint

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/weirflow/weir/flow"
)

// Books balances the epochs of one attempt, in the order of their commits, and
// carries the totals of the job on. It belongs to the goroutine that commits.
type Books struct {
	plan Target
	// base are the totals of the attempts before, by what they are about.
	base   map[totalKey]tally
	replay []Entry
	// last is what the tasks said at the last epoch, summed over subtasks.
	last map[totalKey]tally
	// committed is what sinks' subtasks have committed in this attempt, by the
	// committables' own counts; found is by the committers'.
	committed map[subtaskKey]int64
	found     map[string]int64
}

// totalKey is what a line of the totals is about.
type totalKey struct {
	account     Account
	operator    string
	port, index int
}

// NewBooks opens the books of an attempt that was restored from a manifest; both
// from and r are nil where the job starts anew.
func NewBooks(p Target, from *Manifest, r *Restore) *Books {
	b := &Books{plan: p, base: map[totalKey]tally{}, last: map[totalKey]tally{},
		committed: map[subtaskKey]int64{}, found: map[string]int64{}}
	if from != nil {
		for i := range from.Totals {
			if from.Totals[i].Account != AccountQueued { // is no sum over epochs
				addTotal(b.base, &from.Totals[i])
			}
		}
	}
	if r != nil {
		b.replay = r.Replay
	}
	return b
}

func addTotal(m map[totalKey]tally, e *Entry) {
	k := totalKey{e.Account, e.Operator, e.Port, e.Index}
	t := m[k]
	t.add(tally{e.Records, e.Sum})
	m[k] = t
}

// Balance balances an epoch that is about to be committed: see the function
// [Balance], and further, that what was under way in the epoch that the attempt was
// restored from has been taken in, and that what sinks' subtasks have prepared is
// what is committed. found is what committers have counted themselves in their
// part of the commit (operator.Auditor), by operator; others are not in it.
// After an error, an [*ImbalanceError], the epoch is noted all the same, for those
// who go on with a warning.
func (b *Books) Balance(c Commit, found map[flow.OperatorID]int64) error {
	epoch := c.Barrier.Epoch
	now := map[totalKey]tally{}
	for i := range c.Snapshots {
		for j := range c.Snapshots[i].Books {
			addTotal(now, &c.Snapshots[i].Books[j])
		}
	}
	l, err := newBalancer(epoch, c.Snapshots, b.plan)
	if err == nil {
		err = l.balance()
	}
	if err == nil {
		err = b.forward(l, now)
	}
	if err == nil {
		err = b.replayed(l)
	}
	if errCommit := b.commit(l, c, found); err == nil {
		err = errCommit
	}
	b.last = now
	return err
}

// forward checks that no count has gone back since the last epoch.
func (b *Books) forward(l *balancer, now map[totalKey]tally) error {
	for _, k := range sortedKeys(b.last) {
		if k.account != AccountQueued && now[k].records < b.last[k].records {
			return l.wrong(l.name(k.operator), "%d records %s, fewer than the %d of the epoch before",
				now[k].records, k.account, b.last[k].records)
		}
	}
	return nil
}

// replayed compares what was under way before the restore with what was taken in.
func (b *Books) replayed(l *balancer) error {
	expected := map[edgeKey]bool{}
	for i := range b.replay {
		e := &b.replay[i]
		k := edgeKey{e.Operator, e.Port, -1}
		expected[k] = true
		got := l.replayed[k]
		where := fmt.Sprintf("%s (port %d)", l.name(e.Operator), e.Port)
		if got.records != e.Records {
			return l.wrong(where, "%d records were under way in the epoch that was restored, %d were taken in", e.Records, got.records)
		}
		if (e.Sum != Sum{}) && (got.sum != Sum{}) && e.Sum != got.sum {
			return l.wrong(where, "the %d records that were taken in are not those that were under way in the epoch "+
				"that was restored: the sums of their hashes are %s and %s", e.Records, got.sum, e.Sum)
		}
	}
	for k, got := range l.replayed {
		if !expected[k] && got.records > 0 {
			return l.wrong(fmt.Sprintf("%s (port %d)", l.name(k.to), k.port),
				"%d records were taken in again, none were under way in the epoch that was restored", got.records)
		}
	}
	return nil
}

// commit adds what is committed to the books and compares it with what was prepared.
func (b *Books) commit(l *balancer, c Commit, found map[flow.OperatorID]int64) error {
	var first error
	note := func(err error) {
		if first == nil {
			first = err
		}
	}
	records := map[flow.OperatorID]int64{}
	for _, o := range c.Operators {
		var sum int64
		for _, m := range o.Committables {
			b.committed[subtaskKey{string(m.Operator), m.Subtask}] += m.Records
			sum += m.Records
		}
		records[o.Operator] = sum
	}
	for _, chain := range b.plan.Chains {
		for _, o := range chain.Operators {
			for s := range chain.Parallelism {
				k := subtaskKey{string(o.ID), s}
				if b.committed[k] != l.prepared[k] {
					note(l.wrong(fmt.Sprintf("%s, subtask %d", l.name(k.operator), s),
						"%d records were prepared, %d are committed", l.prepared[k], b.committed[k]))
				}
			}
		}
	}
	for _, o := range c.Operators {
		n, counted := found[o.Operator]
		b.found[string(o.Operator)] += n
		if counted && n != records[o.Operator] {
			note(l.wrong(l.name(string(o.Operator)), "%d records were prepared, its committer finds %d", records[o.Operator], n))
		}
	}
	return first
}

// Totals is the books of the job up to the last balanced epoch, for [Manifest.Totals].
func (b *Books) Totals() []Entry {
	sums := map[totalKey]tally{}
	for _, m := range []map[totalKey]tally{b.base, b.last} {
		for k, t := range m {
			sum := sums[k]
			sum.add(t)
			sums[k] = sum
		}
	}
	for op, n := range b.found { // 0 where nobody counts
		if n == 0 {
			continue
		}
		k := totalKey{account: AccountCommitted, operator: op}
		sum := sums[k]
		sum.records += n
		sums[k] = sum
	}
	out := make([]Entry, 0, len(sums))
	for _, k := range sortedKeys(sums) {
		t := sums[k]
		out = append(out, Entry{Account: k.account, Operator: k.operator, Port: k.port, Index: k.index, Records: t.records, Sum: t.sum})
	}
	return out
}

func sortedKeys(m map[totalKey]tally) []totalKey {
	keys := make([]totalKey, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b totalKey) int {
		return cmp.Or(cmp.Compare(a.operator, b.operator), cmp.Compare(a.account, b.account),
			cmp.Compare(a.port, b.port), cmp.Compare(a.index, b.index))
	})
	return keys
}
