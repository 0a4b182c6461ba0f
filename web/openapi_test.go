package web

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/weirflow/weir/api"
)

// TestOpenAPI makes the document from the routes and from the types and comments of api, and wants
// it to be the one in the repository: so that each route and field is in it, and
// nothing else. WEIR_UPDATE=1 writes it.
func TestOpenAPI(t *testing.T) {
	got := newWriter(t).document()
	var tree map[string]any
	if err := yaml.Unmarshal(got, &tree); err != nil {
		t.Fatalf("the document is no YAML: %v\n%s", err, got)
	}
	if tree["openapi"] != "3.1.0" {
		t.Fatalf("openapi: %v", tree["openapi"])
	}
	for _, m := range regexp.MustCompile(`#/components/schemas/(\w+)`).FindAllSubmatch(got, -1) {
		if tree["components"].(map[string]any)["schemas"].(map[string]any)[string(m[1])] == nil {
			t.Errorf("no schema %s", m[1])
		}
	}
	if os.Getenv("WEIR_UPDATE") != "" {
		if err := os.WriteFile("openapi.yaml", got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if d := cmp.Diff(string(document), string(got)); d != "" {
		t.Errorf("openapi.yaml is not what routes and types say; WEIR_UPDATE=1 go test ./web -run OpenAPI writes it:\n%s", d)
	}
}

func TestRoutes(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range routes {
		if seen[r.id] || r.id == "" || r.summary == "" {
			t.Errorf("%s %s: no id of its own, or no summary", r.method, r.path)
		}
		seen[r.id] = true
		if r.role == "" && r.id != "health" && r.id != "openapi" {
			t.Errorf("%s %s: everybody may", r.method, r.path)
		}
		// They show memory, what users did, and secrets' names.
		private := strings.HasPrefix(r.path, "/debug/pprof") || strings.HasSuffix(r.path, "/profile") || r.path == "/v1/audit" || r.path == "/v1/gossip/keys"
		if private != (!r.changes() && r.role == "admin") {
			t.Errorf("%s %s: role %s", r.method, r.path, r.role)
		}
		if r.changes() && r.role == "read" || !r.changes() && !private && r.role != "read" && r.role != "" {
			t.Errorf("%s %s: role %s", r.method, r.path, r.role)
		}
	}
}

// writer makes the document.
type writer struct {
	bytes.Buffer
	depth   int
	types   map[string]string            // comments
	fields  map[string]map[string]string // comments
	values  map[string][]string          // of string types
	schemas map[string]reflect.Type
}

func newWriter(t *testing.T) *writer {
	w := &writer{types: map[string]string{}, fields: map[string]map[string]string{}, values: map[string][]string{}, schemas: map[string]reflect.Type{}}
	names, err := filepath.Glob("../api/*.go")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if g, ok := d.(*ast.GenDecl); ok {
				w.declaration(g)
			}
		}
	}
	return w
}

func (w *writer) declaration(g *ast.GenDecl) {
	for _, s := range g.Specs {
		switch s := s.(type) {
		case *ast.TypeSpec:
			w.types[s.Name.Name] = comment(g.Doc, nil)
			if st, ok := s.Type.(*ast.StructType); ok {
				w.fields[s.Name.Name] = map[string]string{}
				for _, f := range st.Fields.List {
					for _, n := range f.Names {
						w.fields[s.Name.Name][n.Name] = comment(f.Doc, f.Comment)
					}
				}
			}
		case *ast.ValueSpec:
			if id, ok := s.Type.(*ast.Ident); ok && g.Tok == token.CONST && len(s.Values) == 1 {
				if lit, ok := s.Values[0].(*ast.BasicLit); ok {
					if v, err := strconv.Unquote(lit.Value); err == nil {
						w.values[id.Name] = append(w.values[id.Name], v)
					}
				}
			}
		}
	}
}

