package executor

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/weirflow/weir/api"
)

// Limits of what one executor may say.
const (
	maxRequests = 16      // that wait for an answer, and answers that are remembered
	maxReason   = 4 << 10 // bytes of a reason or of what is said of a savepoint
	maxAddress  = 256
)

// phase is how far an executor's process is.
type phase uint8

const (
	preparing phase = iota // the program is looked for and started
	living
	ended
)

// stage is how far its end is.
type stage uint8

const (
	wanted stage = iota
	asked        // its input is closed
	terminated
	killed
)

// limits are the times of a life.
type limits struct {
	start  time.Duration // until it must be ready
	stop   time.Duration // from the end of its input to SIGTERM
	term   time.Duration // from there to SIGKILL, and from one SIGKILL to the next
	report time.Duration // between two reports, but for those of a new state
}

// life decides what to do about one executor, from its start to its end. It is told what has
// happened; what is to be done is taken from it afterwards.
type life struct {
	o     limits
	a     api.Assignment // as it was wanted last
	now   time.Duration
	phase phase
	stage stage
	due   time.Duration // of the next stage, or of being ready; 0: nothing
	why   string        // it is being ended
	fault bool          // why is a failure, whatever the exit code

	status  api.AllocStatus
	dirty   bool // status was not reported
	spoke   bool // anything was reported
	spoken  time.Duration
	told    told
	writing bool // a line is on its way
	pending []api.Request
	waiting []api.Request // that were sent
	answers []api.Answer
	todo    []action
}

// told is what the executor knows.
type told struct {
	coordinator string
	term        uint64
	wish        api.Wish
	savepoint   string
	parallelism int
}

// verb is what the shell does.
type verb string

const (
	doSpawn   verb = "spawn"        // prepare the program and start it
	doGiveUp  verb = "give up"      // the preparation, which then fails
	doConfig  verb = "send config"  // the first line
	doCommand verb = "send command" // a line
	doClose   verb = "close input"
	doTerm    verb = "SIGTERM"
	doKill    verb = "SIGKILL" // the process group
	doReport  verb = "report"
	doAnswer  verb = "answer"
	doNote    verb = "note" // into the log
)

// action is one of them.
type action struct {
	verb    verb
	config  api.ExecutorConfig // what the assignment says of it
	command api.ExecutorCommand
	status  api.AllocStatus
	answer  api.Answer
	note    string
}

// newLife begins with the wish to spawn.
func newLife(o limits, now time.Duration, a api.Assignment) *life {
	l := &life{o: o, a: a, now: now}
	l.status = api.AllocStatus{Alloc: a.Alloc.ID, State: api.AllocPending}
	l.dirty = true
	l.do(action{verb: doSpawn})
	l.flush()
	return l
}

func (l *life) do(a action) { l.todo = append(l.todo, a) }

// take is what is to be done, in this order.
func (l *life) take() []action {
	l.flush()
	todo := l.todo
	l.todo = nil
	return todo
}

// flush reports what is new, if it is time.
func (l *life) flush() {
	if l.dirty && (!l.spoke || l.now-l.spoken >= l.o.report) {
		l.report()
	}
}

func (l *life) report() {
	l.dirty, l.spoke, l.spoken = false, true, l.now
	l.do(action{verb: doReport, status: l.status})
}

// next is when tick is wanted, if nothing happens before.
func (l *life) next() (at time.Duration, ok bool) {
	if l.phase == ended {
		return 0, false
	}
	if l.due > 0 {
		at, ok = l.due, true
	}
	if s := l.spoken + l.o.report; l.dirty && (!ok || s < at) {
		at, ok = s, true
	}
	return at, ok
}

// tick lets time pass.
func (l *life) tick(now time.Duration) {
	l.now = max(l.now, now)
	if l.phase == ended || l.due == 0 || l.now < l.due {
		return
	}
	switch {
	case l.stage == wanted:
		l.end(fmt.Sprintf("it did not say within %v that it listens", l.o.start), true)
	case l.phase == preparing: // whoever prepares sees that it is given up
		l.due = 0
	case l.stage == asked:
		l.stage, l.due = terminated, l.now+l.o.term
		l.do(action{verb: doTerm})
	default:
		l.stage, l.due = killed, l.now+l.o.term
		l.do(action{verb: doKill})
	}
}

