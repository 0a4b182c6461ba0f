package run

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Flags are the settings of a run that its user makes, on the command line or in
// the environment. [Main] offers them beside the program's own flags; programs
// with a command line of another make can [Flags.Register] them too.
type Flags struct {
	// Options are the settings of the engine among the flags: all that are plain
	// values, but Credit.
	Options Options
	// MaxParallelism replaces the pipeline's own; 0 leaves it.
	MaxParallelism int
	// JSON asks for a report on the standard output, as one JSON object, and
	// for no progress.
	JSON bool
	// Quiet asks for no progress and no summary.
	Quiet bool
	// LogLevel is the least level of the engine's log that is shown; nil means
	// warnings, or errors where Quiet or JSON ask for silence.
	LogLevel *slog.Level
}

// setting is one flag of the engine. It is the flag.Value of itself.
type setting struct {
	name   string
	usage  string // with the value's name in back quotes
	def    string // the default, for people
	toggle bool
	value  string // as it was last set
	set    func(string) error
}

func (s *setting) String() string {
	if s == nil {
		return ""
	}
	return s.value
}

func (s *setting) Set(v string) error {
	if err := s.set(v); err != nil {
		return err
	}
	s.value = v
	return nil
}

// IsBoolFlag lets package flag take a switch without a value.
func (s *setting) IsBoolFlag() bool { return s.toggle }

// describe is the usage text with the default and the variable that sets it.
func (s *setting) describe() string {
	def := s.def
	if s.value != "" {
		def = s.value + " from the environment"
	}
	if def != "" {
		def = "default " + def + "; "
	}
	return fmt.Sprintf("%s (%s%s)", s.usage, def, EnvName(s.name))
}

// settings are in the order in which they are best read.
func (f *Flags) settings() []*setting {
	cpus := fmt.Sprintf("%d, the number of CPUs", runtime.GOMAXPROCS(0))
	return []*setting{
		{name: "parallelism", usage: "`N` subtasks of each operator that sets no number itself", def: cpus, set: whole(&f.Options.Parallelism)},
		{name: "max-parallelism", usage: "`N` key groups: the upper limit of the parallelism for the life of the job's state",
			set: whole(&f.MaxParallelism)},
		{name: "no-chaining", usage: "give each operator tasks of its own: slower, but shows what each one costs",
			toggle: true, set: truth(&f.Options.NoChaining)},
		{name: "mode", usage: "`HOW` tasks run: streaming (beside each other), batch (one after the other, for input that ends: each result once, as it is in the end) or auto (batch if all input ends)",
			def: "streaming", set: oneOf(&f.Options.Mode, ModeStreaming, ModeBatch, ModeAuto)},
		{name: "batch-size", usage: "send a batch on after `N` records", def: "1024", set: whole(&f.Options.BatchSize)},
		{name: "epoch", usage: "let sinks commit every `DURATION`; with --state, take a checkpoint", def: "1s", set: duration(&f.Options.Epoch)},
		{name: "state", usage: "keep checkpoints in `DIR` or at a URL: the job restarts after failures, and started again it goes on where it was",
			set: text(&f.Options.State)},
		{name: "job", usage: "`NAME` of the job in --state", def: "the pipeline's name", set: text(&f.Options.Job)},
		{name: "from", usage: "start from the savepoint at `DIR` or URL, if the job has no checkpoint of its own", set: text(&f.Options.From)},
		{name: "fresh", usage: "give up the checkpoints that the job has and start it anew", toggle: true, set: truth(&f.Options.Fresh)},
		{name: "allow-dropped-state", usage: "go on without saved state of which the program has no operator", toggle: true,
			set: truth(&f.Options.AllowDroppedState)},
		{name: "retain", usage: "keep the newest `N` checkpoints", def: "3", set: whole(&f.Options.Retain)},
		{name: "backend", usage: "have state `WHERE`: lsm (on disk, behind a cache) or memory", def: "lsm with --state", set: oneOf(&f.Options.Backend, BackendLSM, BackendMemory)},
		{name: "memory", usage: "let the process take `SIZE` of memory, such as 512MB", def: "1GiB for the cache of state, no limit for the process", set: memory(&f.Options.Memory)},
		{name: "on-stop", usage: "let Ctrl-C `DO`: drain (end the sources, finish what was accepted), checkpoint (take one, end, go on another time) or savepoint",
			def: "checkpoint with --state, otherwise drain", set: oneOf(&f.Options.OnStop, StopDrain, StopCheckpoint, StopSavepoint)},
		{name: "savepoint", usage: "`DIR` or URL for the savepoint of --on-stop savepoint", set: text(&f.Options.Savepoint)},
		{name: "restart", usage: "restart after failures at most `N/TIME`, or none", def: "20/10m with --state, otherwise none", set: f.setRestart},
		{name: "align-timeout", usage: "let an epoch overtake records under way after `DURATION`", def: "never", set: duration(&f.Options.AlignTimeout)},
		{name: "audit", usage: "when records are lost or doubled on the way `DO`: stop, warn, off; hashes is stop, and compares contents too",
			def: "stop", set: oneOf(&f.Options.Audit, AuditStop, AuditHashes, AuditWarn, AuditOff)},
		{name: "metrics", usage: "show the job's figures to Prometheus at `HOST:PORT`, path /metrics", def: "nowhere", set: text(&f.Options.Metrics)},
		{name: "o", usage: "`FORMAT` text: progress and a summary for people; json: no progress, and a report on the standard output at the end",
			def: "text", set: f.setFormat},
		{name: "quiet", usage: "show errors only", toggle: true, set: truth(&f.Quiet)},
		{name: "log-level", usage: "show the engine's log from this `LEVEL` on: debug, info, warn or error", def: "warn", set: f.setLevel},
	}
}

