//go:build !linux

package rig

import "syscall"

// markEnv is the variable by which agents and commands of a cluster are known.
const markEnv = "WEIR_RIG"

// attributes are those of any process: here it does not die with this one if this one is
// killed.
func attributes() *syscall.SysProcAttr { return nil }

// left finds nothing: this system does not show the environment of processes.
func left(string) map[int]string { return nil }
