package registry

import (
	"fmt"
	"slices"

	"github.com/weirflow/weir/api"
)

func (cmd *AddSavepoint) apply(c *change) error {
	was := c.s.jobs[cmd.Job]
	if was == nil {
		return fmt.Errorf("%w: job %.100q", ErrNotFound, cmd.Job)
	}
	sp := cmd.Savepoint
	if len(sp.Where) > MaxText || cmd.Error == "" && sp.Where == "" {
		return fmt.Errorf("%w: the place of a savepoint has %d bytes, of 1 to %d", ErrRefused, len(sp.Where), MaxText)
	}
	if sp.Time == 0 {
		sp.Time = c.time
	}
	if sp.Version == 0 {
		sp.Version = was.Spec().Version
	}
	answers := cmd.Request != 0 && cmd.Request == was.Save.Request
	known := slices.ContainsFunc(was.Savepoints, func(o Savepoint) bool { return o.Where == sp.Where })
	if !answers && (known || cmd.Error != "") {
		c.result.Repeat = true
		return nil
	}
	j := was.clone()
	if answers {
		j.Save = Save{}
		j.Index = c.index
	}
	text := fmt.Sprintf("savepoint of epoch %d in %s", sp.Epoch, sp.Where)
	if cmd.Error != "" {
		text = "no savepoint: " + cmd.Error
		if j.Wish == api.WishSave {
			j.Wish = api.WishRun // it was to end with one, and goes on without
			text += "; the job goes on"
		}
	} else if !known {
		j.Savepoints = appendBounded(j.Savepoints, sp, MaxSavepoints)
	}
	c.s.jobs[cmd.Job] = j
	c.note(Event{Kind: EventSavepoint, Job: cmd.Job, Text: text})
	return nil
}

func (cmd *DeleteSavepoint) apply(c *change) error {
	was := c.s.jobs[cmd.Job]
	if was == nil {
		return fmt.Errorf("%w: job %.100q", ErrNotFound, cmd.Job)
	}
	at := slices.IndexFunc(was.Savepoints, func(o Savepoint) bool { return o.Where == cmd.Where })
	if at < 0 {
		return fmt.Errorf("%w: savepoint %.200q of job %s", ErrNotFound, cmd.Where, cmd.Job)
	}
	j := was.clone()
	j.Savepoints = slices.Delete(j.Savepoints, at, at+1)
	c.s.jobs[cmd.Job] = j
	return nil
}

func (cmd *PutArtifact) apply(c *change) error {
	if err := checkHash(cmd.Hash); err != nil {
		return err
	}
	if cmd.Size < 0 {
		return fmt.Errorf("%w: program %s has %d bytes", ErrRefused, cmd.Hash, cmd.Size)
	}
	if was := c.s.artifacts[cmd.Hash]; was != nil {
		if was.Size != cmd.Size {
			return fmt.Errorf("%w: program %s has %d bytes, and now %d are told", ErrRefused, cmd.Hash, was.Size, cmd.Size)
		}
		c.result.Repeat = true
		return nil
	}
	if len(c.s.artifacts) >= MaxArtifacts {
		return fmt.Errorf("%w: there are %d programs: delete some that no job needs", ErrLimit, MaxArtifacts)
	}
	c.s.artifacts[cmd.Hash] = &Artifact{Hash: cmd.Hash, Size: cmd.Size, Name: cut(cmd.Name, MaxName), Time: c.time, By: c.by}
	c.note(Event{Kind: EventArtifact, Text: "program " + cmd.Hash + " was uploaded"})
	return nil
}

func (cmd *DeleteArtifact) apply(c *change) error {
	if c.s.artifacts[cmd.Hash] == nil {
		return fmt.Errorf("%w: program %.100q", ErrNotFound, cmd.Hash)
	}
	if job, used := c.s.usedBy(cmd.Hash); used {
		return fmt.Errorf("%w: job %s has a version of program %s", ErrRefused, job, cmd.Hash)
	}
	delete(c.s.artifacts, cmd.Hash)
	c.note(Event{Kind: EventArtifact, Text: "program " + cmd.Hash + " was deleted"})
	return nil
}

// usedBy finds the first job, by name, that needs a program.
func (s *state) usedBy(hash string) (job string, used bool) {
	for name, j := range s.jobs {
		if (!used || name < job) && slices.ContainsFunc(j.Versions, func(v Version) bool { return v.Spec.Artifact == hash }) {
			job, used = name, true
		}
	}
	return job, used
}

func (cmd *AddEvent) apply(c *change) error {
	if err := checkName("an event's kind", cmd.Kind); err != nil {
		return err
	}
	if len(cmd.Node) > MaxName {
		return fmt.Errorf("%w: an event names a node in %d bytes", ErrRefused, len(cmd.Node))
	}
	if cmd.Job != "" && c.s.jobs[cmd.Job] == nil {
		return fmt.Errorf("%w: job %.100q", ErrNotFound, cmd.Job)
	}
	c.note(Event{Kind: cmd.Kind, Job: cmd.Job, Node: cmd.Node, Text: cmd.Text})
	return nil
}
