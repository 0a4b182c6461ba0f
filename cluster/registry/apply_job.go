package registry

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/weirflow/weir/api"
)

func (cmd *SubmitJob) apply(c *change) error {
	spec := cmd.Spec
	spec.Version = 0
	if err := checkSpec(&spec); err != nil {
		return err
	}
	if len(cmd.Request) > MaxName {
		return fmt.Errorf("%w: a request id of %d bytes, at most %d are possible", ErrRefused, len(cmd.Request), MaxName)
	}
	was := c.s.jobs[spec.Name]
	if was != nil && cmd.Request != "" {
		for i := range was.Versions {
			if v := &was.Versions[i]; v.Request == cmd.Request {
				if !sameSpec(v.Spec, spec) {
					return fmt.Errorf("%w: request %s has submitted another specification of job %s: take a new id",
						ErrRefused, cmd.Request, spec.Name)
				}
				c.result.Repeat, c.result.Version = true, v.Spec.Version
				return nil
			}
		}
	}
	var version uint64
	if was != nil {
		version = was.Spec().Version
	}
	switch {
	case cmd.If != 0 && cmd.If != version:
		return fmt.Errorf("%w: job %s has version %d and not %d", ErrConflict, spec.Name, version, cmd.If)
	case cmd.New && was != nil && !was.Status.Ended():
		return fmt.Errorf("%w: job %s is there and %s: give this one another name, or replace that one", ErrRefused, spec.Name, was.Status)
	case spec.Artifact != "" && c.s.artifacts[spec.Artifact] == nil:
		return fmt.Errorf("%w: program %s: upload it first", ErrNotFound, spec.Artifact)
	}
	spec.Version = version + 1
	if spec.Submitted == 0 {
		spec.Submitted = c.time
	}
	if spec.By == "" {
		spec.By = c.by
	}
	size, err := specSize(&spec)
	if err != nil {
		return err
	}
	if c.s.specs+size > MaxSpecs {
		return fmt.Errorf("%w: the specifications of all jobs take %d bytes: forget some that have ended", ErrLimit, c.s.specs)
	}
	if (was == nil || was.Status.Ended()) && c.s.running() >= MaxJobs {
		return fmt.Errorf("%w: %d jobs have not ended, no more are possible", ErrLimit, MaxJobs)
	}

	j := &Job{Name: spec.Name, Status: api.JobPending, Since: c.time}
	if was != nil {
		j = was.clone()
	}
	j.Versions = append(j.Versions, Version{Spec: cloneSpec(spec), Request: cmd.Request})
	j.bytes += size
	c.s.specs += size
	for len(j.Versions) > MaxVersions {
		if old, err := specSize(&j.Versions[0].Spec); err == nil {
			j.bytes -= old
			c.s.specs -= old
		}
		j.Versions = slices.Delete(j.Versions, 0, 1)
	}
	if was != nil && was.Spec().Parallelism != spec.Parallelism {
		j.Scale.Parallelism = 0 // whoever submits another parallelism means it
	}
	j.Wish, j.Index = api.WishRun, c.index
	j.Status, j.Since, j.Reason, j.Save = api.JobPending, c.time, "", Save{}
	c.s.jobs[j.Name] = j
	c.result.Version = spec.Version
	c.note(Event{Kind: EventSubmitted, Job: j.Name, Text: fmt.Sprintf("version %d", spec.Version)})
	return nil
}

func checkSpec(spec *api.JobSpec) error {
	if err := checkName("a job", spec.Name); err != nil {
		return err
	}
	if spec.Artifact != "" {
		if err := checkHash(spec.Artifact); err != nil {
			return fmt.Errorf("job %s: %w", spec.Name, err)
		}
	}
	switch {
	case spec.Parallelism < 1:
		return fmt.Errorf("%w: job %s has a parallelism of %d", ErrRefused, spec.Name, spec.Parallelism)
	case spec.SlotsPerExecutor < 0 || spec.Memory < 0 || spec.CPUs < 0:
		return fmt.Errorf("%w: job %s has a negative number of slots, bytes or processors", ErrRefused, spec.Name)
	}
	size, err := specSize(spec)
	if err == nil && size > MaxSpec {
		err = fmt.Errorf("%w: the specification of job %s takes %d bytes, at most %d are possible: put large values into files",
			ErrLimit, spec.Name, size, MaxSpec)
	}
	return err
}

