package bench

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weirflow/weir/sdk"
	"github.com/weirflow/weir/sdk/run"
)

// programs are the pipelines of cases that run on a cluster, by the name that they have as the
// first argument of their job.
var programs = map[string]func(*sdk.Pipeline, *programOptions) error{
	"cluster-keyed": buildClusterKeyed,
	"cluster-heart": buildClusterHeart,
}

// programOptions are the arguments of such a job.
type programOptions struct {
	Events, Keys int64
	Value        int     // bytes of state of a key, beside its sum
	Rate         float64 // records per second, 0: as many as there can be
	Out          string  // directory for what the executors have to tell
	Profile      string  // directory for profiles; empty: none
}

// args are the options as arguments of a job.
func (o *programOptions) args(program string) []string {
	return []string{"--program", program, "--events", fmt.Sprint(o.Events), "--keys", fmt.Sprint(o.Keys), "--rate", fmt.Sprint(o.Rate), "--value", fmt.Sprint(o.Value),
		"--out", o.Out, "--profile", o.Profile}
}

// Program is the main function of weir where an agent has started it as an executor: of a job that
// names no program of its own. It does not return.
func Program() {
	name := flag.String("program", "", "`NAME` of the pipeline")
	var o programOptions
	flag.Int64Var(&o.Events, "events", 0, "`N` records, 0 is without end")
	flag.Int64Var(&o.Keys, "keys", 100_000, "`N` keys")
	flag.IntVar(&o.Value, "value", 0, "`BYTES` of state of a key, beside its sum")
	flag.Float64Var(&o.Rate, "rate", 0, "`N` records per second, 0 is as many as there can be")
	flag.StringVar(&o.Out, "out", "", "`DIR` for what was measured")
	flag.StringVar(&o.Profile, "profile", "", "`DIR` for profiles of where the time went")
	run.Main("bench", func(p *sdk.Pipeline) error {
		build := programs[*name]
		if build == nil {
			return fmt.Errorf("there is no pipeline %q in weir, only %s: a job of your own brings its program (weir submit)", *name,
				strings.Join(slices.Sorted(maps.Keys(programs)), ", "))
		}
		return build(p, &o)
	})
}

// told is what a subtask of a sink in an executor has to tell, in a file of its own.
type told struct {
	Results  int64   `json:"results"`
	Check    uint64  `json:"check"`
	Largest  int64   `json:"largest"`
	First    int64   `json:"first"` // of its records, in microseconds since 1970
	Last     int64   `json:"last"`
	Process  int     `json:"process"`
	CPUS     float64 `json:"cpu_s"`
	PeakRSSM float64 `json:"peak_rss_mb"`
}

// tell writes it, whole or not at all.
func (t *told) tell(dir string, subtask int) error {
	t.Process, t.CPUS, t.PeakRSSM = os.Getpid(), processCPU().Seconds(), peakRSS()
	b, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("what was measured: %w", err)
	}
	name := filepath.Join(dir, fmt.Sprintf("subtask-%d.json", subtask))
	err = os.WriteFile(name+".new", b, 0o600)
	if err == nil {
		err = os.Rename(name+".new", name)
	}
	if err != nil {
		return fmt.Errorf("writing what was measured: %w", err)
	}
	return nil
}

// readTold reads what all subtasks have told: sums, the first and last time, and what the
// processes took.
func readTold(dir string) (sum told, err error) {
	names, err := filepath.Glob(filepath.Join(dir, "subtask-*.json"))
	if err != nil || len(names) == 0 {
		return sum, errors.Join(fmt.Errorf("no executor has left what it measured in %s", dir), err)
	}
	processes := map[int]told{}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			return sum, fmt.Errorf("reading what was measured: %w", err)
		}
		var t told
		if err := json.Unmarshal(b, &t); err != nil {
			return sum, fmt.Errorf("reading %s: %w", name, err)
		}
		sum.Results += t.Results
		sum.Check += t.Check
		sum.Largest = max(sum.Largest, t.Largest)
		if sum.First == 0 || t.First > 0 && t.First < sum.First {
			sum.First = t.First
		}
		sum.Last = max(sum.Last, t.Last)
		if p := processes[t.Process]; t.CPUS >= p.CPUS {
			processes[t.Process] = t
		}
	}
	for _, p := range processes {
		sum.CPUS += p.CPUS
		sum.PeakRSSM += p.PeakRSSM
	}
	return sum, nil
}

// profiling is the profile of this process, which starts with its first sink.
var profiling struct {
	sync.Mutex
	open int
	file *os.File
}

func startProfile(dir string) error {
	if dir == "" {
		return nil
	}
	profiling.Lock()
	defer profiling.Unlock()
	if profiling.open++; profiling.open > 1 {
		return nil
	}
	f, err := os.Create(filepath.Join(dir, fmt.Sprintf("executor-%d-%d.prof", os.Getpid(), time.Now().UnixMilli())))
	if err == nil {
		profiling.file, err = f, pprof.StartCPUProfile(f)
	}
	if err != nil {
		return fmt.Errorf("the profile: %w", err)
	}
	return nil
}

func stopProfile(dir string) error {
	if dir == "" {
		return nil
	}
	profiling.Lock()
	defer profiling.Unlock()
	if profiling.open--; profiling.open > 0 {
		return nil
	}
	pprof.StopCPUProfile()
	return profiling.file.Close()
}
