package registry

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/weirflow/weir/api"
)

// Level is that of the commands this release knows. It rises with a new command, and with a
// new meaning of an old one; a leader sends nothing above the level of the oldest server.
const Level = 1

// Command is something to be decided. Commands are the types of this package that say so.
type Command interface {
	// kind is its name in the log, for ever.
	kind() string
	// apply checks it against the state and, if it may be, does it.
	apply(*change) error
}

// RegisterNode tells of an agent that is here: a new one, one that is back, or one that
// has changed. A repeat changes nothing.
type RegisterNode struct {
	Node api.Node `json:"node"`
	// Fresh: the agent has just started, and runs nothing. What it ran is lost.
	Fresh bool `json:"fresh,omitempty"`
	// Life counts the agent's starts: a higher one is Fresh, a lower one is told too late, and
	// refused. 0: the agent does not count.
	Life uint64 `json:"life,omitempty"`
}

// SetNodeStatus is a decision about an agent: its lease has ended, it has left, it is to
// be drained. The allocations of an agent that is lost or has left are lost with it.
type SetNodeStatus struct {
	Node   api.NodeID     `json:"node"`
	Status api.NodeStatus `json:"status"`
	Reason string         `json:"reason,omitempty"`
	// At is the index at which it was decided; 0 is a user's word, which counts always.
	At uint64 `json:"at,omitempty"`
}

// SubmitJob makes a job, or a new version of one.
type SubmitJob struct {
	Spec api.JobSpec `json:"spec"`
	// Request makes a repeat harmless: it is answered with the version made before.
	Request string `json:"request,omitempty"`
	// If is the version that the new one replaces; 0 is any, and none.
	If uint64 `json:"if,omitempty"`
	// New refuses to replace a job that has not ended.
	New bool `json:"new,omitempty"`
}

// SetWish is what a user wants of a job. A wish to run makes a job that has ended run again;
// with Save it asks for a savepoint, and the job goes on.
type SetWish struct {
	Job  string   `json:"job"`
	Wish api.Wish `json:"wish"`
	// Save asks for a savepoint at Where; a wish to save always does.
	Save  bool   `json:"save,omitempty"`
	Where string `json:"where,omitempty"`
}

// SetScale is what a user, or the leader within the user's bounds, wants of a job's parallelism.
type SetScale struct {
	Job    string `json:"job"`
	Scale  Scale  `json:"scale"`
	Reason string `json:"reason,omitempty"`
	// At is as in SetNodeStatus.
	At uint64 `json:"at,omitempty"`
}

// PutAllocs is the leader's decision about one job: all of it happens or nothing.
type PutAllocs struct {
	Job string `json:"job"`
	// At is the index of the view on which it was decided.
	At uint64 `json:"at"`
	// Place are new ones.
	Place []api.Alloc `json:"place,omitempty"`
	// Stop are running ones that are to end.
	Stop []api.AllocID `json:"stop,omitempty"`
	// Status is what the job comes to; empty leaves it.
	Status api.JobStatus `json:"status,omitempty"`
	Reason string        `json:"reason,omitempty"`
}

// UpdateAllocs is what an agent tells of its executors. It may be repeated.
type UpdateAllocs struct {
	Node     api.NodeID        `json:"node"`
	Statuses []api.AllocStatus `json:"statuses"`
}

// AddSavepoint tells of a savepoint that is there, or that could not be made.
type AddSavepoint struct {
	Job       string    `json:"job"`
	Savepoint Savepoint `json:"savepoint"`
	// Request is that of the Save it answers, 0 where nobody asked.
	Request uint64 `json:"request,omitempty"`
	// Error says why there is none.
	Error string `json:"error,omitempty"`
}

// DeleteSavepoint takes one off the list.
type DeleteSavepoint struct {
	Job   string `json:"job"`
	Where string `json:"where"`
}

// PutArtifact tells of a program that servers hold. A repeat changes nothing.
type PutArtifact struct {
	Hash string `json:"hash"`
	Size int64  `json:"size"`
	Name string `json:"name,omitempty"`
}

// DeleteArtifact forgets a program that no version of a job needs.
type DeleteArtifact struct {
	Hash string `json:"hash"`
}

// ForgetJob removes a job that has ended.
type ForgetJob struct {
	Job string `json:"job"`
}

// AddEvent adds a line to what happened to a job, or to the cluster.
type AddEvent struct {
	Job  string     `json:"job,omitempty"`
	Node api.NodeID `json:"node,omitempty"`
	Kind string     `json:"kind"`
	Text string     `json:"text"`
}

