package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/weirflow/weir/flow"
)

// report is what `-o json` prints. The names of its fields are stable.
type report struct {
	Job     string       `json:"job"`
	State   string       `json:"state"` // finished, stopped, cancelled or failed
	Wall    float64      `json:"wall_s"`
	Sources []portReport `json:"sources"`
	Sinks   []portReport `json:"sinks"`
	Bad     int64        `json:"bad"` // of all operators
	Late    int64        `json:"late"`
	Epochs  int64        `json:"epochs"` // committed by this run
	// Epoch is the newest one committed by this run, RestoredFrom the one that it started
	// from; both are 0 for none.
	Epoch        int64        `json:"epoch"`
	RestoredFrom int64        `json:"restored_from"`
	Restarts     int64        `json:"restarts"`
	Cause        *causeReport `json:"cause"` // null unless the job failed
}

type portReport struct {
	Operator string `json:"operator"`
	Name     string `json:"name"`
	Records  int64  `json:"records"`
	Bytes    int64  `json:"bytes"`
	Bad      int64  `json:"bad"`
}

type causeReport struct {
	Operator string `json:"operator,omitempty"`
	Name     string `json:"name,omitempty"`
	Task     string `json:"task,omitempty"`
	Domain   string `json:"domain"` // user, external or internal
	Message  string `json:"message"`
	Stack    string `json:"stack,omitempty"`
}

// writeReport writes the view at a job's end as one line of JSON.
func writeReport(w io.Writer, v view, cause error) error {
	r := report{Job: v.Job, State: v.State, Wall: v.Elapsed.Seconds(), Sources: []portReport{}, Sinks: []portReport{},
		Bad: v.Bad, Late: v.Late, Epochs: v.Epochs, Epoch: v.Epoch, RestoredFrom: v.Restored, Restarts: v.Restarts}
	for i := range v.Ports {
		p := &v.Ports[i]
		to := &r.Sinks
		if p.Source {
			to = &r.Sources
		}
		*to = append(*to, portReport{Operator: string(p.Operator), Name: p.Name, Records: p.Records, Bytes: p.Bytes, Bad: p.Bad})
	}
	if cause != nil {
		r.Cause = &causeReport{Message: cause.Error(), Domain: flow.DomainInternal.String()}
		if f, ok := errors.AsType[*flow.Failure](cause); ok {
			r.Cause = &causeReport{Operator: string(f.Operator), Name: f.Name, Domain: f.Domain.String(), Message: f.Text(), Stack: f.Stack}
			if f.Task != (flow.TaskID{}) {
				r.Cause.Task = f.Task.String()
			}
		}
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	if err := e.Encode(&r); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}