// want takes a newer assignment. One that is not to run any more is stopped.
func (l *life) want(now time.Duration, a api.Assignment) {
	l.tick(now)
	if a.Alloc.Stop {
		l.stop(now, "it is not wanted any more")
		return
	}
	if term(a) < term(l.a) { // of an older coordinator
		a.Coordinator, a.Term = l.a.Coordinator, l.a.Term
	}
	l.a.Coordinator, l.a.Term = a.Coordinator, a.Term
	l.a.Wish, l.a.Savepoint, l.a.Save, l.a.Job.Parallelism = a.Wish, a.Savepoint, a.Save, a.Job.Parallelism
	l.say()
}

// term is that of the coordinator that a names.
func term(a api.Assignment) uint64 {
	if a.Term == 0 {
		return a.Alloc.Term
	}
	return a.Term
}

// wish is what an assignment wants of its job.
func wish(a api.Assignment) api.Wish {
	if a.Wish == "" {
		return api.WishRun
	}
	return a.Wish
}

// ask takes a request. A repeat of one that was answered gets the same answer, if that is
// remembered. Savepoints are taken of jobs that are to go on; other things may be asked for as
// long as the executor hears.
func (l *life) ask(now time.Duration, r api.Request) {
	l.tick(now)
	if number(l.waiting, r.ID) >= 0 || number(l.pending, r.ID) >= 0 {
		return
	}
	refuse := ""
	switch i := slices.IndexFunc(l.answers, func(a api.Answer) bool { return a.ID == r.ID }); {
	case i >= 0:
		l.do(action{verb: doAnswer, answer: l.answers[i]})
		return
	case l.phase == ended || l.stage != wanted || r.Ask == "" && wish(l.a) != api.WishRun:
		refuse = "the executor is ending"
	case len(l.pending)+len(l.waiting) < maxRequests:
	case !l.giveUp():
		refuse = fmt.Sprintf("%d requests wait for an answer already", maxRequests)
	}
	if refuse != "" {
		l.do(action{verb: doAnswer, answer: api.Answer{ID: r.ID, Error: refuse}})
		return
	}
	l.pending = append(l.pending, r)
	l.say()
}

// number is where in rs the request is, -1 if it is not.
func number(rs []api.Request, id uint64) int {
	return slices.IndexFunc(rs, func(r api.Request) bool { return r.ID == id })
}

// giveUp makes room for a request, by one that is not for a savepoint, if there is such a one.
// Those are answered at once, but by programs of a release that does not know what is asked.
func (l *life) giveUp() bool {
	for _, rs := range []*[]api.Request{&l.waiting, &l.pending} {
		if i := slices.IndexFunc(*rs, func(r api.Request) bool { return r.Ask != "" }); i >= 0 {
			r := (*rs)[i]
			*rs = slices.Delete(*rs, i, i+1)
			l.answer(api.Answer{ID: r.ID, Error: fmt.Sprintf("the executor does not say its %.32s: is its program of an older release?", r.Ask)})
			return true
		}
	}
	return false
}

