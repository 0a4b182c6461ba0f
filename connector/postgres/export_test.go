package postgres

// ErrKilled ends a commit as the death of its process would.
var ErrKilled = errKilled

// Step is called between the steps of a commit.
func Step(fn func(step string) error) Option {
	return option(func(o *options) { o.testing.step = fn })
}
