package control

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/scheduler/place"
)

var (
	simSeed = flag.Uint64("sim.seed", 0, "run the one schedule with this seed")
	simRuns = flag.Int("sim.runs", 200, "how many schedules are run")
)

// TestSimulation: clusters in which everything goes wrong for a while. At no moment are there two coordinators
// of a term, or more slots taken than there are; and when nothing goes wrong any more,
// each job that fits gets exactly what it wants, and of those that have ended nothing is left.
func TestSimulation(t *testing.T) {
	t.Parallel()
	if *simSeed != 0 {
		w := newWorld(*simSeed)
		err := w.run()
		t.Log("\n" + strings.Join(w.log, "\n"))
		if err != nil {
			t.Fatalf("%v\n%s", err, dump(w.c))
		}
		return
	}
	total := map[string]int{}
	for seed := uint64(1); seed <= uint64(*simRuns); seed++ {
		w := newWorld(seed)
		if err := w.run(); err != nil {
			t.Fatalf("seed %d (-sim.seed=%d shows all of it): %v\n%s", seed, seed, err, dump(w.c))
		}
		for k, n := range w.counts {
			total[k] += n
		}
	}
	t.Log(total)
	for _, k := range []string{"decisions", "leaders", "starts", "refused", "running", "pending", "ended", "drained"} {
		if total[k] == 0 && *simRuns >= 100 {
			t.Errorf("no schedule has had any %s", k)
		}
	}
}

func (w *world) run() error {
	for range 300 {
		w.fault()
		if err := w.step(); err != nil {
			return err
		}
	}
	w.say("no more faults")
	w.faults = false
	for _, a := range w.agents {
		a.cut = false
	}
	for range 300 {
		if err := w.step(); err != nil {
			return err
		}
	}
	return w.settledWell()
}

// fault does something, sometimes.
func (w *world) fault() {
	if !w.chance(12) {
		return
	}
	a := w.agents[w.rng.IntN(len(w.agents))]
	var j *Job
	if len(w.c.Jobs) > 0 {
		j = w.c.Jobs[w.rng.IntN(len(w.c.Jobs))]
	}
	n := w.nodeOf(a.id)
	switch k := w.rng.IntN(22); {
	case k < 4:
		w.submit()
	case k < 7:
		if ids := sortedIDs(a.procs); a.up && len(ids) > 0 {
			if p := a.procs[ids[w.rng.IntN(len(ids))]]; !p.state.Ended() {
				w.say("%s is killed", p.alloc.ID)
				p.state = api.AllocFailed
			}
		}
	case k < 10 && a.up:
		w.say("agent %s is killed", a.id)
		a.up, a.back = false, w.now+int64(w.rng.IntN(80))*tick
		a.procs = map[api.AllocID]*proc{}
		if n != nil && w.chance(50) && !gone(n.Status) {
			n.Dead = true
			w.touch("")
		}
	case k < 13:
		a.cut = !a.cut
		w.say("agent %s is cut off: %t", a.id, a.cut)
	case k < 15:
		w.elect()
	case k < 16 && n != nil && n.Status == api.NodeReady:
		w.say("drain %s", a.id)
		n.Status = api.NodeDraining
		w.touch("")
		w.counts["drained"]++
	case k < 17 && n != nil && (n.Status == api.NodeDraining || n.Status == api.NodeDrained):
		w.say("ready %s", a.id)
		n.Status = api.NodeReady
		w.touch("")
	case k < 18 && a.up:
		w.say("%s leaves", a.id)
		a.leaving, a.back = true, w.now+6*tick
		for _, p := range a.procs {
			p.state = api.AllocFailed // it ends them before it says so
		}
	case j == nil:
	case k < 20 && !j.Status.Ended():
		j.Wish = []api.Wish{api.WishStop, api.WishSave, api.WishCancel}[w.rng.IntN(3)]
		j.WishAt = w.clock()
		w.say("wish %s %s", j.Spec.Name, j.Wish)
		w.touch(j.Spec.Name)
	case k < 21:
		j.Slots = w.rng.IntN(6)
		w.say("scale %s to %d", j.Spec.Name, j.Slots)
		w.touch(j.Spec.Name)
	default:
		j.Spec.Version++
		j.Spec.Parallelism = 1 + w.rng.IntN(5)
		j.Wants = 0
		j.Wish, j.WishAt, j.Status, j.Reason, j.Since = api.WishRun, w.clock(), api.JobPending, "", w.clock()
		w.say("job %s version %d of %d slots", j.Spec.Name, j.Spec.Version, j.Spec.Parallelism)
		w.touch(j.Spec.Name)
	}
}