// say sends the next line, if there is something new and the last one is written.
func (l *life) say() {
	if l.phase != living || l.stage != wanted || l.writing {
		return
	}
	var c api.ExecutorCommand
	// A coordinator hears of those that come after it only: then its own term is over.
	if t := term(l.a); l.a.Coordinator != "" && (l.a.Coordinator != l.told.coordinator || t != l.told.term) &&
		(!l.a.Alloc.Coordinator || t > l.told.term) {
		c.Coordinator, c.Term = l.a.Coordinator, t
		l.told.coordinator, l.told.term = c.Coordinator, t
	}
	if p := l.a.Job.Parallelism; l.a.Alloc.Coordinator && p != l.told.parallelism {
		c.Parallelism, l.told.parallelism = p, p
	}
	w := wish(l.a)
	next := slices.IndexFunc(l.pending, func(r api.Request) bool { return r.Ask != "" || w == api.WishRun })
	switch {
	case w != l.told.wish || w == api.WishSave && l.a.Savepoint != l.told.savepoint:
		c.Wish, c.Savepoint = w, l.a.Savepoint
		l.told.wish, l.told.savepoint = w, l.a.Savepoint
		if w == api.WishSave && l.a.Save != 0 && number(l.waiting, l.a.Save) < 0 && (len(l.pending)+len(l.waiting) < maxRequests || l.giveUp()) {
			c.Request = l.a.Save
			l.waiting = append(l.waiting, api.Request{ID: l.a.Save, Alloc: l.a.Alloc.ID, Savepoint: l.a.Savepoint})
		}
	case next >= 0:
		r := l.pending[next]
		l.pending = slices.Delete(l.pending, next, next+1)
		l.waiting = append(l.waiting, r)
		if c.Request, c.Ask = r.ID, r.Ask; r.Ask == "" {
			c.Wish, c.Savepoint = w, r.Savepoint
		}
	}
	if c != (api.ExecutorCommand{}) {
		l.writing = true
		l.do(action{verb: doCommand, command: c})
	}
}

// sent says that a line was written, or that it could not be: then the process ends, or
// has closed its input, and hears nothing more.
func (l *life) sent(now time.Duration, ok bool) {
	l.tick(now)
	if l.writing = !ok; ok {
		l.say()
	}
}

// spawned says that the process lives.
func (l *life) spawned(now time.Duration, pid int) {
	l.now = max(l.now, now)
	l.phase, l.status.PID, l.dirty = living, pid, true
	if l.stage != wanted { // it was given up too late, and has done nothing yet
		l.stage, l.due = killed, l.now+l.o.term
		l.do(action{verb: doClose})
		l.do(action{verb: doKill})
		return
	}
	l.due = l.now + l.o.start
	l.told = told{coordinator: l.a.Coordinator, term: l.a.Alloc.Term, wish: api.WishRun, parallelism: l.a.Job.Parallelism}
	c := api.ExecutorConfig{Alloc: l.a.Alloc, Job: l.a.Job}
	if !l.a.Alloc.Coordinator {
		c.Coordinator = l.a.Coordinator
	}
	l.writing = true
	l.do(action{verb: doConfig, config: c})
}

// unspawned says that there will be no process.
func (l *life) unspawned(now time.Duration, err error) {
	l.now = max(l.now, now)
	how := "not started: " + err.Error()
	if l.stage != wanted {
		how = "not started: " + l.why
	}
	l.over(api.AllocFailed, -1, how, nil)
}

// stop ends the executor with its graces.
func (l *life) stop(now time.Duration, why string) {
	l.tick(now)
	if l.stage == wanted && l.phase != ended {
		l.end(why, false)
	}
}

// end asks the executor to end.
func (l *life) end(why string, fault bool) {
	l.why, l.fault, l.stage, l.due = why, fault, asked, l.now+l.o.stop
	l.do(action{verb: doNote, note: "being stopped: " + why})
	if l.phase == preparing {
		l.do(action{verb: doGiveUp})
		return
	}
	l.do(action{verb: doClose})
}

// kill ends it at once.
func (l *life) kill(now time.Duration, why string) {
	l.tick(now)
	if l.phase == ended || l.stage == killed {
		return
	}
	if l.stage == wanted {
		l.end(why, false)
	}
	if l.stage, l.due = killed, l.now+l.o.term; l.phase == living {
		l.do(action{verb: doKill})
	}
}

