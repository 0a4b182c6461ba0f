// Package lint checks the rules of the tree that no compiler checks: who may
// import whom, what each package must say of itself, which calls are banned.
//
// Its words: a layer is one line of the table in layers.go, from the bottom up; a
// member is a folder of that table with all that is below it; a violation is a
// line of text that names the file, the rule and what to do.
//
// Invariants:
//
//  1. The rules read the files of the tree themselves. Asking the go command
//     would be shorter, but it sees one set of build tags, and what it answers is
//     not part of a test's cache key: such a test passes from the cache with
//     violations in place.
//  2. Each rule has a small tree in testdata that breaks it, so that a rule that
//     stopped to look is noticed.
//  3. A rule decides by what is written. What needs judgement is left to review.
//
// A [Tree] is not changed after it was read and may be used from any goroutine.
package lint

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Module is the path that imports of the tree's own packages begin with.
const Module = "github.com/weirflow/weir"

// File is a Go file of the tree.
type File struct {
	Name      string // path from the tree's root, with slashes
	Syntax    *ast.File
	Lines     int
	Test      bool // its name ends in _test.go
	Generated bool // it has the comment that says so
	positions *token.FileSet
}

// Dir is the folder of the file, "." for the root.
func (f *File) Dir() string { return path.Dir(f.Name) }

// external reports whether the file is of an external test package.
func (f *File) external() bool { return f.Test && strings.HasSuffix(f.Syntax.Name.Name, "_test") }

// at is the position of a node, for a violation.
func (f *File) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", f.Name, f.positions.Position(n.Pos()).Line)
}

// imports returns the paths that the file imports.
func (f *File) imports() []string {
	var paths []string
	for _, spec := range f.Syntax.Imports {
		paths = append(paths, strings.Trim(spec.Path.Value, "`\""))
	}
	return paths
}

// Tree is what the rules look at.
type Tree struct {
	root  fs.FS
	Files []*File  // Go files, by name
	Other []string // names of all other files
}

// Read reads the tree below root. It leaves out what git ignores and what the go
// command does: folders whose names begin with a dot or an underscore, and bin.
// The files of testdata folders are among Other.
func Read(root fs.FS) (*Tree, error) {
	t := &Tree{root: root}
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		switch {
		case d.IsDir():
			if name != "." && (base[0] == '.' || base[0] == '_') && base != ".ci" || name == "bin" {
				return fs.SkipDir
			}
		case !d.Type().IsRegular() || ignored(base):
		case strings.HasSuffix(name, ".go") && !strings.Contains("/"+name, "/testdata/"):
			f, err := parse(root, name)
			if err != nil {
				return fmt.Errorf("lint: parse Go file: %w", err)
			}
			t.Files = append(t.Files, f)
		default:
			t.Other = append(t.Other, name)
		}
		return nil
	})
	slices.SortFunc(t.Files, func(a, b *File) int { return cmp.Compare(a.Name, b.Name) })
	return t, err
}

func ignored(base string) bool {
	return strings.HasSuffix(base, ".test") || strings.HasSuffix(base, ".prof")
}

func parse(root fs.FS, name string) (*File, error) {
	src, err := fs.ReadFile(root, name)
	if err != nil {
		return nil, err
	}
	positions := token.NewFileSet()
	syntax, err := parser.ParseFile(positions, name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	return &File{
		Name:      name,
		Syntax:    syntax,
		Lines:     positions.File(syntax.Package).LineCount(),
		Test:      strings.HasSuffix(name, "_test.go"),
		Generated: ast.IsGenerated(syntax),
		positions: positions,
	}, nil
}

// packages groups the files without tests by folder, in order of name.
func (t *Tree) packages() (dirs []string, files map[string][]*File) {
	files = map[string][]*File{}
	for _, f := range t.Files {
		if !f.Test {
			if files[f.Dir()] == nil {
				dirs = append(dirs, f.Dir())
			}
			files[f.Dir()] = append(files[f.Dir()], f)
		}
	}
	slices.Sort(dirs)
	return dirs, files
}

// topFolders returns the folders of the root that hold anything but dot folders.
func (t *Tree) topFolders() []string {
	var tops []string
	add := func(name string) {
		if top, _, ok := strings.Cut(name, "/"); ok && top[0] != '.' {
			tops = append(tops, top)
		}
	}
	for _, f := range t.Files {
		add(f.Name)
	}
	for _, name := range t.Other {
		add(name)
	}
	slices.Sort(tops)
	return slices.Compact(tops)
}
