package metamorphic

import (
	"cmp"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// plant is a bug: text of a file that is replaced.
type plant struct {
	name string
	file string // from the module's root
	// edits are pairs of old and new text. Each old one must be in the file.
	edits []string
	// more is put at the file's end.
	more string
	// by is the test that is to find it; TestSameResult where it is "".
	by string
}

// rare lets a planted bug happen once in 10^5 records that are routed, in the
// whole process.
const rare = `
var plantedCount atomic.Int64

func plantedNow(n int) bool {
	now := plantedCount.Add(int64(n))
	return now/100_000 != (now-int64(n))/100_000
}
`

// rarely is rare with a function that changes batches.
func rarely(change string) string {
	return rare + `
func planted[T any](b *flow.Batch[T]) *flow.Batch[T] {
	if !plantedNow(len(b.Values)) {
		return b
	}
	c := &flow.Batch[T]{Values: slices.Clone(b.Values), Times: slices.Clone(b.Times)}
	timed := len(c.Times) > 0
` + change + `
	return c
}
`
}

// routed are the edits that make a router pass its batches through planted.
var routed = []string{"\t\"slices\"\n", "\t\"slices\"\n\t\"sync/atomic\"\n", "return r.route(b)", "return r.route(planted(b))"}

const collected = "if buf != nil && len(buf.Values) > 0 {\n\t\t\tif err := r.push(i)"

var plants = []plant{
	{"an exchange drops one record in 10^5", "shuffle/router.go", routed, rarely(`
	c.Values = c.Values[1:]
	if timed {
		c.Times = c.Times[1:]
	}`), ""},
	{"an exchange doubles one record in 10^5", "shuffle/router.go", routed, rarely(`
	c.Values = append(c.Values, c.Values[len(c.Values)-1])
	if timed {
		c.Times = append(c.Times, c.Times[len(c.Times)-1])
	}`), ""},
	{"an exchange swaps two neighbours in 10^5", "shuffle/router.go", routed, rarely(`
	if len(c.Values) > 1 {
		c.Values[0], c.Values[1] = c.Values[1], c.Values[0]
		if timed {
			c.Times[0], c.Times[1] = c.Times[1], c.Times[0]
		}
	}`), ""},
	{"one record in 10^5 goes to another partition", "shuffle/router.go", append(routed[:2:2],
		"t := targets[uint32(h>>32)%max]\n", "t := targets[uint32(h>>32)%max]\nif plantedNow(1) { t = (t + 1) % int32(len(r.senders)) }\n"), rare, ""},
	{"a watermark overtakes what is collected", "shuffle/router.go",
		[]string{collected, strings.Replace(collected, "> 0", "> 0 && c.Kind != flow.ControlWatermark", 1)}, "", ""},
	{"a barrier overtakes what is collected", "shuffle/router.go",
		[]string{collected, strings.Replace(collected, "> 0", "> 0 && c.Kind != flow.ControlBarrier", 1)}, "", ""},
	{"watermarks are those of another channel", "runtime/task/control.go",
		[]string{"t.frontier.Watermark(i, c.Time)", "t.frontier.Watermark(t.channels-1-i, c.Time)"}, "", ""},
	{"barriers are not aligned", "checkpoint/aligner.go", []string{"if a.missing > 0 {", "if false {"}, "", ""},
	{"a broadcast misses a partition", "shuffle/router.go",
		[]string{"for _, i := range own {\n\t\t\tif err := r.copyTo(i, b", "for _, i := range own[:max(1, len(own)-1)] {\n\t\t\tif err := r.copyTo(i, b"}, "", ""},
	{"a timer cannot be taken back", "operator/process.go", []string{"c.timers.event.Delete(c.Hash, c.Key, struct{}{}, at)", ""}, "", ""},
	{"what was prepared last is not committed when the job goes on", "scheduler/restore.go",
		[]string{"if err := c.publish(res.Committables); err != nil {", `if n := len(res.Committables); n > 0 {
			last := &res.Committables[n-1]
			last.Committables = last.Committables[:len(last.Committables)-1]
		}
		if err := c.publish(res.Committables); err != nil {`}, "", "TestSurvives"},
	{"an epoch is published before it is committed, and so twice", "scheduler/commits.go",
		[]string{"\tvar m *checkpoint.Manifest\n\tif c.s.opt.Storage != nil {", `	var m *checkpoint.Manifest
	if err := c.publish(e.Operators); err != nil {
		return nil, err
	}
	if c.s.opt.Storage != nil {`}, "", "TestSurvives"},
	{"a snapshot leaves out records that an epoch has overtaken", "runtime/task/overtake.go",
		[]string{"if in.Records == 0 {", "if in.Records == 0 || f.epoch%3 == 0 {"}, "", "TestSurvives"},
	{"records that an epoch has overtaken are not replayed", "runtime/task/replay.go",
		[]string{"data[at:at+n:at+n], keep)", "data[at:at:at], keep)"}, "", "TestSurvives"},
}

var foundAt = regexp.MustCompile(`found at seed \d+ of \d+, after \d+ records`)

// TestPlantedBugs puts bugs into the engine, one at a time, and wants TestSameResult
// or TestSurvives to find each. That takes a build each, so that it is done where
// WEIR_METAMORPHIC_PLANTS is set: to a number for the first so many, or to "all".
// Where it is not, it only sees that the bugs can still be planted.
func TestPlantedBugs(t *testing.T) {
	wanted := 0
	switch s := os.Getenv("WEIR_METAMORPHIC_PLANTS"); s {
	case "":
	case "all":
		wanted = len(plants)
	default:
		var err error
		if wanted, err = strconv.Atoi(s); err != nil {
			t.Fatalf("WEIR_METAMORPHIC_PLANTS=%q: want a number or \"all\"", s)
		}
	}
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range plants {
		t.Run(p.name, func(t *testing.T) {
			overlay := p.overlay(t, root)
			if i >= wanted {
				return
			}
			start := time.Now()
			cmd := exec.CommandContext(t.Context(), "go", "test", "-overlay", overlay, "-count=1", "-v",
				"-run", "^"+cmp.Or(p.by, "TestSameResult")+"$", ".", "-rapid.shrinktime=1s")
			cmd.Env = append(os.Environ(), "WEIR_CHAOS_SEEDS=200")
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			where := foundAt.Find(out)
			if !errors.As(err, &exit) || where == nil {
				t.Fatalf("not found: %v\n%s", err, out[max(0, len(out)-4000):])
			}
			t.Logf("%s; %v with the build", where, time.Since(start).Round(100*time.Millisecond))
		})
	}
}

// overlay writes the patched file and the map that go build takes.
func (p plant) overlay(t *testing.T, root string) string {
	original := filepath.Join(root, filepath.FromSlash(p.file))
	text, err := os.ReadFile(original)
	if err != nil {
		t.Fatal(err)
	}
	patched := string(text)
	for i := 0; i < len(p.edits); i += 2 {
		if !strings.Contains(patched, p.edits[i]) {
			t.Fatalf("%s has changed and no longer holds %q: plant the bug anew", p.file, p.edits[i])
		}
		patched = strings.ReplaceAll(patched, p.edits[i], p.edits[i+1])
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "planted.go")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {original: file}})
	if err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := errors.Join(os.WriteFile(file, []byte(patched+p.more), 0o600), os.WriteFile(overlay, replace, 0o600)); err != nil {
		t.Fatal(err)
	}
	return overlay
}
