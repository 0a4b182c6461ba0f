package registry

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/weirflow/weir/api"
)

// state is all that replicas agree on. Records that the maps point to are never changed:
// a command puts changed copies in their place.
type state struct {
	// applied is the index of the last entry, index that of the last which changed
	// something.
	applied, index uint64
	nodes          map[api.NodeID]*Node
	jobs           map[string]*Job
	allocs         map[api.AllocID]*Alloc
	artifacts      map[string]*Artifact
	events         []Event // of the cluster, oldest first

	specs int // bytes of all versions of all jobs
	live  int // allocations
}

func newState() *state {
	return &state{
		nodes: map[api.NodeID]*Node{}, jobs: map[string]*Job{},
		allocs: map[api.AllocID]*Alloc{}, artifacts: map[string]*Artifact{},
	}
}

// Registry is the state machine. See the package's comment.
type Registry struct {
	mu struct {
		sync.RWMutex
		s *state
		// changed is closed at the next change; nil while nobody waits.
		changed chan struct{}
		// view is of the state as it is; nil until somebody asks.
		view *View
		// behind is the first thing of a newer release that was met.
		behind error
	}
}

// New makes an empty one.
func New() *Registry {
	r := new(Registry)
	r.mu.s = newState()
	return r
}

// Apply does what an entry says, if it may be done. Entries come in the order of their
// indices, from one goroutine at a time. The data is not kept.
func (r *Registry) Apply(index uint64, data []byte) Result {
	e, c, err := decode(data)

	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.mu.s
	result := Result{Index: index}
	if index <= s.applied {
		result.refuse(fmt.Errorf("%w: entry %d comes after entry %d", ErrForm, index, s.applied))
		return result
	}
	s.applied = index
	if errors.Is(err, ErrNewer) && r.mu.behind == nil {
		r.mu.behind = fmt.Errorf("entry %d: %w", index, err)
	}
	if err == nil {
		ch := &change{s: s, index: index, time: e.Time, by: e.By, result: &result}
		if err = c.apply(ch); err == nil && !result.Repeat {
			s.index = index
			r.wakeLocked()
		}
	}
	if err != nil {
		result.refuse(err)
	}
	return result
}

func (r *Registry) wakeLocked() {
	r.mu.view = nil
	if r.mu.changed != nil {
		close(r.mu.changed)
		r.mu.changed = nil
	}
}

// Behind is the first thing of a newer release that this replica met and could not apply;
// nil if there was none. It lacks a decision that others have made: it must not lead.
func (r *Registry) Behind() error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.mu.behind
}

// Index is that of the last change.
func (r *Registry) Index() uint64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.mu.s.index
}

// Applied is that of the last entry.
func (r *Registry) Applied() uint64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.mu.s.applied
}

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// Watch returns a channel that is closed once the state has changed after the index; at
// once if it has. A restored snapshot is a change.
func (r *Registry) Watch(index uint64) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.s.index > index {
		return closed
	}
	if r.mu.changed == nil {
		r.mu.changed = make(chan struct{})
	}
	return r.mu.changed
}

// View is the state as it is now. It stays so.
func (r *Registry) View() *View {
	r.mu.RLock()
	v := r.mu.view
	r.mu.RUnlock()
	if v != nil {
		return v
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.view == nil {
		r.mu.view = &View{r.mu.s.clone()}
	}
	return r.mu.view
}

// clone shares the records.
func (s *state) clone() *state {
	c := *s
	c.nodes = maps.Clone(s.nodes)
	c.jobs = maps.Clone(s.jobs)
	c.allocs = maps.Clone(s.allocs)
	c.artifacts = maps.Clone(s.artifacts)
	c.events = slices.Clone(s.events)
	return &c
}

// change is one entry on its way into the state. A command checks all before it puts
// anything.
type change struct {
	s      *state
	index  uint64
	time   int64
	by     string
	result *Result
}

// note adds an event to those of its job, or of the cluster if it names none.
func (c *change) note(e Event) {
	e.Index, e.Time, e.Text = c.index, c.time, cut(e.Text, MaxText)
	if e.By == "" {
		e.By = c.by
	}
	if e.Job == "" {
		c.s.events = appendBounded(c.s.events, e, MaxEvents)
		return
	}
	if j := c.s.jobs[e.Job]; j != nil {
		changed := *j
		changed.Events = appendBounded(j.Events, e, MaxJobEvents)
		c.s.jobs[e.Job] = &changed
	}
}

// appendBounded appends to a copy, and lets the oldest go.
func appendBounded[T any](list []T, v T, most int) []T {
	if len(list) >= most {
		list = list[len(list)-most+1:]
	}
	out := make([]T, 0, len(list)+1)
	return append(append(out, list...), v)
}

// cut shortens text to n bytes, between two characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// checkName refuses what is no name of a job, a node or an allocation: names are parts of
// paths and of file names.
func checkName(what, name string) error {
	if name == "" {
		return fmt.Errorf("%w: %s has no name", ErrRefused, what)
	}
	if len(name) > MaxName {
		return fmt.Errorf("%w: the name of %s has %d characters, at most %d are possible", ErrRefused, what, len(name), MaxName)
	}
	for _, r := range name {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._", r) {
			continue
		}
		return fmt.Errorf("%w: the name %.120q of %s has a %q in it: letters, digits, dash, dot and underscore are possible",
			ErrRefused, name, what, r)
	}
	if name[0] == '.' {
		return fmt.Errorf("%w: the name %q of %s begins with a dot", ErrRefused, name, what)
	}
	return nil
}

// checkHash refuses what is no content hash.
func checkHash(hash string) error {
	digits, ok := strings.CutPrefix(hash, "sha256:")
	if !ok || len(digits) != 64 || strings.Trim(digits, "0123456789abcdef") != "" {
		return fmt.Errorf("%w: %.100q is no hash of a program: it is sha256: and 64 hex digits", ErrRefused, hash)
	}
	return nil
}
