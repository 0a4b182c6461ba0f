package agent

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirflow/weir/internal/node"
	"github.com/weirflow/weir/internal/obs"
	"github.com/weirflow/weir/internal/obs/metrics"
)

// family is one of Weir's own, as it describes itself.
type family struct {
	name, help string
	labels     []string
}

var descForm = regexp.MustCompile(`^Desc\{fqName: ("(?:[^"\\]|\\.)*"), help: ("(?:[^"\\]|\\.)*"), unit: "", constLabels: \{\}, variableLabels: \{([^}]*)\}`)

// families are all that an agent shows, its executors' too.
func families(t *testing.T) (all []family) {
	t.Helper()
	m := newMeasures()
	for _, c := range []prometheus.Collector{m.ended, m.reports, m.report, m.requests, agentCollector{}, newExecutorUp(), node.Metrics(&obs.Registry{})} {
		descs := make(chan *prometheus.Desc, 200)
		c.Describe(descs)
		close(descs)
		for d := range descs {
			f := descForm.FindStringSubmatch(d.String())
			if f == nil {
				t.Fatalf("not understood: %s", d)
			}
			var x family
			if _, err := fmt.Sscanf(f[1], "%q", &x.name); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(f[2]), &x.help); err != nil {
				t.Fatal(err)
			}
			if f[3] != "" {
				x.labels = strings.Split(f[3], ",")
			}
			all = append(all, x)
		}
	}
	slices.SortFunc(all, func(a, b family) int { return strings.Compare(a.name, b.name) })
	if len(all) < 50 {
		t.Fatalf("%d families", len(all))
	}
	return all
}

// TestGuide compares the guide's list with what there is.
func TestGuide(t *testing.T) {
	file := filepath.Join("..", "..", "..", "docs", "guide", "observability.md")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("\n\n| family | labels | what |\n| --- | --- | --- |\n")
	for _, f := range families(t) {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.name, strings.Join(f.labels, ", "), f.help)
	}
	b.WriteString("\n")
	head, rest, ok := strings.Cut(string(text), "-run TestGuide -->")
	_, tail, also := strings.Cut(rest, "<!-- end of families -->")
	if !ok || !also {
		t.Fatal("the guide has no place for families")
	}
	want := head + "-run TestGuide -->" + b.String() + "<!-- end of families -->" + tail
	if want == string(text) {
		return
	}
	if os.Getenv("WEIR_UPDATE") == "" {
		t.Fatal("the guide's list of families is not what there is; WEIR_UPDATE=1 go test ./internal/node/agent -run TestGuide writes it")
	}
	if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestBoard looks whether there is what the board and the guide name, and whether the board shows all
// there is.
func TestBoard(t *testing.T) {
	docs := filepath.Join("..", "..", "..", "docs")
	board, err := os.ReadFile(filepath.Join(docs, "grafana", "weir.json"))
	if err != nil {
		t.Fatal(err)
	}
	var tree struct {
		UID    string
		Panels []struct {
			ID      int
			Title   string
			Type    string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(board, &tree); err != nil || tree.UID != "weir" {
		t.Fatalf("%q: %v", tree.UID, err)
	}
	known := map[string]bool{}
	for _, f := range families(t) {
		known[f.name] = true
	}
	own := prometheus.NewRegistry()
	metrics.Process(own)
	all, err := own.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all { // go_ and process_
		known[f.GetName()] = true
	}
	name := regexp.MustCompile(`\b(weir|go|process)_[a-z_]+[a-z]\b`)
	shown, ids := map[string]bool{}, map[int]bool{}
	look := func(where, text string) {
		for _, n := range name.FindAllString(text, -1) {
			for _, part := range []string{"", "_bucket", "_count", "_sum"} {
				if whole := strings.TrimSuffix(n, part); known[whole] {
					n = whole
				}
			}
			if !known[n] {
				t.Errorf("%s names %s, which there is not", where, n)
			}
			shown[n] = true
		}
	}
	for _, p := range tree.Panels {
		if ids[p.ID] || p.Title == "" || p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %d %q", p.ID, p.Title)
		}
		ids[p.ID] = true
		for _, q := range p.Targets {
			if strings.Count(q.Expr, "(") != strings.Count(q.Expr, ")") || strings.Count(q.Expr, "{") != strings.Count(q.Expr, "}") {
				t.Errorf("%s: brackets of %s", p.Title, q.Expr)
			}
			look(p.Title, q.Expr)
		}
	}
	for n := range known {
		if strings.HasPrefix(n, "weir_") && !shown[n] && n != "weir_operator_watermark_seconds" {
			t.Errorf("the board does not show %s", n)
		}
	}
	guide, err := os.ReadFile(filepath.Join(docs, "guide", "observability.md"))
	if err != nil {
		t.Fatal(err)
	}
	look("the guide", strings.NewReplacer("`weir_job_*`", "", "`weir_checkpoint*`", "", "`weir_cluster_*`", "", "`go_`", "", "`process_`", "").Replace(string(guide)))
}