// event takes what the executor says.
func (l *life) event(now time.Duration, e api.ExecutorEvent) {
	l.tick(now)
	if l.phase != living {
		return
	}
	if e.Ready != nil && l.status.State == api.AllocPending {
		if err := addresses(*e.Ready); err != nil {
			l.do(action{verb: doNote, note: "says that it is ready, but " + err.Error()})
		} else {
			l.status.State, l.status.Data, l.status.Control = api.AllocRunning, e.Ready.Data, e.Ready.Control
			if l.stage == wanted {
				l.due = 0
			}
			l.report()
		}
	}
	if e.Job != nil {
		was := l.status.Job
		j := *e.Job
		j.Reason = clip(j.Reason)
		if len(j.Notes) > maxNotes {
			j.Notes = "" // nothing of ours is as long
		}
		if was == nil || *was != j {
			l.status.Job, l.dirty = &j, true
		}
	}
	if i := number(l.waiting, e.Request); e.Request != 0 && i >= 0 {
		a := api.Answer{ID: e.Request, Answer: e.Answer, Error: clip(e.Error)}
		switch {
		case l.waiting[i].Ask == "":
			a.Answer = clip(e.Answer)
		case len(e.Answer) > api.MaxExecutorEvent: // a part of it says nothing
			a.Answer, a.Error = "", fmt.Sprintf("an answer of %d bytes: at most %d are passed on", len(e.Answer), api.MaxExecutorEvent)
		}
		l.waiting = slices.Delete(l.waiting, i, i+1)
		l.answer(a)
	}
}

// maxNotes is how many bytes a report's notes may have.
const maxNotes = 16 << 10

// answer gives one, and remembers it for a repeat of the request, as far as what is
// remembered does not become too much.
func (l *life) answer(a api.Answer) {
	l.answers = append(l.answers, a)
	size := 0
	for i := range l.answers {
		size += len(l.answers[i].Answer)
	}
	for len(l.answers) > maxRequests || size > api.MaxExecutorEvent {
		size -= len(l.answers[0].Answer)
		l.answers = slices.Delete(l.answers, 0, 1)
	}
	l.do(action{verb: doAnswer, answer: a})
}

// addresses refuses what nobody can dial.
func addresses(r api.ExecutorReady) error {
	for _, a := range []string{r.Data, r.Control} {
		if a == "" {
			continue
		}
		if _, _, err := net.SplitHostPort(a); err != nil || len(a) > maxAddress {
			return fmt.Errorf("%.80q is no address", a)
		}
	}
	return nil
}

func clip(s string) string {
	if len(s) > maxReason {
		s = s[:maxReason] + " ..."
	}
	return strings.ToValidUTF8(s, "?")
}

// exit is how a process ended.
type exit struct {
	code   int
	signal string // its name, empty where the process ended by itself
	oom    bool   // above its memory limit
	lines  []string
	head   string // the line that says most, may be empty
}

// exited says that the process is gone.
func (l *life) exited(now time.Duration, e exit) {
	l.now = max(l.now, now)
	how := fmt.Sprintf("exit code %d", e.code)
	switch {
	case e.oom:
		how = fmt.Sprintf("killed: it needed more than the %d bytes of memory of its job", l.a.Job.Memory)
	case e.signal == "SIGKILL" && l.stage != killed:
		how = "killed by SIGKILL, which its agent had not sent: by hand, or by the system for want of memory"
	case e.signal != "":
		how = "killed by " + e.signal
	}
	if l.why != "" {
		how = l.why + ": " + how
	} else if e.head != "" && (e.code != 0 || e.signal != "") {
		how += ": " + e.head
	}
	state := api.AllocFailed
	if e.code == 0 && e.signal == "" && !l.fault {
		state = api.AllocEnded
	}
	l.over(state, e.code, how, e.lines)
}

// over ends the life. What was asked is answered.
func (l *life) over(state api.AllocState, code int, how string, lines []string) {
	l.phase, l.due = ended, 0
	l.status.State, l.status.ExitCode, l.status.Exit, l.status.Lines = state, code, clip(how), lines
	l.do(action{verb: doNote, note: "ended: " + clip(how)})
	for _, r := range append(l.waiting, l.pending...) {
		l.answer(api.Answer{ID: r.ID, Error: "the executor has ended: " + clip(how)})
	}
	l.pending, l.waiting = nil, nil
	l.report()
}
