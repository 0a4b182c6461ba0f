package task

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir/checkpoint"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/state"
)

// cellar is Snapshots that keeps files.
type cellar struct {
	files map[string][]byte
	fail  error // of Create
}

type cellarEpoch struct {
	c *cellar
	e flow.Epoch
	f []checkpoint.File
}

type cellarFile struct {
	bytes.Buffer
	e    *cellarEpoch
	name string
}

func (c *cellar) Begin(_ context.Context, e flow.Epoch) SnapshotFiles {
	return &cellarEpoch{c: c, e: e}
}

func (e *cellarEpoch) Create(name string) (io.WriteCloser, error) {
	return &cellarFile{e: e, name: name}, e.c.fail
}
func (e *cellarEpoch) Link(string, string) error               { panic("task: a link of a store in memory") }
func (e *cellarEpoch) Done() ([]checkpoint.File, int64, error) { return e.f, 1, nil }
func (e *cellarEpoch) Abort()                                  {}

func (f *cellarFile) Close() error {
	blob := fmt.Sprintf("%d/%s", f.e.e, f.name)
	f.e.c.files[blob] = f.Bytes()
	f.e.f = append(f.e.f, checkpoint.File{Name: f.name, Blob: blob, Size: int64(f.Len())})
	return nil
}

type cellarSaved struct {
	c *cellar
	f checkpoint.File
}

func (c *cellar) saved(f []checkpoint.File) state.SavedFiles { return cellarSaved{c, f[0]} }

