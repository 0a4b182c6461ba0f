package rig

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/weirflow/weir/runtime/executor"
)

// markEnv is the variable by which agents and commands of a cluster are known; executors have
// one of their agent's.
const markEnv = "WEIR_RIG"

// attributes have a process die with this one. Ctrl-C on a terminal is for this one alone.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// left finds the processes of the cluster in the directory, with the words of their command
// line.
func left(dir string) map[int]string {
	names, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		panic("rig: a pattern that is none: " + err.Error())
	}
	found := map[int]string{}
	for _, name := range names {
		pid, err := strconv.Atoi(filepath.Base(name))
		if err != nil || pid == os.Getpid() || !marked(name, dir) {
			continue
		}
		words, err := os.ReadFile(filepath.Join(name, "cmdline"))
		if err != nil || len(words) == 0 {
			continue // it ends just now
		}
		found[pid] = strings.TrimSpace(string(bytes.ReplaceAll(words, []byte{0}, []byte{' '})))
	}
	return found
}

func marked(proc, dir string) bool {
	env, err := os.ReadFile(filepath.Join(proc, "environ"))
	if err != nil {
		return false // it is another user's, or has ended
	}
	for v := range strings.SplitSeq(string(env), "\x00") {
		if v == markEnv+"="+dir || strings.HasPrefix(v, executor.DirEnv+"="+dir+"/") {
			return true
		}
	}
	return false
}
