// Package state is the contract of keyed state and timers.
package state
