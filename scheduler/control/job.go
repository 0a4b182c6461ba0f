package control

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/scheduler/place"
)

// job decides about one job.
func (r *round) job(j *Job, ch *JobChange) {
	all := r.of[j.Spec.Name]
	var live, old []*Alloc
	started := false // an executor of this version
	for _, a := range all {
		if a.live() {
			live = append(live, a)
			if a.Version != j.Spec.Version {
				old = append(old, a)
			}
		}
		started = started || a.Version == j.Spec.Version
	}
	if j.Status.Ended() {
		r.stopAll(ch, live)
		if ch.Forget = len(live) == 0 && r.since(j.Since) >= r.o.Keep; !ch.Forget {
			r.next(j.Since + r.o.Keep.Microseconds())
		}
		return
	}
	if j.Wish == api.WishCancel {
		r.cancel(j, ch, live)
		return
	}
	if (j.Wish == api.WishStop || j.Wish == api.WishSave) && !started {
		r.stopAll(ch, old)
		r.status(j, ch, api.JobStopped, "it had not started")
		return
	}
	if len(old) > 0 {
		r.stopAll(ch, old)
		r.status(j, ch, api.JobPending, fmt.Sprintf("version %d waits for %s of the version before to end",
			j.Spec.Version, executors(len(old))))
		return
	}
	f := r.failures(j, all)
	if f.last != nil && f.last.Status.State == api.AllocFailed && f.last.Status.ExitCode == api.ExitMisuse {
		r.status(j, ch, api.JobFailed, f.ended()+"; the program does not run as it was submitted, and no restart helps")
		r.stopAll(ch, live)
		return
	}
	if f.tries > r.o.Tries {
		r.status(j, ch, api.JobFailed, f.text(r.o.Tries))
		r.stopAll(ch, live)
		return
	}
	r.expire(j, ch)
	if r.repair(j, ch, f) {
		r.move(j, ch)
	}
}

func (r *round) stopAll(ch *JobChange, allocs []*Alloc) {
	for _, a := range allocs {
		r.stop(ch, a)
	}
}

// cancel ends a job: its coordinator shall do it, so that sinks and splits are closed
// in order; if it does not in time, or is not there, its executors are ended as they are.
func (r *round) cancel(j *Job, ch *JobChange, live []*Alloc) {
	if len(live) == 0 {
		r.status(j, ch, api.JobCancelled, "")
		return
	}
	if co := coordinator(j, live); co != nil && co.Status.State == api.AllocRunning && !r.over(j.WishAt, r.o.CancelWithin) {
		return
	}
	r.stopAll(ch, live)
	r.status(j, ch, api.JobStopping, fmt.Sprintf("waits for %s to end", executors(len(live))))
}

// coordinator is the job's, nil if it has none.
func coordinator(j *Job, live []*Alloc) *Alloc {
	for _, a := range live {
		if a.Coordinator && !a.Stop && a.Term == j.Term && a.Version == j.Spec.Version {
			return a
		}
	}
	return nil
}

// here are the job's executors that are live and not to end.
func (r *round) here(j *Job) []*Alloc {
	var here []*Alloc
	for _, a := range r.of[j.Spec.Name] {
		if a.live() && !a.Stop && a.Version == j.Spec.Version {
			here = append(here, a)
		}
	}
	return here
}

func slotsOf(allocs []*Alloc) int {
	n := 0
	for _, a := range allocs {
		n += a.Slots
	}
	return n
}

// wants is the job as place knows it.
func (r *round) wants(j *Job, here []*Alloc, f *failures) place.Job {
	policy, err := place.ParsePolicy(j.Spec.Spread)
	if err != nil {
		policy = place.Spread // submission refuses others
	}
	w := place.Job{
		Name: j.Spec.Name, Slots: j.wanted(), PerExecutor: j.Spec.SlotsPerExecutor, Zone: j.Spec.Zone, Policy: policy,
	}
	co := coordinator(j, here)
	for _, a := range here {
		w.Now = append(w.Now, place.Executor{Alloc: a.ID, Node: a.Node, Slots: a.Slots, Coordinator: a == co})
	}
	if f != nil {
		w.Was, w.Avoid = f.was, f.avoid
	}
	return w
}

// repair brings a job to the slots that it wants, and reports whether it has them.
func (r *round) repair(j *Job, ch *JobChange, f *failures) bool {
	here := r.here(j)
	co := coordinator(j, here)
	if co != nil && slotsOf(here) == j.wanted() {
		return true
	}
	w := r.wants(j, here, f)
	plan := r.fleet.Place(w)
	if !plan.Fits {
		r.lacks(j, ch, here, co, plan)
		return false
	}
	if len(plan.Start) > 0 {
		if f.tries > 0 && !r.over(f.last.Since, f.wait) {
			r.waits(j, ch, co, f.again())
			return false
		}
		if !r.fitsNow(plan.Start) {
			// They take the place of some of the job's own, which have to end first.
			r.stopNamed(j, ch, plan.Stop)
			return r.repair(j, ch, f)
		}
		if f.tries > 0 {
			ch.Events = append(ch.Events, f.again())
		}
		r.start(j, ch, plan.Start, co == nil, f.tries)
		if co == nil || j.Status == api.JobPending {
			r.status(j, ch, api.JobStarting, "")
		}
		return false
	}
	if co == nil {
		// There are enough slots and nobody to lead: one executor is made anew.
		r.stopNamed(j, ch, plan.Stop)
		r.stop(ch, find(here, plan.Keep[len(plan.Keep)-1].Alloc))
		return r.repair(j, ch, f)
	}
	// Others have taken the place of those that are too many. They go when those run.
	for _, e := range plan.Keep {
		if find(here, e.Alloc).Status.State != api.AllocRunning && j.Status == api.JobRunning {
			return false
		}
	}
	r.stopNamed(j, ch, plan.Stop)
	return true
}