func (*RegisterNode) kind() string    { return "register_node" }
func (*SetNodeStatus) kind() string   { return "set_node_status" }
func (*SubmitJob) kind() string       { return "submit_job" }
func (*SetWish) kind() string         { return "set_wish" }
func (*SetScale) kind() string        { return "set_scale" }
func (*PutAllocs) kind() string       { return "put_allocs" }
func (*UpdateAllocs) kind() string    { return "update_allocs" }
func (*AddSavepoint) kind() string    { return "add_savepoint" }
func (*DeleteSavepoint) kind() string { return "delete_savepoint" }
func (*PutArtifact) kind() string     { return "put_artifact" }
func (*DeleteArtifact) kind() string  { return "delete_artifact" }
func (*ForgetJob) kind() string       { return "forget_job" }
func (*AddEvent) kind() string        { return "add_event" }

// newCommand makes an empty one of the kind; nil where this release has none such.
func newCommand(kind string) Command {
	switch kind {
	case "register_node":
		return new(RegisterNode)
	case "set_node_status":
		return new(SetNodeStatus)
	case "submit_job":
		return new(SubmitJob)
	case "set_wish":
		return new(SetWish)
	case "set_scale":
		return new(SetScale)
	case "put_allocs":
		return new(PutAllocs)
	case "update_allocs":
		return new(UpdateAllocs)
	case "add_savepoint":
		return new(AddSavepoint)
	case "delete_savepoint":
		return new(DeleteSavepoint)
	case "put_artifact":
		return new(PutArtifact)
	case "delete_artifact":
		return new(DeleteArtifact)
	case "forget_job":
		return new(ForgetJob)
	case "add_event":
		return new(AddEvent)
	}
	return nil
}

// entry is the outermost map of the log's form. docs/format/cluster-log.md describes it.
type entry struct {
	Level int    `json:"level"`
	Kind  string `json:"kind"`
	// Time is when it was decided, in microseconds since 1970: the only clock of the state.
	Time int64              `json:"time"`
	By   string             `json:"by,omitempty"`
	Body msgpack.RawMessage `json:"body"`
}

// Encode writes a command as an entry of the log. Time is in microseconds since 1970;
// by says who wants it, for events and lists.
func Encode(c Command, time int64, by string) ([]byte, error) {
	body, err := marshal(c)
	if err != nil {
		return nil, fmt.Errorf("registry: encode %s: %w", c.kind(), err)
	}
	data, err := marshal(&entry{Level: Level, Kind: c.kind(), Time: time, By: cut(by, MaxName), Body: body})
	if err != nil {
		return nil, fmt.Errorf("registry: encode %s: %w", c.kind(), err)
	}
	if len(data) > MaxEntry {
		return nil, fmt.Errorf("%w: %s takes %d bytes, and an entry has at most %d: divide it",
			ErrLimit, c.kind(), len(data), MaxEntry)
	}
	return data, nil
}

// Check refuses what is no entry that this release can apply. A leader looks before it puts
// bytes that came from elsewhere into the log.
func Check(data []byte) error {
	_, _, err := decode(data)
	return err
}

// decode reads an entry. Where the error is ErrNewer, kind is known.
func decode(data []byte) (e entry, c Command, err error) {
	if len(data) > MaxEntry {
		return e, nil, fmt.Errorf("%w: %d bytes, and an entry has at most %d", ErrForm, len(data), MaxEntry)
	}
	if err := unmarshal(data, &e); err != nil {
		return e, nil, fmt.Errorf("%w: entry: %w", ErrForm, err)
	}
	if e.Level < 1 || e.Kind == "" || len(e.Kind) > MaxName || len(e.By) > MaxName {
		return e, nil, fmt.Errorf("%w: entry: level %d, kind %.40q", ErrForm, e.Level, e.Kind)
	}
	if e.Level > Level {
		return e, nil, fmt.Errorf("%w: %s of level %d, and this release knows up to %d: upgrade this server",
			ErrNewer, e.Kind, e.Level, Level)
	}
	if c = newCommand(e.Kind); c == nil {
		return e, nil, fmt.Errorf("%w: %.40q is no command that this release knows: upgrade this server", ErrNewer, e.Kind)
	}
	if err := unmarshal(e.Body, c); err != nil {
		return e, nil, fmt.Errorf("%w: %s: %w", ErrForm, e.Kind, err)
	}
	return e, c, nil
}

// marshal writes v as a map by the names of its fields: equal values give equal bytes.
func marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	e := msgpack.NewEncoder(&buf)
	e.UseCompactInts(true)
	e.SetSortMapKeys(true)
	e.SetCustomStructTag("json")
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// unmarshal reads one value, and passes over fields it does not know.
func unmarshal(data []byte, v any) error {
	if len(data) == 0 {
		return errors.New("it is empty")
	}
	if data[0]&0xf0 != 0x80 && data[0] != 0xde && data[0] != 0xdf {
		return errors.New("it is not a map")
	}
	if err := checkForm(data); err != nil {
		return err
	}
	d := msgpack.NewDecoder(bytes.NewReader(data))
	d.SetCustomStructTag("json")
	return d.Decode(v)
}
