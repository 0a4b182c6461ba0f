package agent

import (
	"testing"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/scheduler/control"
)

// led is a server of which a test says whether it leads.
type led struct {
	decides
	term uint64
	ok   bool
}

func (l *led) Leading() (uint64, bool) { return l.term, l.ok }

// TestSeen: who leads no longer, or again, does not tell when agents spoke to it before.
func TestSeen(t *testing.T) {
	r := &led{term: 2, ok: true}
	l := newLeader(r, control.Options{})
	l.mu.term = 2
	l.mu.heard["a"] = &contact{at: time.UnixMicro(7)}
	for _, c := range []struct {
		term uint64
		ok   bool
		id   api.NodeID
		want int64
	}{{2, true, "a", 7}, {2, true, "b", 0}, {2, false, "a", 0}, {3, true, "a", 0}} {
		r.term, r.ok = c.term, c.ok
		if got := l.seen(c.id); got != c.want {
			t.Errorf("term %d, leading %t: agent %s was heard of at %d, want %d", c.term, c.ok, c.id, got, c.want)
		}
	}
}
