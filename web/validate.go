package web

import (
	"net/url"
	"path"
	"regexp"
	"strings"

	"github.com/weirflow/weir/api"
)

// The forms of what comes in paths and specs. None is a path: no slash, and no dot at the
// beginning.
var (
	nameForm   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
	hashForm   = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	envForm    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
	cursorForm = regexp.MustCompile(`^[A-Za-z0-9._:@/-]{0,256}$`)
)

// Bounds of a spec. Args and Env go to a process, and through raft.
const (
	maxArgs        = 1024
	maxArgBytes    = 128 << 10
	maxEnv         = 256
	maxEnvBytes    = 64 << 10
	maxParallelism = 1 << 15
	maxLocation    = 1024
)

func invalid(format string, args ...any) *api.Error {
	return api.Errorf(api.CodeInvalid, format, args...)
}

func checkName(what, s string) error {
	if !nameForm.MatchString(s) {
		return invalid("%s %q: it must be of 1 to 128 letters, digits, dashes, dots and underscores, and begin with a letter or digit", what, s)
	}
	return nil
}

func checkHash(s string) error {
	if !hashForm.MatchString(s) {
		return invalid("artifact %q: it must be sha256: and 64 lower-case hex digits", s)
	}
	return nil
}

// checkSpec refuses a job that nobody could run. What is the leader's to set is empty.
func checkSpec(s *api.JobSpec, locations []string) error {
	if err := checkName("job", s.Name); err != nil {
		return err
	}
	if s.Version != 0 || s.Submitted != 0 || s.By != "" {
		return invalid("job %q: version, submitted and by are set by the server", s.Name)
	}
	if s.Artifact != "" {
		if err := checkHash(s.Artifact); err != nil {
			return err
		}
	}
	if s.Parallelism < 1 || s.Parallelism > maxParallelism {
		return invalid("job %q: parallelism %d must be from 1 to %d", s.Name, s.Parallelism, maxParallelism)
	}
	if s.SlotsPerExecutor < 0 || s.Memory < 0 || s.CPUs < 0 {
		return invalid("job %q: slots_per_executor, memory and cpus can't be negative", s.Name)
	}
	switch s.Spread {
	case "", "spread", "pack", "zone":
	default:
		return invalid("job %q: spread %q must be spread, pack or zone", s.Name, s.Spread)
	}
	if s.Zone != "" {
		if err := checkName("zone", s.Zone); err != nil {
			return err
		}
	}
	if err := checkAutoscale(s); err != nil {
		return err
	}
	if s.From != "" && s.State == "" {
		return invalid("job %q: what starts from a savepoint needs a state", s.Name).WithHint("name a place for its checkpoints")
	}
	if err := checkLocation("state", s.State, locations); err != nil {
		return err
	}
	if err := checkLocation("from", s.From, locations); err != nil {
		return err
	}
	return checkProcess(s)
}

// checkAutoscale refuses bounds that cannot be meant, and a job that begins beyond them.
func checkAutoscale(s *api.JobSpec) error {
	a := s.Autoscale
	switch {
	case a == nil:
	case a.Min < 1 || a.Max < a.Min || a.Max > maxParallelism:
		return invalid("job %q: autoscale from %d to %d: it must be from at least 1 to at least that, and at most %d", s.Name, a.Min, a.Max, maxParallelism)
	case s.Parallelism < a.Min || s.Parallelism > a.Max:
		return invalid("job %q: parallelism %d is not from %d to %d, as autoscale says", s.Name, s.Parallelism, a.Min, a.Max)
	case !(a.Utilization >= 0 && a.Utilization <= 1):
		return invalid("job %q: autoscale utilization %g must be from 0, the default, to 1", s.Name, a.Utilization)
	case min(a.UpAfter, a.DownAfter, a.Settle) < 0:
		return invalid("job %q: the times of autoscale can't be negative", s.Name)
	case max(a.UpAfter, a.DownAfter, a.Settle) > maxAutoscaleTime:
		return invalid("job %q: the times of autoscale must not be longer than a day", s.Name)
	}
	return nil
}

