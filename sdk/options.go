package sdk

import (
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/graph"
	"github.com/weirflow/weir/operator"
)

// Option is an option of any operator: [Name], [ID], [Parallelism], [NoChain].
type Option interface{ operator(*graph.Operator) }

// SourceOption is an option of a source: any [Option], or one of [FailOnBad],
// [SkipBad], [DeadLetterBad].
type SourceOption interface{ source(*sourceOptions) }

// TryOption is an option of an operator whose function may refuse records: the
// same as for sources.
type TryOption interface{ SourceOption }

type sourceOptions struct {
	common []Option
	bad    operator.BadPolicy
}

type commonOption func(*graph.Operator)

func (f commonOption) operator(o *graph.Operator) { f(o) }
func (f commonOption) source(s *sourceOptions)    { s.common = append(s.common, f) }

// CommonOption is an option that fits everywhere.
type CommonOption interface {
	Option
	SourceOption
}

// Name sets the operator's name, for people and for the operator's derived id.
// Default: its kind.
func Name(name string) CommonOption { return commonOption(func(o *graph.Operator) { o.Name = name }) }

// ID sets the operator's id. State is found by it when a changed pipeline goes on
// from an older checkpoint; without it the id is derived from kind, name and what
// comes before.
func ID(id string) CommonOption {
	return commonOption(func(o *graph.Operator) { o.ID, o.UserID = flow.OperatorID(id), true })
}

// Parallelism sets the number of the operator's subtasks. Default: the job's.
func Parallelism(n int) CommonOption {
	return commonOption(func(o *graph.Operator) { o.Parallelism = n })
}

// NoChain keeps the operator from being fused with the one before it.
func NoChain() CommonOption { return commonOption(func(o *graph.Operator) { o.NoChain = true }) }

type badOption struct{ p operator.BadPolicy }

func (b badOption) source(s *sourceOptions) { s.bad = b.p }

// FailOnBad fails the job at the first record that cannot be read. The default.
func FailOnBad() SourceOption { return badOption{operator.BadPolicy{Mode: operator.BadFail}} }

// SkipBad counts and drops records that cannot be read. The job fails when one
// subtask has more than maxCount of them, or more than the share maxShare (0 to
// 1) after its first 1,000 records; 0 sets no limit.
func SkipBad(maxCount int64, maxShare float64) SourceOption {
	return badOption{operator.BadPolicy{Mode: operator.BadSkip, MaxCount: maxCount, MaxShare: maxShare}}
}

// DeadLetterBad counts records that cannot be read and sends them to the stream
// that [DeadLetters] returns. The limits are those of [SkipBad].
func DeadLetterBad(maxCount int64, maxShare float64) SourceOption {
	return badOption{operator.BadPolicy{Mode: operator.BadDeadLetter, MaxCount: maxCount, MaxShare: maxShare}}
}