// EnvName is the environment variable with the default of an engine's flag:
// WEIR_ and its name in capitals, WEIR_FORMAT for -o.
func EnvName(name string) string {
	if name == "o" {
		return "WEIR_FORMAT"
	}
	return "WEIR_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// Register adds the engine's flags to fs, with the defaults that the environment
// sets: lookup is os.LookupEnv, or nil for none. It refuses environment variables
// with wrong values, and flags of fs that have an engine's flag's name.
func (f *Flags) Register(fs *flag.FlagSet, lookup func(string) (string, bool)) error {
	var errs []error
	for _, s := range f.settings() {
		if fs.Lookup(s.name) != nil {
			errs = append(errs, fmt.Errorf("the program's flag %s has the name of a flag of the engine: give it another", dashed(s.name)))
			continue
		}
		if lookup != nil {
			if v, ok := lookup(EnvName(s.name)); ok && v != "" {
				if err := s.Set(v); err != nil {
					errs = append(errs, fmt.Errorf("environment variable %s=%q: %w", EnvName(s.name), v, err))
				}
			}
		}
		fs.Var(s, s.name, s.describe())
	}
	return errors.Join(errs...)
}

func whole(to *int) func(string) error {
	return func(v string) error {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			return errors.New("it must be a whole number of at least 1")
		}
		*to = n
		return nil
	}
}

func text(to *string) func(string) error {
	return func(v string) error {
		if v == "" {
			return errors.New("it must not be empty")
		}
		*to = v
		return nil
	}
}

func oneOf[S ~string](to *S, values ...S) func(string) error {
	return func(v string) error {
		if !slices.Contains(values, S(v)) {
			var names []string
			for _, s := range values {
				names = append(names, string(s))
			}
			return fmt.Errorf("it must be %s or %s", strings.Join(names[:len(names)-1], ", "), names[len(names)-1])
		}
		*to = S(v)
		return nil
	}
}

func memory(to *int64) func(string) error {
	return func(v string) error {
		n, err := ParseSize(v)
		if err != nil || n < leastMemory {
			return errors.New("it must be a size of at least 64MB, such as 512MB or 2GiB")
		}
		*to = n
		return nil
	}
}

// ParseSize reads a number of bytes with a unit: k, M, G, T by thousands, Ki and so on
// by 1024, with or without a B.
func ParseSize(v string) (int64, error) {
	v = strings.TrimSpace(v)
	end := strings.LastIndexAny(v, "0123456789.") + 1
	n, err := strconv.ParseFloat(v[:end], 64)
	if err != nil {
		return 0, err
	}
	unit := strings.ToLower(strings.TrimSuffix(strings.TrimSuffix(strings.TrimSpace(v[end:]), "B"), "b"))
	base := 1000.0
	if u, ok := strings.CutSuffix(unit, "i"); ok {
		unit, base = u, 1024
	}
	power := strings.Index("kmgt", unit) + 1
	if len(unit) != 1 && unit != "" || power == 0 && unit != "" || unit == "" && base == 1024 {
		return 0, fmt.Errorf("unknown unit %q", v[end:])
	}
	if unit == "" {
		power = 0
	}
	for range power {
		n *= base
	}
	if n < 0 || n > 1<<60 {
		return 0, fmt.Errorf("%q is no size", v)
	}
	return int64(n), nil
}

func (f *Flags) setRestart(v string) (err error) {
	f.Options.Restart, err = parseRestart(v)
	return err
}

func truth(to *bool) func(string) error {
	return func(v string) error {
		b, err := strconv.ParseBool(v)
		if err != nil {
			return errors.New("it must be true or false")
		}
		*to = b
		return nil
	}
}

func duration(to *time.Duration) func(string) error {
	return func(v string) error {
		d, err := time.ParseDuration(v)
		if err != nil || d <= 0 {
			return errors.New("it must be a positive time with its unit, such as 500ms or 10s")
		}
		*to = d
		return nil
	}
}

func (f *Flags) setFormat(v string) error {
	if v != "text" && v != "json" {
		return errors.New("it must be text or json")
	}
	f.JSON = v == "json"
	return nil
}

func (f *Flags) setLevel(v string) error {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	l, ok := levels[v]
	if !ok {
		return errors.New("it must be debug, info, warn or error")
	}
	f.LogLevel = &l
	return nil
}

// level is the log's, with the default.
func (f *Flags) level() slog.Level {
	switch {
	case f.LogLevel != nil:
		return *f.LogLevel
	case f.Quiet || f.JSON:
		return slog.LevelError
	}
	return slog.LevelWarn
}

// dashed is a flag as people write it: one dash for a letter, two for a word.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}
