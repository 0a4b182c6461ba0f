package state

// Store keeps the keyed state and timers of one task.
type Store interface {
	// Err is the first error that the store met. Calls on state have no error of
	// their own; the task looks here after each batch.
	Err() error
	Close() error
}