// maxAutoscaleTime is a day, in microseconds.
const maxAutoscaleTime = 24 * 60 * 60 * 1_000_000

// checkProcess looks at what the program is started with.
func checkProcess(s *api.JobSpec) error {
	total := 0
	for _, a := range s.Args {
		total += len(a) + 1
		if strings.ContainsRune(a, 0) {
			return invalid("job %q: an argument has a zero byte", s.Name)
		}
	}
	if len(s.Args) > maxArgs || total > maxArgBytes {
		return invalid("job %q: %d arguments of %d bytes are more than %d of %d", s.Name, len(s.Args), total, maxArgs, maxArgBytes)
	}
	total = 0
	for k, v := range s.Env {
		total += len(k) + len(v) + 2
		if err := checkVariable(s.Name, k); err != nil {
			return err
		}
		if strings.ContainsRune(v, 0) {
			return invalid("job %q: the variable %s has a zero byte", s.Name, k)
		}
	}
	for k, name := range s.Secrets {
		total += len(k) + len(name) + 2
		if err := checkVariable(s.Name, k); err != nil {
			return err
		}
		if _, twice := s.Env[k]; twice {
			return invalid("job %q: the variable %s is in env and in secrets", s.Name, k)
		}
		if !nameForm.MatchString(name) {
			return invalid("job %q: the secret for %s must be a name by which agents hold it, of letters, digits, dashes, dots and underscores", s.Name, k).
				WithHint("a secret's value never goes into a job: put it into a file of that name in secrets_dir on the agents")
		}
	}
	if len(s.Env)+len(s.Secrets) > maxEnv || total > maxEnvBytes {
		return invalid("job %q: %d variables of %d bytes are more than %d of %d", s.Name, len(s.Env)+len(s.Secrets), total, maxEnv, maxEnvBytes)
	}
	return nil
}

func checkVariable(job, name string) error {
	if !envForm.MatchString(name) {
		return invalid("job %q: %q is no name of a variable", job, name)
	}
	if name == api.ExecutorEnv {
		return invalid("job %q: the variable %s is the engine's", job, name)
	}
	return nil
}

// checkLocation takes a URL or an absolute, clean path, which is below one of the locations if
// there are any. Only the job's own processes open it.
func checkLocation(what, s string, locations []string) error {
	if s == "" {
		return nil
	}
	if err := checkPath(what, s); err != nil {
		return err
	}
	plain, _, _ := strings.Cut(s, "?")
	for _, l := range locations {
		if rest, below := strings.CutPrefix(plain, strings.TrimRight(l, "/")); below && (rest == "" || rest[0] == '/') {
			return nil
		}
	}
	if len(locations) > 0 {
		return invalid("%s %q is in no place where jobs may keep what they save", what, s).
			WithHint("take one below %s", strings.Join(locations, " or "))
	}
	return nil
}

func checkPath(what, s string) error {
	if len(s) > maxLocation || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return invalid("%s: a location has at most %d characters, and no control characters", what, maxLocation)
	}
	scheme, rest, isURL := strings.Cut(s, "://")
	if isURL {
		rest, _, _ = strings.Cut(rest, "?")
		rest, err := url.PathUnescape(rest) // whoever opens it may, too
		if err != nil {
			return invalid("%s %q is no URL: %v", what, s, err)
		}
		for part := range strings.SplitSeq(rest, "/") {
			if part == ".." {
				return invalid("%s %q: a location can't go up by ..", what, s)
			}
		}
		if !envForm.MatchString(scheme) || rest == "" {
			return invalid("%s %q is no URL", what, s)
		}
		if strings.Contains(rest, "@") {
			return invalid("%s: a location holds no user and password", what).WithHint("hand them over as secrets of the job")
		}
		return nil
	}
	if !path.IsAbs(s) || path.Clean(s) != s {
		return invalid("%s %q: it must be a URL, or an absolute path that is the same on all agents", what, s)
	}
	return nil
}
