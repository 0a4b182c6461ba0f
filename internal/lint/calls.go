package lint

import (
	"fmt"
	"go/ast"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Calls refuses calls that have no place where they stand:
//
//   - in the engine, printing to the process's output and ending the process. The
//     process belongs to the user; what happens inside is told by events and errors.
//   - in the engine, panic that does not say which invariant is broken: by a message
//     that begins with a name and a colon, by a comment beside or above it, or in the
//     function's own comment.
//   - in tests, time.Sleep: it is too long on a fast machine and too short on a slow
//     one. In a testing/synctest bubble it moves the fake clock, so files that
//     import that package may call it.
func Calls(t *Tree) (violations []string) {
	for _, f := range t.Files {
		if f.Generated {
			continue
		}
		names := importNames(f)
		bubble := slices.Contains(f.imports(), "testing/synctest")
		for _, decl := range f.Syntax.Decls {
			ast.Inspect(decl, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				why := ""
				switch name := callee(call, names); {
				case f.Test && name == "time.Sleep" && !bubble:
					why = "wait for what you wait for, or run it in a testing/synctest bubble"
				case f.Test || !engine(f.Dir()):
				case prints(name):
					why = "the output is the user's; take an io.Writer, or tell it through an event or an error"
				case name == "os.Exit":
					why = "the process is the user's; return an error"
				case name == "panic" && !tells(call) && !commentedAt(f, f.positions.Position(call.Pos()).Line) && !documentsPanic(decl):
					why = `say in the message ("name: what is broken") or in a comment above which invariant of ours is broken; for all else return an error`
				}
				if why != "" {
					violations = append(violations, fmt.Sprintf("%s: calls %s: %s", f.at(call), callee(call, names), why))
				}
				return true
			})
		}
	}
	return violations
}

// prints reports whether the called function writes to the process's output.
func prints(name string) bool {
	switch {
	case name == "print", name == "println":
		return true
	case strings.HasPrefix(name, "fmt.Print"):
		return true
	}
	function, ok := strings.CutPrefix(name, "log.")
	return ok && (strings.HasPrefix(function, "Print") || strings.HasPrefix(function, "Fatal") || strings.HasPrefix(function, "Panic"))
}

// importNames maps the names by which a file knows its imports to their paths.
func importNames(f *File) map[string]string {
	names := map[string]string{}
	for i, p := range f.imports() {
		name := path.Base(p)
		if spec := f.Syntax.Imports[i]; spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = p
	}
	return names
}

// callee is "panic", or "time.Sleep" with the import's real path, or "".
func callee(call *ast.CallExpr, names map[string]string) string {
	switch fun := call.Fun.(type) {
	case *ast.Ident:
		return fun.Name
	case *ast.SelectorExpr:
		if x, ok := fun.X.(*ast.Ident); ok && names[x.Name] != "" {
			return names[x.Name] + "." + fun.Sel.Name
		}
	}
	return ""
}

// message is how a panic's message begins: with the name of package or type.
var message = regexp.MustCompile("^[\"`][a-z][A-Za-z0-9_./ %]*: ")

// tells reports whether a panic's argument is such a message, plain or formatted.
func tells(call *ast.CallExpr) bool {
	if len(call.Args) == 0 {
		return false
	}
	switch arg := call.Args[0].(type) {
	case *ast.BasicLit:
		return message.MatchString(arg.Value)
	case *ast.BinaryExpr:
		return tells(&ast.CallExpr{Args: []ast.Expr{arg.X}})
	case *ast.CallExpr:
		return tells(arg)
	}
	return false
}

// documentsPanic reports whether decl is a function whose comment speaks of
// panicking.
func documentsPanic(decl ast.Decl) bool {
	f, ok := decl.(*ast.FuncDecl)
	return ok && f.Doc != nil && strings.Contains(strings.ToLower(f.Doc.Text()), "panic")
}