func find(allocs []*Alloc, id api.AllocID) *Alloc {
	return allocs[slices.IndexFunc(allocs, func(a *Alloc) bool { return a.ID == id })]
}

func (r *round) stopNamed(j *Job, ch *JobChange, executors []place.Executor) {
	for _, e := range executors {
		r.stop(ch, find(r.of[j.Spec.Name], e.Alloc))
	}
}

// fitsNow reports whether executors have room before others have ended.
func (r *round) fitsNow(starts []place.Start) bool {
	need := map[api.NodeID]int{}
	for _, s := range starts {
		need[s.Node] += s.Slots
	}
	for id, n := range need {
		if n > r.fleet.Free(id) {
			return false
		}
	}
	return true
}

// waits says what a job waits for, unless its coordinator runs it all the same.
func (r *round) waits(j *Job, ch *JobChange, co *Alloc, reason string) {
	if co == nil || j.Status != api.JobRunning && j.Status != api.JobStopping {
		status := api.JobStarting
		if j.Status == api.JobPending {
			status = api.JobPending
		}
		r.status(j, ch, status, reason)
	}
}

// lacks is for a job that does not fit.
func (r *round) lacks(j *Job, ch *JobChange, here []*Alloc, co *Alloc, plan place.Plan) {
	if co != nil && (j.Status == api.JobRunning || j.Status == api.JobStopping) && slotsOf(here) >= j.Wants {
		// More is wanted than it asks for itself: it goes on with what it has.
		r.d.Notes = append(r.d.Notes, Note{Job: j.Spec.Name, Text: plan.Reason})
		return
	}
	if j.Status != api.JobPending {
		r.waiting++
	}
	r.status(j, ch, api.JobPending, plan.Reason)
	for _, a := range here {
		if n := r.nodes[a.Node]; n.Status == api.NodeDraining {
			r.stop(ch, a)
		}
	}
	// Two jobs that each hold what the other lacks would wait for ever. What is given back
	// goes to the oldest job that it is enough for.
	if len(here) > 0 && r.waiting > 1 && !plan.Soon && r.over(j.Since, r.o.Hold) {
		r.stopAll(ch, here)
		ch.Events = append(ch.Events, fmt.Sprintf("gives back %s that it holds: it waits for more, as others do", slots(slotsOf(here))))
	}
}

// failures are what has gone wrong with a job's executors lately.
type failures struct {
	tries int           // how many in a row
	last  *Alloc        // the newest
	wait  time.Duration // from then on
	was   []place.Executor
	avoid []api.NodeID
}

func (r *round) failures(j *Job, all []*Alloc) *failures {
	f := &failures{}
	var failed []*Alloc
	for i := len(all) - 1; i >= 0; i-- {
		a := all[i]
		if a.live() || a.Version != j.Spec.Version || a.Stop {
			continue
		}
		f.was = append(f.was, place.Executor{Alloc: a.ID, Node: a.Node, Slots: a.Slots})
		// What is said to be far in the future was told by a clock that nobody goes by any more.
		if a.failed() && a.Since >= j.WishAt && a.Since-r.c.Now < r.o.Quiet.Microseconds() {
			failed = append(failed, a)
		}
	}
	slices.SortFunc(failed, func(a, b *Alloc) int { return cmp.Compare(a.Since, b.Since) })
	times := map[api.NodeID]int{}
	for _, a := range failed {
		if f.last != nil && a.Since-f.last.Since >= r.o.Quiet.Microseconds() {
			f.tries, f.avoid = 1, nil
			clear(times)
		} else {
			f.tries = max(f.tries, a.Try+1)
		}
		f.last = a
		if times[a.Node]++; times[a.Node] == 2 {
			f.avoid = append(f.avoid, a.Node)
		}
	}
	if f.last != nil && r.since(f.last.Since) >= r.o.Quiet {
		f.tries, f.last, f.avoid = 0, nil, nil
	}
	if f.last != nil {
		f.wait = r.o.delay(f.tries)
		if f.last.Status.State == api.AllocEnded {
			f.wait = max(f.wait, r.o.Linger)
		}
	}
	return f
}

// ended says how the newest one ended.
func (f *failures) ended() string {
	a := f.last
	how := a.Status.Exit
	if how == "" {
		how = fmt.Sprintf("exit code %d", a.Status.ExitCode)
	}
	return fmt.Sprintf("executor %s on %s has ended: %s", a.ID, a.Node, how)
}

// again says that there is to be another.
func (f *failures) again() string {
	s := f.ended()
	if f.tries > 1 {
		s += fmt.Sprintf(" (%d in a row)", f.tries)
	}
	if f.wait > 0 {
		return s + fmt.Sprintf("; another is started after %s", f.wait)
	}
	return s + "; another is started"
}

// text says why the job has failed.
func (f *failures) text(most int) string {
	s := fmt.Sprintf("%s; %d in a row have failed, %d may", f.ended(), f.tries, most)
	lines := f.last.Status.Lines
	if len(lines) > 5 {
		lines = lines[len(lines)-5:]
	}
	if len(lines) > 0 {
		s += "; its last lines:\n" + strings.Join(lines, "\n")
	}
	return s
}

func executors(n int) string {
	if n == 1 {
		return "1 executor"
	}
	return fmt.Sprintf("%d executors", n)
}

func slots(n int) string {
	if n == 1 {
		return "1 slot"
	}
	return fmt.Sprintf("%d slots", n)
}
