package lsm

import (
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// compactions grants Pebble the compactions that it may run at a time. Why not
// Pebble's own: it lets one begin while the database is being opened, and opening then
// waits for its end, which for a large state is what a restart must not wait for. Here
// none begins until the store has written something.
type compactions struct {
	mu struct {
		sync.Mutex
		db       pebble.DBForCompaction
		allowed  bool // the database is open, and written to
		ended    bool
		running  int
		granting bool
		again    bool // there is room for one more than whoever grants knew
	}
	granted sync.Cond // granting has become false
}

func newCompactions() *compactions {
	c := &compactions{}
	c.granted.L = &c.mu.Mutex
	return c
}

// allow lets compactions begin.
func (c *compactions) allow() {
	c.mu.Lock()
	c.mu.allowed = true
	c.grantLocked()
	c.mu.Unlock()
}

// Register is called when the database is opened.
func (c *compactions) Register(_ int, db pebble.DBForCompaction) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.db = db
}

// Unregister is called when it is closed.
func (c *compactions) Unregister() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.ended = true
	for c.mu.granting {
		c.granted.Wait()
	}
}

func (c *compactions) roomLocked() bool {
	return c.mu.allowed && !c.mu.ended && c.mu.running < c.mu.db.GetAllowedWithoutPermission()
}

// TrySchedule is called when there is something to compact.
func (c *compactions) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.roomLocked() {
		return false, nil
	}
	c.mu.running++
	return true, c
}

// UpdateGetAllowedWithoutPermission is called when there may be room for more. The
// database's locks may be held: there is something to grant at the next allow.
func (c *compactions) UpdateGetAllowedWithoutPermission() {}

// grantLocked begins the compactions that were refused before, if there is room now.
// It unlocks while it calls the database, whose locks come first.
func (c *compactions) grantLocked() {
	if c.mu.granting {
		c.mu.again = true
		return
	}
	c.mu.granting = true
	for more := true; more; more = c.mu.again {
		c.mu.again = false
		for ok := true; ok && c.roomLocked(); {
			c.mu.running++
			db := c.mu.db
			c.mu.Unlock()
			ok, _ = db.GetWaitingCompaction()
			ok = ok && db.Schedule(c)
			c.mu.Lock()
			if !ok {
				c.mu.running--
			}
		}
	}
	c.mu.granting = false
	c.granted.Broadcast()
}

// Started, MeasureCPU and CumulativeStats tell of a compaction that runs.
func (c *compactions) Started() {}

// MeasureCPU does nothing.
func (c *compactions) MeasureCPU(pebble.CompactionGoroutineKind) {}

// CumulativeStats does nothing.
func (c *compactions) CumulativeStats(pebble.CompactionGrantHandleStats) {}

// Done is called when a compaction has ended.
func (c *compactions) Done() {
	c.mu.Lock()
	c.mu.running--
	c.grantLocked()
	c.mu.Unlock()
}