func (s cellarSaved) Names() []string { return []string{s.f.Name} }
func (s cellarSaved) Open(context.Context, string) (io.ReadCloser, error) {
	data, ok := s.c.files[s.f.Blob]
	if !ok {
		return nil, fmt.Errorf("no blob %s", s.f.Blob)
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}
func (s cellarSaved) Fetch(context.Context, string, string) error { panic("task: a fetch") }

// leaping is a rig whose epochs overtake after 10 ms.
type leaping struct {
	*rig
	*cellar
	acked map[flow.Epoch]*checkpoint.TaskSnapshot
}

func newLeaping(t *testing.T, c *cellar, edit func(*Config), gates ...int) *leaping {
	l := &leaping{cellar: c, acked: map[flow.Epoch]*checkpoint.TaskSnapshot{}}
	l.rig = newRigWith(t, "op", nil, func(r *rig, cfg *Config) {
		cfg.Snapshots, cfg.AlignTimeout, cfg.Files = c, 10*time.Millisecond, c.saved
		for i := range cfg.Inputs {
			cfg.Inputs[i].Edge = flow.EdgeID{To: "op", Port: cfg.Inputs[i].Port}
			cfg.Inputs[i].Exchange = graph.Rebalance
		}
		ack := cfg.Listener.Ack
		cfg.Listener.Ack = func(e flow.Epoch, p []checkpoint.Committable, s *checkpoint.TaskSnapshot) {
			l.acked[e] = s
			ack(e, nil, s)
		}
		cfg.Listener.Decline = func(e flow.Epoch, why string) { r.add("decline %d: %s", e, why) }
		if edit != nil {
			edit(cfg)
		}
	}, gates...)
	l.rig.run()
	return l
}

// want is rig.want, but that acknowledgements are at the end: they come from the
// goroutine that writes.
func (l *leaping) want(want string) {
	l.Helper()
	synctest.Wait()
	var lines, acks []string
	for line := range strings.SplitSeq(l.journal.take(), "; ") {
		if strings.HasPrefix(line, "ack ") {
			acks = append(acks, line)
		} else if line != "" && line != "op time 0" { // the first look at timers that were restored
			lines = append(lines, line)
		}
	}
	if got := strings.Join(append(lines, acks...), "; "); got != want {
		l.Errorf("got  %s\nwant %s", got, want)
	}
}

// queued are the accounts of what the epoch overtook, and its channels.
func (l *leaping) queued(e flow.Epoch) string {
	var out []string
	for _, b := range l.acked[e].Books {
		if b.Account == checkpoint.AccountQueued {
			out = append(out, fmt.Sprintf("%d.%d=%d", b.Port, b.Producer, b.Records))
		}
	}
	for _, c := range l.acked[e].Channels {
		out = append(out, fmt.Sprintf("channel %d.%d: %d", c.Port, c.Producer, c.Records))
	}
	return strings.Join(out, ", ")
}

// TestOvertakesWithoutCredit: a task that cannot write, and so does not read, lets an
// epoch overtake what waits in front of it; and what it overtook comes first when the
// task is restored.
func TestOvertakesWithoutCredit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cellar{files: map[string][]byte{}}
		l := newLeaping(t, c, nil, 2, 1)
		l.tape.setDry(true)
		l.want("op open; running")
		l.put(0, 0, 1, 2)
		l.put(0, 0, 3)
		l.put(0, 1, 4)
		l.put(1, 0, 5)
		l.control(0, 0, barrier(1))
		l.put(0, 0, 6)
		l.want("")
		time.Sleep(9 * time.Millisecond)
		l.want("")
		time.Sleep(time.Millisecond)
		l.want("op barrier 1; out checkpoint 1 unaligned")
		l.put(1, 0, 7)
		l.control(1, 0, barrier(1))
		l.want("")
		l.control(0, 1, barrier(1))
		l.want("ack 1 []")
		if got := l.queued(1); got != "0.0=3, 1.0=2, 0.1=1, channel 0.0: 3, channel 1.0: 2, channel 0.1: 1" {
			t.Error(got)
		}
		// All of it is still there, and the barriers are nothing any more.
		l.tape.setDry(false)
		synctest.Wait()
		all := l.journal.take()
		for v := 1; v <= 7; v++ {
			if strings.Count(all, fmt.Sprint(v)) != 2 { // received and sent
				t.Errorf("%d: %s", v, all)
			}
		}
		if strings.Contains(all, "barrier") || strings.Contains(all, "checkpoint") {
			t.Error(all)
		}
		if err := l.end(); err != nil {
			t.Fatal(err)
		}
		l.journal.take()

		snap := l.acked[1]
		r := &checkpoint.TaskRestore{Epoch: 1}
		for _, ch := range snap.Channels {
			r.Channels = append(r.Channels, checkpoint.InFlight{Channel: ch, File: *snap.InFlight})
		}
		again := newLeaping(t, c, func(cfg *Config) { cfg.Restore, cfg.Restored = r, 1 }, 2, 1)
		again.want("op open; running; op receive [1 2]; out [1 2]; op receive [3]; out [3]; op receive [5]; out [5]; " +
			"op receive [7]; out [7]; op receive [4]; out [4]")
		again.put(0, 0, 6)
		again.control(0, 0, barrier(2))
		again.control(0, 1, barrier(2))
		again.control(1, 0, barrier(2))
		again.want("op receive [6]; out [6]; op barrier 2; out checkpoint 2; ack 2 []")
		var books []string
		for _, b := range again.acked[2].Books {
			if b.Account == checkpoint.AccountReplayed || b.Account == checkpoint.AccountReceived {
				books = append(books, fmt.Sprintf("%d:%d.%d=%d", b.Account, b.Port, b.Producer, b.Records))
			}
		}
		if got := strings.Join(books, " "); got != "5:0.0=3 5:1.0=2 5:0.1=1 3:0.0=1 3:0.1=0 3:1.0=0" {
			t.Error(got)
		}
		if err := again.end(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestOvertakesAndReadsOn: what is read while a barrier is still to come is in the
// snapshot too, and the channels that were ahead are read again.
func TestOvertakesAndReadsOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cellar{files: map[string][]byte{}}
		l := newLeaping(t, c, nil, 2)
		l.put(0, 0, 1)
		l.control(0, 0, barrier(1))
		l.put(0, 0, 2)
		l.put(0, 1, 3)
		l.want("op open; running; op receive [1]; out [1]; op receive [3]; out [3]")
		time.Sleep(10 * time.Millisecond)
		l.want("op barrier 1; out checkpoint 1 unaligned; op receive [2]; out [2]")
		l.put(0, 1, 4)
		l.want("op receive [4]; out [4]")
		l.put(0, 1, 5)
		l.put(0, 0, 6)
		l.control(0, 1, barrier(1))
		l.want("op receive [5]; out [5]; op receive [6]; out [6]; ack 1 []")
		if got := l.queued(1); got != "0.1=2, channel 0.1: 2" {
			t.Error(got)
		}
		// A barrier that is unaligned does not wait.
		un := flow.BarrierControl(flow.Barrier{Epoch: 2, Unaligned: true})
		l.control(0, 1, un)
		l.want("op barrier 2; out checkpoint 2 unaligned")
		l.put(0, 0, 7)
		l.control(0, 0, un)
		l.want("op receive [7]; out [7]; ack 2 []")
		// Nothing was under way.
		l.control(0, 1, flow.BarrierControl(flow.Barrier{Epoch: 3, Unaligned: true}), barrier(4))
		l.want("op barrier 3; out checkpoint 3 unaligned")
		l.control(0, 0, barrier(3), barrier(4))
		l.want("op barrier 4; out checkpoint 4; ack 3 []; ack 4 []")
		if s := l.acked[3]; len(s.Channels) > 0 || s.InFlight != nil {
			t.Errorf("%+v", s)
		}
		if err := l.end(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestOvertakesNoBroadcast: an edge that is read in line is read up to its barrier
// before the epoch overtakes on the others.
func TestOvertakesNoBroadcast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cellar{files: map[string][]byte{}}
		l := newLeaping(t, c, func(cfg *Config) { cfg.Inputs[1].InLine = true }, 1, 1)
		l.control(0, 0, barrier(1))
		l.put(0, 0, 1)
		l.want("op open; running")
		time.Sleep(time.Second)
		l.put(1, 0, 2)
		l.want("op receive [2]; out [2]")
		l.tape.setDry(true)
		l.put(1, 0, 3)
		l.control(1, 0, barrier(1))
		l.want("")
		l.tape.setDry(false)
		l.want("op receive [3]; out [3]; op barrier 1; out checkpoint 1; op receive [1]; out [1]; ack 1 []")
		if err := l.end(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestOvertakenEpochIsGivenUp: by the coordinator, by a newer barrier, or because its
// records could not be written. The task goes on, and the next epoch is whole.
func TestOvertakenEpochIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cellar{files: map[string][]byte{}}
		l := newLeaping(t, c, nil, 2)
		overtake := func(e flow.Epoch) {
			t.Helper()
			l.put(0, 1, int(10*e))
			l.control(0, 0, barrier(e))
			synctest.Wait()
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
			if all := l.journal.take(); !strings.Contains(all, fmt.Sprintf("out checkpoint %d unaligned", e)) {
				t.Fatal(all)
			}
			l.put(0, 1, int(10*e)+1)
			l.want(fmt.Sprintf("op receive [%d]; out [%d]", 10*e+1, 10*e+1))
		}
		overtake(1)
		l.AbortEpoch(1)
		l.want("")
		if l.flight != nil || l.gates[0].Gate.Logged() != 0 {
			t.Error("it is logged on")
		}
		l.control(0, 1, barrier(1))
		l.want("")

		overtake(2)
		l.control(0, 1, barrier(3))
		l.want("decline 2: a newer barrier overtook it")
		if l.flight != nil || l.gates[0].Gate.Logged() != 0 {
			t.Error("it is logged on")
		}
		l.control(0, 0, barrier(3))
		l.want("op barrier 3; out checkpoint 3; ack 3 []")

		c.fail = io.ErrShortWrite
		overtake(4)
		l.control(0, 1, barrier(4))
		l.want("decline 4: task c/0: saving its snapshot: records that it overtook: short write")
		c.fail = nil

		overtake(5)
		l.control(0, 1, barrier(5))
		l.want("ack 5 []")
		if got := l.queued(5); got != "0.1=1, channel 0.1: 1" {
			t.Error(got)
		}
		// And one under way when the task ends.
		overtake(6)
		if err := l.end(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestReplayThatCannotBeRead fails before the first record.
func TestReplayThatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, ch := range map[string]checkpoint.InFlight{
			"no blob none":              {Channel: checkpoint.Channel{To: "op", Records: 1, Length: 5}, File: checkpoint.File{Name: "inflight", Blob: "none"}},
			"bytes 0 to 9 of a file":    {Channel: checkpoint.Channel{To: "op", Records: 1, Length: 9}, File: checkpoint.File{Name: "inflight", Blob: "bad"}},
			"they begin with \"nonse\"": {Channel: checkpoint.Channel{To: "op", Records: 1, Length: 5}, File: checkpoint.File{Name: "inflight", Blob: "bad"}},
			"the operator has no input": {Channel: checkpoint.Channel{To: "op", Port: 3, Records: 1}, File: checkpoint.File{Name: "inflight", Blob: "bad"}},
		} {
			c := &cellar{files: map[string][]byte{"bad": []byte("nonsense")[:5]}}
			l := newLeaping(t, c, func(cfg *Config) {
				cfg.Restore, cfg.Restored = &checkpoint.TaskRestore{Epoch: 7, Channels: []checkpoint.InFlight{ch}}, 7
			}, 1)
			err := <-l.done
			if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(l.journal.take(), "running") {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
