package executor

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"github.com/weirflow/weir/api"
)

var testLimits = limits{start: 30 * time.Second, stop: 2 * time.Second, term: 3 * time.Second, report: 100 * time.Millisecond}

// TestLife runs the scripts in testdata. A line is a time and what happens then; what is
// to be done is printed below it.
func TestLife(t *testing.T) {
	datadriven.Walk(t, "testdata/life", func(t *testing.T, path string) {
		var l *life
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var out strings.Builder
			for line := range strings.Lines(d.Input) {
				f := strings.Fields(line)
				if d.Cmd == "new" {
					l = newLife(testLimits, 0, parseAssignment(t, d, f))
				} else {
					lifeStep(t, d, l, f)
				}
				fmt.Fprintln(&out, strings.TrimSpace(line))
				for _, a := range l.take() {
					fmt.Fprintln(&out, "  ", describeAction(a))
				}
				if at, ok := l.next(); ok {
					fmt.Fprintf(&out, "   next at %v\n", at)
				}
			}
			return out.String()
		})
	})
}

func parseAssignment(t *testing.T, d *datadriven.TestData, f []string) api.Assignment {
	a := api.Assignment{Alloc: api.Alloc{ID: "a1", Job: "j", Term: 1}, Job: api.JobSpec{Name: "j", Memory: 1 << 20}}
	for _, s := range f {
		k, v, _ := strings.Cut(s, "=")
		switch k {
		case "coordinator":
			a.Coordinator = v
		case "term":
			n, err := strconv.ParseUint(v, 10, 64)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			a.Term = n
		case "wish":
			a.Wish = api.Wish(v)
		case "savepoint":
			a.Savepoint = v
		case "save":
			n, err := strconv.ParseUint(v, 10, 64)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			a.Save = n
		case "is-coordinator":
			a.Alloc.Coordinator = true
		case "stop":
			a.Alloc.Stop = true
		default:
			d.Fatalf(t, "unknown %q", s)
		}
	}
	return a
}

func lifeStep(t *testing.T, d *datadriven.TestData, l *life, f []string) {
	now, err := time.ParseDuration(f[0])
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	number := func(i int) int {
		n, err := strconv.Atoi(f[i])
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		return n
	}
	rest := strings.Join(f[2:], " ")
	switch f[1] {
	case "tick":
		l.tick(now)
	case "want":
		l.want(now, parseAssignment(t, d, f[2:]))
	case "ask":
		l.ask(now, api.Request{ID: uint64(number(2)), Savepoint: f[3]})
	case "ask-for":
		l.ask(now, api.Request{ID: uint64(number(2)), Ask: f[3]})
	case "stop":
		l.stop(now, rest)
	case "kill":
		l.kill(now, rest)
	case "spawned":
		l.spawned(now, number(2))
	case "unspawned":
		l.unspawned(now, errors.New(rest))
	case "sent":
		l.sent(now, rest != "not")
	case "event":
		var e api.ExecutorEvent
		if err := json.Unmarshal([]byte(rest), &e); err != nil {
			d.Fatalf(t, "%v", err)
		}
		l.event(now, e)
	case "exited":
		e := exit{code: number(2)}
		if len(f) > 3 {
			e.signal = strings.TrimPrefix(f[3], "-")
		}
		if len(f) > 4 {
			e.head = strings.Join(f[4:], " ")
			e.lines = []string{e.head}
		}
		l.exited(now, e)
	case "oom":
		l.exited(now, exit{code: 137, signal: "SIGKILL", oom: true})
	default:
		d.Fatalf(t, "unknown event %s", f[1])
	}
}

