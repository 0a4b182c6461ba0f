package gossip

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// maxGoodbyes is how many are remembered, and passed on in exchanges of full state.
const maxGoodbyes = 64

// goodbye says that an agent is not coming back. The library knows as much, and does not tell:
// to it, who left and who failed are both gone. The instance makes that a word that is
// late does not count for an agent that was started again.
type goodbye struct {
	id       string
	instance uint32
}

// writeGoodbyes writes a line for each.
func writeGoodbyes(list []goodbye) []byte {
	var b strings.Builder
	for _, g := range list {
		fmt.Fprintf(&b, "left %08x %s\n", g.instance, g.id)
	}
	return []byte(b.String())
}

// readGoodbyes passes over lines that it does not understand.
func readGoodbyes(data []byte) (list []goodbye) {
	for line := range strings.Lines(string(data)) {
		word, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		number, id, ok := strings.Cut(rest, " ")
		instance, err := strconv.ParseUint(number, 16, 32)
		if word == "left" && ok && err == nil && id != "" && len(id) <= 100 && len(list) < maxGoodbyes {
			list = append(list, goodbye{id, uint32(instance)})
		}
	}
	return list
}

// word is a goodbye that is passed on.
type word struct {
	goodbye
	done func()
}

// Invalidates reports whether a word makes an older one needless.
func (w word) Invalidates(other memberlist.Broadcast) bool {
	o, ok := other.(word)
	return ok && o.goodbye == w.goodbye
}

// Message is what is sent.
func (w word) Message() []byte { return writeGoodbyes([]goodbye{w.goodbye}) }

// Finished is called when it was sent often enough.
func (w word) Finished() {
	if w.done != nil {
		w.done()
	}
}

// sayGoodbye returns when enough others were told, or when time is up.
func (g *Gossip) sayGoodbye(ctx context.Context) error {
	said := make(chan struct{})
	var once sync.Once
	w := word{goodbye{string(g.o.Meta.Node.ID), g.o.Meta.Instance}, func() { once.Do(func() { close(said) }) }}
	g.table.hear(w.goodbye)
	g.words.QueueBroadcast(w)
	if g.table.count() < 2 {
		return nil
	}
	timer := time.NewTimer(timeLeft(ctx))
	defer timer.Stop()
	select {
	case <-said:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("gossip: say goodbye: %w", context.Cause(ctx))
	case <-timer.C:
		return errors.New("gossip: say goodbye: there was no time to tell enough others")
	}
}

// delegate is what the library asks for what to send, and tells what came.
type delegate struct{ g *Gossip }

// NodeMeta is what this agent tells of itself.
func (d delegate) NodeMeta(int) []byte {
	d.g.mu.Lock()
	defer d.g.mu.Unlock()
	return d.g.mu.encoded
}

// NotifyMsg takes in a goodbye, and passes it on if it is news.
func (d delegate) NotifyMsg(data []byte) {
	for _, b := range readGoodbyes(data) {
		if d.g.table.hear(b) {
			d.g.words.QueueBroadcast(word{goodbye: b})
		}
	}
}

// GetBroadcasts is what is to be passed on.
func (d delegate) GetBroadcasts(overhead, limit int) [][]byte {
	return d.g.words.GetBroadcasts(overhead, limit)
}

// LocalState is for an exchange of full state.
func (d delegate) LocalState(bool) []byte { return writeGoodbyes(d.g.table.goodbyes()) }

// MergeRemoteState is the other's. It is not passed on: full state is exchanged everywhere.
func (d delegate) MergeRemoteState(data []byte, _ bool) {
	for _, b := range readGoodbyes(data) {
		d.g.table.hear(b)
	}
}
