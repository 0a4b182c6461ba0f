package lint

import (
	"fmt"
	"go/ast"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// HardLimit and SoftLimit are the lines of a Go file that is neither generated nor
// a test: above the hard one it fails, above the soft one it is reported.
const (
	HardLimit = 500
	SoftLimit = 300
)

// vague are names that say nothing about what a package holds.
var vague = []string{
	"util", "utils", "common", "commons", "manager", "managers", "helper", "helpers", "shared", "core", "types", "pkg",
}

// PackageNames refuses vague names of folders and packages.
func PackageNames(t *Tree) (violations []string) {
	dirs, files := t.packages()
	for _, dir := range dirs {
		names := append(strings.Split(dir, "/"), files[dir][0].Syntax.Name.Name)
		for _, name := range names {
			if slices.Contains(vague, name) {
				violations = append(violations, fmt.Sprintf("%s: %q says nothing; name the package after what it holds", dir, name))
				break
			}
		}
	}
	return violations
}

// PackageDocs wants one doc comment for each package, in Go's form.
func PackageDocs(t *Tree) (violations []string) {
	dirs, files := t.packages()
	for _, dir := range dirs {
		name := files[dir][0].Syntax.Name.Name
		want := "Package " + name
		if name == "main" {
			want = "Command " + path.Base(dir)
		}
		var found []string
		for _, f := range files[dir] {
			if f.Syntax.Doc == nil {
				continue
			}
			text := f.Syntax.Doc.Text()
			if text == "" {
				continue // directives only
			}
			found = append(found, f.Name)
			if rest, ok := strings.CutPrefix(text, want); !ok || rest == "" || !strings.ContainsAny(rest[:1], " \n") {
				violations = append(violations, fmt.Sprintf("%s: the package comment does not begin with %q", f.Name, want))
			}
		}
		switch {
		case len(found) == 0:
			violations = append(violations, fmt.Sprintf("%s: no package comment; write what it is for, its words, "+
				"its invariants, and who may call it from which goroutine, beginning with %q", dir, want))
		case len(found) > 1:
			violations = append(violations, fmt.Sprintf("%s: package comments in %s; keep one", dir, strings.Join(found, " and ")))
		}
	}
	return violations
}

// FileLengths refuses files above HardLimit; long are those above SoftLimit.
func FileLengths(t *Tree) (violations, long []string) {
	for _, f := range t.Files {
		switch {
		case f.Test || f.Generated:
		case f.Lines > HardLimit:
			violations = append(violations, fmt.Sprintf("%s: %d lines, more than %d; split it by subject", f.Name, f.Lines, HardLimit))
		case f.Lines > SoftLimit:
			long = append(long, fmt.Sprintf("%s: %d lines", f.Name, f.Lines))
		}
	}
	return violations, long
}

// workplaces are what no file may contain: places on the machine where the
// project was written, which mean nothing elsewhere. Each is put together from two
// halves, so that this file does not contain it.
var workplaces = regexp.MustCompile(strings.Join([]string{
	"/" + "work/",
	`\.` + "library",
	`(^|[^A-Za-z0-9_-])` + "shared" + "/",
}, "|"))

// Workplaces refuses files that name the workplace. Binary files are left out.
func Workplaces(t *Tree) (violations []string, err error) {
	names := slices.Clone(t.Other)
	for _, f := range t.Files {
		names = append(names, f.Name)
	}
	slices.Sort(names)
	for _, name := range names {
		content, err := fs.ReadFile(t.root, name)
		if err != nil {
			return nil, fmt.Errorf("lint: look for the workplace: %w", err)
		}
		if slices.Contains(content[:min(len(content), 8000)], 0) {
			continue
		}
		if at := workplaces.FindIndex(content); at != nil {
			line := 1 + strings.Count(string(content[:at[1]-1]), "\n")
			violations = append(violations, fmt.Sprintf("%s:%d: names a place outside the project: %q", name, line, content[at[0]:at[1]]))
		}
	}
	return violations, nil
}

// ReadmeMap wants README.md to name each top-level folder, with a slash behind
// it. It reports whether there is a README.md to look into.
func ReadmeMap(t *Tree) (violations []string, exists bool) {
	readme, err := fs.ReadFile(t.root, "README.md")
	if err != nil {
		return nil, false
	}
	for _, top := range t.topFolders() {
		if !regexp.MustCompile(`(^|[^A-Za-z0-9_/-])` + regexp.QuoteMeta(top) + "/").Match(readme) {
			violations = append(violations, fmt.Sprintf("README.md: the map does not list %s/; add a line that says what the folder is", top))
		}
	}
	return violations, true
}

// commentedAt reports whether a comment ends on the line or on the one before it.
func commentedAt(f *File, line int) bool {
	return slices.ContainsFunc(f.Syntax.Comments, func(g *ast.CommentGroup) bool {
		end := f.positions.Position(g.End()).Line
		return end == line || end == line-1
	})
}
