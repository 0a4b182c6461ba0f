package executor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/weirflow/weir/api"
)

// DirEnv is the variable that tells an executor, and all that it starts, in whose directory
// they work. By it the agent finds what is left of an executor that has ended.
const DirEnv = "WEIR_EXECUTOR_DIR"

// Bounds of what a job puts into the environment.
const (
	maxEnv    = 256 << 10 // bytes in all
	maxSecret = 64 << 10
)

// inherited are the variables that executors have from their agent.
var inherited = []string{"PATH", "HOME", "TZ", "LANG"}

// heapShare is the part of a job's memory that the Go runtime is told to stay below. The
// rest is for what it does not count: stacks of the system, mapped files, pages that are
// not given back yet.
const heapShare = 0.9

var (
	nameForm     = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$`)
	variableForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
)

// checkName refuses what must not be part of a path.
func checkName(what, name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("executor: %.80q is no %s name: want at most 128 letters, digits, dashes, dots and underscores, and no dot in front", name, what)
	}
	return nil
}

// environment is that of an executor: what stands here, and nothing else of the agent's.
func environment(job api.JobSpec, dir string, agent func(string) (string, bool), secret func(string) (string, error)) ([]string, error) {
	vars := map[string]string{}
	for _, k := range inherited {
		if v, ok := agent(k); ok {
			vars[k] = v
		}
	}
	if job.Memory > 0 {
		vars["GOMEMLIMIT"] = strconv.FormatInt(int64(float64(job.Memory)*heapShare), 10)
	}
	if job.CPUs > 0 {
		vars["GOMAXPROCS"] = strconv.Itoa(job.CPUs)
	}
	for k, v := range job.Env {
		if err := checkVariable(k); err != nil {
			return nil, err
		}
		vars[k] = v
	}
	for k, name := range job.Secrets {
		if err := checkVariable(k); err != nil {
			return nil, err
		}
		v, err := secret(name)
		if err != nil {
			return nil, fmt.Errorf("executor: the secret for the variable %s: %w", k, err)
		}
		vars[k] = v
	}
	vars["TMPDIR"] = filepath.Join(dir, "tmp")
	vars[api.ExecutorEnv] = api.ExecutorProtocol
	vars[DirEnv] = dir
	env, size := make([]string, 0, len(vars)), 0
	for k, v := range vars {
		if strings.ContainsRune(v, 0) {
			return nil, fmt.Errorf("executor: the value of the variable %s has a byte 0 in it, which no environment can hold", k)
		}
		env = append(env, k+"="+v)
		size += len(k) + len(v) + 2
	}
	if size > maxEnv {
		return nil, fmt.Errorf("executor: an environment of %d bytes: at most %d are taken; put large values into files", size, maxEnv)
	}
	slices.Sort(env)
	return env, nil
}

func checkVariable(name string) error {
	switch {
	case !variableForm.MatchString(name):
		return fmt.Errorf("executor: %.80q is no name of a variable: want letters, digits and underscores", name)
	case strings.HasPrefix(name, api.ExecutorEnv):
		return fmt.Errorf("executor: the variable %s is the agent's own; choose another name", name)
	}
	return nil
}

// readSecret reads a secret from the file of its name. One end of line at its end is not
// part of it. What goes wrong is told without the value.
func readSecret(dir, name string) (_ string, err error) {
	if err := checkName("secret", name); err != nil {
		return "", err
	}
	if dir == "" {
		return "", fmt.Errorf("%q is wanted, and this agent has no directory of secrets: configure one", name)
	}
	root, err := os.OpenRoot(dir) // links lead nowhere else
	if err != nil {
		return "", fmt.Errorf("open the agent's directory of secrets: %w", err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	info, err := root.Stat(name)
	if err != nil {
		return "", fmt.Errorf("%q is not known to this agent: %w", name, err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxSecret {
		return "", fmt.Errorf("%q must be a file of at most %d bytes", name, maxSecret)
	}
	f, err := root.Open(name)
	if err != nil {
		return "", fmt.Errorf("read %q: %w", name, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret))
	if err != nil {
		return "", fmt.Errorf("read %q: %w", name, err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"), nil
}
