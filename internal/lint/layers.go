package lint

import (
	"fmt"
	"slices"
	"strings"
)

// layers is the drawing of the system, from the bottom up. A member may import
// members of lower lines; members of one line are strangers to each other. A
// folder belongs to the longest member that it is in: sdk/run to sdk/run, sdk/x
// to sdk. What stands here stands in README's map too.
var layers = [][]string{
	{"flow", "api", "internal/invariants", "internal/obs", "internal/lint"},
	{"graph", "state", "shuffle", "checkpoint", "streamlog", "cluster"},
	{"operator"},
	{"connector", "runtime", "scheduler", "sql", "beam", "sdk", "web"},
	{"internal/node"},
	{"sdk/run", "sdk/sdktest", "internal/testkit"},
	{"cmd", "examples", "bench", "docs", "internal/testkit/chaos"},
}

// notGo are top-level folders that hold no packages.
var notGo = []string{"scripts"}

// neighbours are the imports along one line that are allowed after all.
var neighbours = map[[2]string]string{
	{"cmd", "bench"}: "`weir bench` runs the cases of bench and compares them with their floors",
}

// forTests are the members that any test file may import: they exist for that.
var forTests = []string{"internal/testkit", "bench/text"}

// asUser is what the tests of a member may import in addition, if they are in an
// external test package: the member's examples are programs as users write them.
var asUser = map[string][]string{"sdk": {"sdk/run", "connector"}}

// only says of a member what it may import of the tree, where that is less than
// all the lower lines.
var only = map[string][]string{
	"web": {"api"}, // the UI can do what any client can, and no more
}

// memberOf finds the member that dir belongs to and its layer, from 1.
func memberOf(dir string) (member string, layer int) {
	for i, line := range layers {
		for _, m := range line {
			if within(dir, m) && len(m) > len(member) {
				member, layer = m, i+1
			}
		}
	}
	return member, layer
}

// within reports whether dir is folder or below it.
func within(dir, folder string) bool {
	return dir == folder || strings.HasPrefix(dir, folder+"/")
}

// engine reports whether dir is part of the engine or of what users link: all
// but the programs of the last line.
func engine(dir string) bool {
	_, layer := memberOf(dir)
	return 0 < layer && layer < len(layers)
}

// Imports is the import rule.
func Imports(t *Tree) (violations []string) {
	for _, f := range t.Files {
		from, layer := memberOf(f.Dir())
		if layer == 0 {
			continue // for Folders
		}
		for _, path := range f.imports() {
			dir, ours := strings.CutPrefix(path, Module+"/")
			if !ours {
				continue
			}
			if why := refuse(f, from, layer, dir); why != "" {
				violations = append(violations, fmt.Sprintf("%s imports %s: %s", f.Name, dir, why))
			}
		}
	}
	return violations
}

// refuse says why f, of member from, must not import dir, or nothing.
func refuse(f *File, from string, layer int, dir string) string {
	to, toLayer := memberOf(dir)
	switch {
	case f.Test && slices.ContainsFunc(forTests, func(m string) bool { return within(dir, m) }):
		return ""
	case f.external() && slices.Contains(asUser[from], to):
		return ""
	case toLayer == 0:
		return "that folder is in no layer; add it to the table in internal/lint/layers.go"
	case to == from || neighbours[[2]string{from, to}] != "":
		return ""
	case toLayer == layer:
		return fmt.Sprintf("%s and %s are on layer %d both, and folders on one layer are strangers; "+
			"let a higher layer join them, or move what both need below", from, to, layer)
	case toLayer > layer:
		return fmt.Sprintf("%s is on layer %d, above %s on layer %d; "+
			"declare what is needed where it is used, as an interface, and let the higher layer pass it in", to, toLayer, from, layer)
	}
	if allowed, ok := only[from]; ok && !slices.Contains(allowed, to) {
		return fmt.Sprintf("%s may import %s only", from, strings.Join(allowed, ", "))
	}
	return ""
}

// Folders wants each folder with Go files to be in a layer, and no other folders
// in the root than the known ones.
func Folders(t *Tree) (violations []string) {
	known := func(top string) bool {
		return slices.Contains(notGo, top) || slices.ContainsFunc(layers, func(line []string) bool {
			return slices.ContainsFunc(line, func(m string) bool { return within(m, top) })
		})
	}
	for _, top := range t.topFolders() {
		if !known(top) {
			violations = append(violations, fmt.Sprintf("%s: unknown top-level folder; a new one is a decision: "+
				"add it to a line of the table in internal/lint/layers.go and to the map in README.md, or put the files elsewhere", top))
		}
	}
	dirs, _ := t.packages()
	for _, dir := range dirs {
		top, _, _ := strings.Cut(dir, "/")
		if _, layer := memberOf(dir); layer == 0 && (dir == "." || known(top)) {
			violations = append(violations, fmt.Sprintf("%s: holds Go files and is in no layer; "+
				"add it to the table in internal/lint/layers.go or move the files", dir))
		}
	}
	return violations
}
