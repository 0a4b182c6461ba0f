package sim

import (
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
}

var plants = []plant{
	{"executors outlive their agent's lease", "internal/node/agent/link.go", []string{"if act.Stop {", "if act.Stop && l.seq == 0 {"}},
	{"an agent that leaves obeys orders", "internal/node/agent/link.go", []string{"l.deaf = true", "l.deaf = false"}},
}

var foundAt = regexp.MustCompile(`found at seed \d+`)

// TestPlantedBugs puts bugs into what runs clusters, one at a time, and wants TestSim to find
// each. That takes a build each, so that it is done where WEIR_SIM_PLANTS is set: to the
// number of one, from 1, or to "all". Where it is not, it only sees that the bugs can
// still be planted.
func TestPlantedBugs(t *testing.T) {
	from, to := 0, 0
	switch s := os.Getenv("WEIR_SIM_PLANTS"); s {
	case "":
	case "all":
		to = len(plants)
	default:
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > len(plants) {
			t.Fatalf("WEIR_SIM_PLANTS=%q: want a number up to %d, or \"all\"", s, len(plants))
		}
		from, to = n-1, n
	}
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range plants {
		t.Run(p.name, func(t *testing.T) {
			overlay := p.overlay(t, root)
			if i < from || i >= to {
				return
			}
			began := time.Now()
			cmd := exec.CommandContext(t.Context(), "go", "test", "-overlay", overlay, "-count=1", "-v", "-timeout", "15m", "-run", "^TestSim$", ".", "-first")
			cmd.Env = append(os.Environ(), "SIM_SEEDS=300")
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			where := foundAt.Find(out)
			if !errors.As(err, &exit) || where == nil {
				t.Fatalf("not found: %v\n%s", err, out[max(0, len(out)-4000):])
			}
			t.Logf("%s; %v with the build", where, time.Since(began).Round(100*time.Millisecond))
			for line := range strings.Lines(string(out)) {
				if strings.Contains(line, "WRONG") {
					t.Log(strings.TrimSpace(line))
					break
				}
			}
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
	if err := errors.Join(os.WriteFile(file, []byte(patched), 0o600), os.WriteFile(overlay, replace, 0o600)); err != nil {
		t.Fatal(err)
	}
	return overlay
}