func (w *world) submit() {
	if len(w.c.Jobs) >= 6 {
		return
	}
	j := &Job{Spec: api.JobSpec{
		Name: fmt.Sprint("j", len(w.c.Jobs)), Version: 1, Parallelism: 1 + w.rng.IntN(5), SlotsPerExecutor: w.rng.IntN(3),
		Spread: []string{"spread", "pack", "zone"}[w.rng.IntN(3)], Submitted: w.clock(),
	}, Wish: api.WishRun, Status: api.JobPending, Since: w.clock(), WishAt: w.clock()}
	w.c.Jobs = append(w.c.Jobs, j)
	w.say("job %s of %d slots", j.Spec.Name, j.Spec.Parallelism)
	w.touch(j.Spec.Name)
}

// settledWell is what must hold when all has been quiet for a while.
func (w *world) settledWell() error {
	real := map[api.AllocID]api.AllocState{}
	for _, a := range w.agents {
		for id, p := range a.procs {
			real[id] = p.state
		}
	}
	for _, a := range w.c.Allocs {
		if a.live() != (real[a.ID] == api.AllocRunning) {
			return fmt.Errorf("%s is %s in the registry and %q on %s", a.ID, a.Status.State, real[a.ID], a.Node)
		}
		if n := w.nodeOf(a.Node); a.live() && n.Status == api.NodeDrained {
			return fmt.Errorf("%s runs on %s, which is drained", a.ID, a.Node)
		}
	}
	holders := 0
	for _, j := range w.c.Jobs {
		var live []*Alloc
		for _, a := range w.c.Allocs {
			if a.Job == j.Spec.Name && a.live() {
				live = append(live, a)
			}
		}
		switch {
		case j.Status.Ended():
			w.counts["ended"]++
			if len(live) > 0 {
				return fmt.Errorf("job %s is %s and has %d executors", j.Spec.Name, j.Status, len(live))
			}
		case j.Wish == api.WishCancel:
			return fmt.Errorf("job %s is to be cancelled and is %s", j.Spec.Name, j.Status)
		case j.Status == api.JobRunning:
			w.counts["running"]++
			if err := w.runs(j, live); err != nil {
				return err
			}
			if j.Wish != api.WishRun {
				return fmt.Errorf("job %s is to %s and runs", j.Spec.Name, j.Wish)
			}
		case j.Status == api.JobPending:
			w.counts["pending"]++
			if len(live) > 0 {
				holders++
			}
			if w.fits(j, live) || j.Reason == "" {
				return fmt.Errorf("job %s waits (%q) and would fit", j.Spec.Name, j.Reason)
			}
		case j.Status == api.JobStopping && !w.fits(j, live):
		default:
			return fmt.Errorf("job %s is %s (%s), wish %s", j.Spec.Name, j.Status, j.Reason, j.Wish)
		}
	}
	waiting := slices.IndexFunc(w.c.Jobs, func(j *Job) bool { return j.Status == api.JobPending })
	if waiting >= 0 && holders > 1 {
		return fmt.Errorf("%d jobs wait and hold slots", holders)
	}
	return nil
}

// fits reports whether there is room for a job beside the others.
func (w *world) fits(j *Job, live []*Alloc) bool {
	nodes := make([]place.Node, 0, len(w.c.Nodes))
	for _, n := range w.c.Nodes {
		p := place.Node{ID: n.ID, Free: n.Slots}
		if n.Status != api.NodeReady {
			p.Closed = string(n.Status)
		}
		for _, a := range w.c.Allocs {
			if a.live() && a.Node == n.ID && !slices.Contains(live, a) {
				p.Free -= a.Slots
			}
		}
		nodes = append(nodes, p)
	}
	return place.NewFleet(nodes).Place(place.Job{Slots: j.wanted()}).Fits
}

// runs is what a running job has.
func (w *world) runs(j *Job, live []*Alloc) error {
	slots, coordinators := 0, 0
	for _, a := range live {
		slots += a.Slots
		if a.Coordinator {
			coordinators++
		}
		if a.Version != j.Spec.Version {
			return fmt.Errorf("%s is of version %d, job %s has %d", a.ID, a.Version, j.Spec.Name, j.Spec.Version)
		}
	}
	if coordinators != 1 {
		return fmt.Errorf("job %s has %d coordinators", j.Spec.Name, coordinators)
	}
	// Where more is wanted than there is room for, it runs on with what it has.
	if slots == j.wanted() || slots < j.wanted() && !w.fits(j, live) {
		return nil
	}
	return fmt.Errorf("job %s has %d slots and wants %d", j.Spec.Name, slots, j.wanted())
}