func comment(groups ...*ast.CommentGroup) string {
	var parts []string
	for _, g := range groups {
		if text := strings.Join(strings.Fields(g.Text()), " "); text != "" {
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, " ")
}

// line writes a line at the depth.
func (w *writer) line(format string, args ...any) {
	fmt.Fprintf(w, "%s%s\n", strings.Repeat("  ", w.depth), fmt.Sprintf(format, args...))
}

// in writes a key, and what is below it.
func (w *writer) in(key string, below func()) {
	w.line("%s:", key)
	w.depth++
	below()
	w.depth--
}

func (w *writer) about(text string) {
	if text != "" {
		w.line("description: %s", strconv.Quote(text))
	}
}

func (w *writer) document() []byte {
	w.line("# Made from the routes in this folder and the types in api; see openapi_test.go.")
	w.line("openapi: 3.1.0")
	w.in("info", func() {
		w.line("title: Weir")
		w.line("version: v1")
		w.line("description: %s", strconv.Quote("The HTTP API of a cluster. Fields may be added to answers; none goes or changes its meaning. "+
			"Times are microseconds since 1970. Every error has the form of ErrorBody. A server that does not lead sends requests on to the leader, or says where it is by 307."))
	})
	w.in("security", func() { w.line("- token: []") })
	w.in("paths", func() {
		var last string
		for i := range routes {
			r := &routes[i]
			if r.path != last {
				w.line("%s:", r.path)
			}
			last = r.path
			w.depth++
			w.in(strings.ToLower(r.method), func() { w.operation(r) })
			w.depth--
		}
	})
	w.in("components", func() {
		w.in("securitySchemes", func() {
			w.in("token", func() {
				w.line("type: http")
				w.line("scheme: bearer")
				w.line(`description: "weir token create makes one. A role includes those before it: read, submit, admin."`)
			})
		})
		w.in("responses", func() {
			w.in("Error", func() {
				w.line(`description: "It did not work: the status goes with the code"`)
				w.content("application/json", api.ErrorBody{})
			})
		})
		w.in("schemas", func() {
			for done := map[string]bool{}; len(done) < len(w.schemas); {
				for _, name := range slices.Sorted(maps.Keys(w.schemas)) {
					if !done[name] {
						done[name] = true
						w.schema(w.schemas[name])
						break
					}
				}
			}
		})
	})
	return w.sorted()
}

// sorted puts the schemas, of which some were found late, in the order of their names.
func (w *writer) sorted() []byte {
	text := w.String()
	at := strings.Index(text, "  schemas:\n") + len("  schemas:\n")
	var parts []string
	for _, l := range strings.SplitAfter(text[at:], "\n") {
		if strings.HasPrefix(l, "    ") && !strings.HasPrefix(l, "     ") {
			parts = append(parts, "")
		}
		if l != "" {
			parts[len(parts)-1] += l
		}
	}
	slices.Sort(parts)
	return []byte(text[:at] + strings.Join(parts, ""))
}

func (w *writer) operation(r *route) {
	w.line("operationId: %s", r.id)
	w.line("summary: %s", strconv.Quote(r.summary))
	if r.role == "" {
		w.line("security: []")
	} else {
		w.line("description: %s", strconv.Quote("Takes a token with the role "+string(r.role)+"."))
	}
	var inPath []string
	for _, m := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(r.path, -1) {
		inPath = append(inPath, m[1])
	}
	if len(inPath)+len(r.query) > 0 {
		w.in("parameters", func() {
			for _, p := range inPath {
				w.line("- {name: %s, in: path, required: true, schema: {type: string}}", p)
			}
			for _, p := range r.query {
				w.line("- {name: %s, in: query, description: %s, schema: {type: %s}}", p.name, strconv.Quote(p.about), p.form)
			}
		})
	}
	if r.request != nil || r.upload {
		w.in("requestBody", func() {
			w.line("required: true")
			if r.upload {
				w.line("content: {application/octet-stream: {schema: {type: string, format: binary}}}")
			} else {
				w.content("application/json", r.request)
			}
		})
	}
	w.in("responses", func() {
		w.in(`"200"`, func() {
			switch {
			case r.stream:
				w.line(`description: "A line of JSON for each; empty lines say that the server is there; an error after the first line is the last line"`)
				w.content("application/x-ndjson", r.response)
			case r.response != nil:
				w.line("description: OK")
				w.content("application/json", r.response)
			case r.raw == "application/octet-stream":
				w.line("description: OK")
				w.line("content: {%s: {schema: {type: string, format: binary}}}", r.raw)
			default:
				w.line("description: OK")
				w.line("content: {%s: {schema: {type: string}}}", r.raw)
			}
		})
		if r.id == "health" {
			w.in(`"503"`, func() {
				w.line("description: It can't")
				w.content("application/json", r.response)
			})
		}
		if !r.local {
			w.in(`"307"`, func() { w.line("description: The leader is at the Location") })
		}
		w.in("default", func() { w.line(`$ref: "#/components/responses/Error"`) })
	})
}

func (w *writer) content(kind string, v any) {
	w.line("content: {%s: {schema: %s}}", kind, w.reference(reflect.TypeOf(v)))
}

// reference is a schema in one line.
func (w *writer) reference(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return w.reference(t.Elem())
	case reflect.Struct:
		w.schemas[t.Name()] = t
		return fmt.Sprintf(`{$ref: "#/components/schemas/%s"}`, t.Name())
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "{type: string, contentEncoding: base64}"
		}
		return fmt.Sprintf("{type: array, items: %s}", w.reference(t.Elem()))
	case reflect.Map:
		return fmt.Sprintf("{type: object, additionalProperties: %s}", w.reference(t.Elem()))
	case reflect.Bool:
		return "{type: boolean}"
	case reflect.Float64:
		return "{type: number}"
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return "{type: integer}"
	case reflect.String:
		if values := w.values[t.Name()]; t.PkgPath() != "" && len(values) > 0 {
			return fmt.Sprintf("{type: string, enum: [%s]}", strings.Join(values, ", "))
		}
		return "{type: string}"
	}
	panic("web: no schema for " + t.String())
}

// pairs are what a reference says, pair by pair.
func pairs(flow string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		rest := flow[1 : len(flow)-1]
		for rest != "" {
			k, after, _ := strings.Cut(rest, ": ")
			depth, end := 0, len(after)
			for i, r := range after {
				if strings.ContainsRune("{[", r) {
					depth++
				} else if strings.ContainsRune("}]", r) {
					depth--
				} else if r == ',' && depth == 0 {
					end = i
					break
				}
			}
			if !yield(k, after[:end]) {
				return
			}
			rest = strings.TrimPrefix(after[end:], ", ")
		}
	}
}

func (w *writer) schema(t reflect.Type) {
	w.in(t.Name(), func() {
		w.about(w.types[t.Name()])
		w.line("type: object")
		var required []string
		w.in("properties", func() {
			for i := range t.NumField() {
				f := t.Field(i)
				name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
				if name == "" {
					panic("web: " + t.Name() + "." + f.Name + " has no name in JSON")
				}
				if opts != "omitempty" {
					required = append(required, name)
				}
				w.in(name, func() {
					w.about(w.fields[t.Name()][f.Name])
					for k, v := range pairs(w.reference(f.Type)) {
						w.line("%s: %s", k, v)
					}
				})
			}
		})
		if t == reflect.TypeFor[api.JobSpec]() {
			required = []string{"name", "parallelism"} // the rest that is always there is the server's
		}
		if len(required) > 0 {
			w.line("required: [%s]", strings.Join(required, ", "))
		}
	})
}