func specSize(spec *api.JobSpec) (int, error) {
	form, err := marshal(spec)
	if err != nil {
		return 0, fmt.Errorf("%w: specification of job %s: %w", ErrForm, spec.Name, err)
	}
	return len(form), nil
}

// sameSpec compares what a user writes, not what the registry adds.
func sameSpec(x, y api.JobSpec) bool {
	for _, s := range []*api.JobSpec{&x, &y} {
		s.Version, s.Submitted, s.By = 0, 0, ""
	}
	a, errA := marshal(&x)
	b, errB := marshal(&y)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

// running counts jobs that have not ended.
func (s *state) running() (n int) {
	for _, j := range s.jobs {
		if !j.Status.Ended() {
			n++
		}
	}
	return n
}

func (cmd *SetWish) apply(c *change) error {
	was := c.s.jobs[cmd.Job]
	if was == nil {
		return fmt.Errorf("%w: job %.100q", ErrNotFound, cmd.Job)
	}
	if len(cmd.Where) > MaxText {
		return fmt.Errorf("%w: the place of a savepoint has %d bytes, at most %d are possible", ErrLimit, len(cmd.Where), MaxText)
	}
	save := cmd.Save || cmd.Wish == api.WishSave
	ended := was.Status.Ended()
	switch cmd.Wish {
	case api.WishRun:
		switch {
		case ended && save:
			return fmt.Errorf("%w: job %s is %s: there is nothing to save", ErrRefused, cmd.Job, was.Status)
		case !ended && was.Wish != api.WishRun:
			return fmt.Errorf("%w: job %s is to %s: wait until it has ended", ErrRefused, cmd.Job, was.Wish)
		case !ended && !save:
			c.result.Repeat = true
			return nil
		case ended && c.s.running() >= MaxJobs:
			return fmt.Errorf("%w: %d jobs have not ended, no more are possible", ErrLimit, MaxJobs)
		}
	case api.WishStop, api.WishSave, api.WishCancel:
		switch {
		case ended:
			return fmt.Errorf("%w: job %s is %s already", ErrRefused, cmd.Job, was.Status)
		case was.Wish == cmd.Wish:
			c.result.Repeat, c.result.Request = true, was.Save.Request
			return nil
		case was.Wish == api.WishCancel:
			return fmt.Errorf("%w: job %s is being cancelled", ErrRefused, cmd.Job)
		}
	default:
		return fmt.Errorf("%w: %.40q cannot be wished of a job", ErrRefused, cmd.Wish)
	}
	j := was.clone()
	j.Wish, j.Index = cmd.Wish, c.index
	text := string(cmd.Wish)
	if save {
		j.Save = Save{Request: c.index, Where: cmd.Where}
		c.result.Request = c.index
		text += ", with a savepoint"
	}
	c.s.jobs[cmd.Job] = j
	c.note(Event{Kind: EventWish, Job: cmd.Job, Text: text})
	if ended {
		c.setJobStatus(cmd.Job, api.JobPending, "")
	}
	return nil
}

func (cmd *SetScale) apply(c *change) error {
	was := c.s.jobs[cmd.Job]
	if was == nil {
		return fmt.Errorf("%w: job %.100q", ErrNotFound, cmd.Job)
	}
	s := cmd.Scale
	switch {
	case cmd.At != 0 && was.Index > cmd.At:
		return fmt.Errorf("%w: job %s has changed at %d, after %d", ErrConflict, cmd.Job, was.Index, cmd.At)
	case s.Parallelism < 0 || s.Min < 0 || s.Max < s.Min:
		return fmt.Errorf("%w: job %s cannot have a parallelism of %d between %d and %d", ErrRefused, cmd.Job, s.Parallelism, s.Min, s.Max)
	case s.Max > 0 && s.Parallelism > 0 && (s.Parallelism < s.Min || s.Parallelism > s.Max):
		return fmt.Errorf("%w: a parallelism of %d is not between %d and %d", ErrRefused, s.Parallelism, s.Min, s.Max)
	case was.Scale == s:
		c.result.Repeat = true
		return nil
	}
	j := was.clone()
	j.Scale, j.Index = s, c.index
	c.s.jobs[cmd.Job] = j
	text := fmt.Sprintf("parallelism %d", s.Parallelism)
	if s.Max > 0 {
		text += fmt.Sprintf(", between %d and %d", s.Min, s.Max)
	}
	if cmd.Reason != "" {
		text += ": " + cmd.Reason
	}
	c.note(Event{Kind: EventScale, Job: cmd.Job, Text: text})
	return nil
}

// report takes over what a coordinator tells of its job, and reports whether it is news.
func (c *change) report(a *Alloc, report *api.JobReport) bool {
	j := c.s.jobs[a.Alloc.Job]
	if !a.Alloc.Coordinator || a.Alloc.Term != j.Term || a.Alloc.Version != j.Spec().Version || j.Status.Ended() {
		return false
	}
	switch report.Status {
	case api.JobPending, api.JobStarting, api.JobRunning, api.JobStopping,
		api.JobFinished, api.JobStopped, api.JobCancelled, api.JobFailed:
	default:
		return false
	}
	news := *report
	news.Reason = cut(news.Reason, MaxText)
	notes := news.Notes
	news.Notes = "" // they become events
	if news == j.Report {
		return false // also where the leader has decided another status since: it knew of this report
	}
	was := j
	j = j.clone()
	j.Report, j.Reported = news, c.time
	if news.Slots != was.Report.Slots {
		j.Index = c.index
	}
	c.s.jobs[j.Name] = j
	c.noted(j.Name, notes, news, was.Report)
	if news.Status != was.Status || news.Reason != was.Reason {
		c.setJobStatus(j.Name, news.Status, news.Reason)
	}
	return true
}

// maxNotes is how many events one report makes at most.
const maxNotes = 32

// noted makes events of what a coordinator has noted since its last report.
func (c *change) noted(job, notes string, now, was api.JobReport) {
	news := now.Noted
	if now.Attempt == was.Attempt && now.Noted >= was.Noted { // else another coordinator counts
		news -= was.Noted
	}
	if news == 0 || notes == "" {
		return
	}
	lines := strings.Split(notes, "\n")
	for _, line := range lines[max(0, len(lines)-int(min(news, maxNotes))):] {
		c.note(Event{Kind: EventTask, Job: job, Text: line})
	}
}

// setJobStatus brings a job to a status. One that ends tells its executors so.
func (c *change) setJobStatus(name string, status api.JobStatus, reason string) {
	was := c.s.jobs[name]
	j := was.clone()
	j.Reason = reason
	if status == was.Status {
		c.s.jobs[name] = j
		return
	}
	j.Status, j.Since, j.Index = status, c.time, c.index
	if status.Ended() {
		j.Save = Save{}
	}
	c.s.jobs[name] = j
	text := string(status)
	if reason != "" {
		text += ": " + reason
	}
	c.note(Event{Kind: EventStatus, Job: name, Text: text})
	if status.Ended() {
		c.stop(j.Allocs)
		c.forgetJobs(name)
	}
}

// forgetJobs drops the jobs that ended first, above the bound; not the one that ends now,
// and none that still has executors.
func (c *change) forgetJobs(now string) {
	var ended []*Job
	for _, j := range c.s.jobs {
		if j.Status.Ended() {
			ended = append(ended, j)
		}
	}
	if len(ended) <= MaxEnded {
		return
	}
	slices.SortFunc(ended, func(x, y *Job) int {
		return cmp.Or(cmp.Compare(x.Index, y.Index), cmp.Compare(x.Name, y.Name))
	})
	over := len(ended) - MaxEnded
	for _, j := range ended {
		if over > 0 && j.Name != now && !c.hasLive(j) {
			c.remove(j)
			over--
		}
	}
}

func (c *change) hasLive(j *Job) bool {
	return slices.ContainsFunc(j.Allocs, func(id api.AllocID) bool { return c.s.allocs[id].Live() })
}

func (c *change) remove(j *Job) {
	for _, id := range j.Allocs {
		delete(c.s.allocs, id)
	}
	c.s.specs -= j.bytes
	delete(c.s.jobs, j.Name)
}

func (cmd *ForgetJob) apply(c *change) error {
	j := c.s.jobs[cmd.Job]
	switch {
	case j == nil:
		return fmt.Errorf("%w: job %.100q", ErrNotFound, cmd.Job)
	case !j.Status.Ended():
		return fmt.Errorf("%w: job %s is %s: cancel it first", ErrRefused, cmd.Job, j.Status)
	case c.hasLive(j):
		return fmt.Errorf("%w: job %s is %s, and its executors are still ending", ErrRefused, cmd.Job, j.Status)
	}
	c.remove(j)
	c.note(Event{Kind: EventJobRemoved, Text: "job " + cmd.Job + " was removed"})
	return nil
}