func describeAction(a action) string {
	var v any
	switch a.verb {
	case doConfig:
		return fmt.Sprintf("%s: coordinator %q", a.verb, a.config.Coordinator)
	case doCommand:
		v = a.command
	case doReport:
		v = a.status
	case doAnswer:
		v = a.answer
	case doNote:
		return "note: " + a.note
	default:
		return string(a.verb)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s: %s", a.verb, b)
}

// TestLifeAnyOrder tells a life anything in any order that processes can have. It always
// ends: with one last report, nothing said to a closed input, an answer for each
// request, and a signal at the latest two graces after it was stopped.
func TestLifeAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLife(testLimits, 0, api.Assignment{Alloc: api.Alloc{ID: "a", Term: 1}})
		var now time.Duration
		lastReport := -time.Hour
		spawned, dead, closed, writing := false, false, false, false
		ends, asks, answers := 0, map[uint64]bool{}, map[uint64]int{}
		stopAt, termAt := time.Duration(-1), time.Duration(-1)
		last := api.AllocState("")
		perform := func() {
			for _, a := range l.take() {
				switch a.verb {
				case doConfig, doCommand:
					if closed || writing || !spawned {
						t.Fatalf("%s: closed %v, writing %v, spawned %v", describeAction(a), closed, writing, spawned)
					}
					writing = true
				case doClose:
					if closed || !spawned {
						t.Fatal("closed twice, or nothing")
					}
					closed = true
				case doTerm, doKill:
					if !spawned || dead || !closed {
						t.Fatalf("%s: spawned %v, dead %v, closed %v", a.verb, spawned, dead, closed)
					}
					termAt = now
				case doReport:
					if a.status.State == last && now-lastReport < testLimits.report {
						t.Fatalf("reported at %v and %v", lastReport, now)
					}
					lastReport, last = now, a.status.State
					if a.status.State.Ended() {
						ends++
					}
				case doAnswer:
					answers[a.answer.ID]++
				}
			}
			if at, ok := l.next(); ok && at < now {
				t.Fatalf("at %v, and wants to be told at %v", now, at)
			}
		}
		perform()
		for step := range rapid.IntRange(1, 80).Draw(t, "steps") {
			if at, ok := l.next(); ok && rapid.Bool().Draw(t, "until due") {
				now = at
			} else {
				now += time.Duration(rapid.IntRange(0, 1500).Draw(t, "wait")) * time.Millisecond
				if ok {
					now = min(now, at)
				}
			}
			l.tick(now)
			perform()
			switch rapid.IntRange(0, 9).Draw(t, "event") {
			case 0:
				if !spawned && !dead {
					spawned = true
					l.spawned(now, 7)
				}
			case 1:
				if !spawned && !dead {
					dead = true
					l.unspawned(now, errors.New("no program"))
				}
			case 2:
				if spawned && !dead && rapid.IntRange(0, 3).Draw(t, "dies") == 0 {
					dead = true
					l.exited(now, exit{code: rapid.IntRange(0, 2).Draw(t, "code")})
				}
			case 3:
				if writing {
					writing = false
					l.sent(now, true)
				}
			case 4:
				a := l.a
				a.Coordinator, a.Term = fmt.Sprint("h:", step), uint64(rapid.IntRange(0, 4).Draw(t, "term"))
				a.Wish = rapid.SampledFrom([]api.Wish{api.WishRun, api.WishRun, api.WishSave}).Draw(t, "wish")
				l.want(now, a)
			case 5:
				id := uint64(step + 1)
				asks[id] = true
				l.ask(now, api.Request{ID: id, Ask: rapid.SampledFrom([]string{"", api.AskStats}).Draw(t, "for")})
			case 6:
				l.event(now, api.ExecutorEvent{Request: uint64(rapid.IntRange(0, step+1).Draw(t, "answered")), Answer: "ok"})
			case 7:
				l.event(now, api.ExecutorEvent{Ready: &api.ExecutorReady{Data: "h:1"}})
			case 8:
				l.event(now, api.ExecutorEvent{Job: &api.JobReport{Epoch: uint64(step)}})
			case 9:
				switch rapid.IntRange(0, 9).Draw(t, "end") {
				case 0:
					l.stop(now, "test")
					if stopAt < 0 {
						stopAt = now
					}
				case 1:
					l.kill(now, "test")
				}
			}
			perform()
			if spawned && !dead && stopAt >= 0 && termAt < 0 && now > stopAt+testLimits.stop+testLimits.term {
				t.Fatalf("stopped at %v, no signal at %v", stopAt, now)
			}
		}
		if !dead {
			if !spawned {
				l.unspawned(now, errors.New("end of test"))
			} else {
				l.exited(now, exit{})
			}
			perform()
		}
		if ends != 1 {
			t.Fatalf("told its end %d times", ends)
		}
		for id := range asks {
			if answers[id] != 1 {
				t.Fatalf("request %d has %d answers", id, answers[id])
			}
		}
	})
}

// TestLifeAsks asks much of an executor, and hears much.
func TestLifeAsks(t *testing.T) {
	l := newLife(testLimits, 0, api.Assignment{Alloc: api.Alloc{ID: "a", Term: 1}})
	answers := map[uint64][]api.Answer{}
	perform := func() {
		for _, a := range l.take() {
			switch a.verb {
			case doAnswer:
				answers[a.answer.ID] = append(answers[a.answer.ID], a.answer)
			case doConfig, doCommand:
				defer l.sent(0, true)
			}
		}
	}
	settle := func() {
		for range 2 * maxRequests {
			perform()
		}
	}
	l.spawned(0, 7)
	settle()
	// One that answers nothing does not keep the last savepoint waiting.
	for id := uint64(1); id <= 2*maxRequests; id++ {
		r := api.Request{ID: id, Ask: api.AskStats}
		if id%4 == 0 {
			r = api.Request{ID: id, Savepoint: "s"}
		}
		l.ask(0, r)
		settle()
	}
	for id := uint64(1); id <= 2*maxRequests; id++ {
		// Of the 16 places savepoints have 8 in the end, and the newest others the rest.
		given := id%4 != 0 && id <= 21
		if got := answers[id]; given != (len(got) == 1 && strings.Contains(got[0].Error, "older release")) || !given && len(got) > 0 {
			t.Errorf("%d: %+v", id, got)
		}
	}
	for id := uint64(100); id < 120; id++ {
		l.ask(0, api.Request{ID: id, Savepoint: "s"})
		settle()
	}
	if got := answers[119]; len(got) != 1 || !strings.Contains(got[0].Error, "16 requests wait") {
		t.Errorf("%+v", got)
	}
	l.event(0, api.ExecutorEvent{Request: 4, Answer: strings.Repeat("x", maxReason+1)})
	perform()
	if got := answers[4]; len(got) != 1 || len(got[0].Answer) != maxReason+len(" ...") {
		t.Errorf("a savepoint's answer: %+v", got)
	}
	// Long answers come as they are, or not at all, and are not all remembered.
	for id, n := range map[uint64]int{201: 10, 202: api.MaxExecutorEvent, 203: api.MaxExecutorEvent + 1} {
		text := strings.Repeat("x", n)
		l.ask(0, api.Request{ID: id, Ask: api.AskGraph})
		settle()
		l.event(0, api.ExecutorEvent{Request: id, Answer: text})
		perform()
		got := answers[id]
		if len(got) != 1 || n <= api.MaxExecutorEvent && (got[0].Answer != text || got[0].Error != "") ||
			n > api.MaxExecutorEvent && (got[0].Answer != "" || !strings.Contains(got[0].Error, "at most")) {
			t.Errorf("%d bytes: %d answers", n, len(got))
		}
		size := 0
		for _, a := range l.answers {
			size += len(a.Answer)
		}
		if size > api.MaxExecutorEvent {
			t.Errorf("%d bytes are remembered", size)
		}
	}
}
