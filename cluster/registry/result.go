package registry

import (
	"errors"
	"fmt"
	"strings"

	"github.com/weirflow/weir/api"
)

// Why a command was refused. Errors of [Encode], of [Result.Err] and of [Registry.Restore]
// are told apart by errors.Is.
var (
	// ErrConflict: a record has changed since the decision. Look again, and decide anew.
	ErrConflict = errors.New("registry: decided on an older state")
	// ErrNotFound: there is no such node, job, artifact or savepoint.
	ErrNotFound = errors.New("registry: not found")
	// ErrRefused: it may not be, whoever asks.
	ErrRefused = errors.New("registry: refused")
	// ErrLimit: there is no room for more.
	ErrLimit = errors.New("registry: above a limit")
	// ErrForm: these bytes are no entry or no snapshot.
	ErrForm = errors.New("registry: malformed")
	// ErrNewer: it is of a newer release.
	ErrNewer = errors.New("registry: of a newer release")
)

var codes = map[string]error{
	"conflict": ErrConflict, "not_found": ErrNotFound, "refused": ErrRefused,
	"limit": ErrLimit, "form": ErrForm, "newer": ErrNewer,
}

// Result is the state machine's answer to one entry. It is plain data: a server that
// passes a command on to the leader passes this back.
type Result struct {
	// Index is the entry's.
	Index uint64 `json:"index"`
	// Code is empty, or one of conflict, not_found, refused, limit, form and newer.
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
	// Repeat: it had been done before; nothing has changed.
	Repeat bool `json:"repeat,omitempty"`
	// Version is that which SubmitJob has made, Request that of a Save which SetWish asks for.
	Version uint64 `json:"version,omitempty"`
	Request uint64 `json:"request,omitempty"`
	// Unwanted are allocations of which an agent told that they run, and which should
	// not: nobody knows them, or they were given up.
	Unwanted []api.AllocID `json:"unwanted,omitempty"`
}

// Err is the reason why nothing was done, or nil.
func (r *Result) Err() error {
	if r.Code == "" {
		return nil
	}
	if kind, ok := codes[r.Code]; ok {
		return fmt.Errorf("%w: %s", kind, r.Message)
	}
	return fmt.Errorf("registry: %s: %s", r.Code, r.Message)
}

// refuse fills in the reason.
func (r *Result) refuse(err error) {
	r.Message = err.Error()
	r.Code = "refused"
	for code, kind := range codes {
		if errors.Is(err, kind) {
			r.Code = code
			if text, ok := strings.CutPrefix(r.Message, kind.Error()+": "); ok {
				r.Message = text
			}
		}
	}
}
