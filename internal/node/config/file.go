package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// yaml reads a file's content. It walks the nodes itself: the library's own strictness knows
// neither the line of a value nor the key that was meant.
func (l *Loaded) yaml(file string, data []byte) (wrong []error) {
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		return []error{fmt.Errorf("%s: %s", file, strings.TrimPrefix(err.Error(), "yaml: "))}
	}
	if len(document.Content) == 0 {
		return nil // empty
	}
	w := &walk{Loaded: l, file: file}
	w.mapping(document.Content[0], "")
	return w.wrong
}

type walk struct {
	*Loaded
	file  string
	wrong []error
}

func (w *walk) at(n *yaml.Node, format string, args ...any) {
	w.wrong = append(w.wrong, fmt.Errorf("%s:%d: %w", w.file, n.Line, fmt.Errorf(format, args...)))
}

// mapping reads the keys below prefix.
func (w *walk) mapping(n *yaml.Node, prefix string) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return // a section without keys
	}
	if n.Kind != yaml.MappingNode {
		w.at(n, "%s holds keys and their values", either(strings.TrimSuffix(prefix, "."), "the file"))
		return
	}
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		name := prefix + k.Value
		if line, twice := lines[k.Value]; twice {
			w.at(k, "%s stands in line %d already", name, line)
			continue
		}
		lines[k.Value] = k.Line
		switch at := slices.IndexFunc(keys, func(one key) bool { return one.name == name }); {
		case at >= 0:
			w.one(keys[at], v)
		case slices.ContainsFunc(keys, func(one key) bool { return strings.HasPrefix(one.name, name+".") }):
			w.mapping(v, name+".")
		default:
			w.at(k, "there is no key %q%s", name, meantKey(prefix, k.Value))
		}
	}
}

func either(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// one reads a value.
func (w *walk) one(k key, n *yaml.Node) {
	from := Source{Kind: "file", File: w.file, Line: n.Line}
	v := w.value(k)
	switch v.Interface().(type) {
	case []string:
		if n.Kind != yaml.SequenceNode {
			w.at(n, "%s must be a list", k.name)
			return
		}
		var list []string
		for _, item := range n.Content {
			if item.Kind != yaml.ScalarNode {
				w.at(item, "%s must be a list of words", k.name)
				return
			}
			list = append(list, item.Value)
		}
		v.Set(reflect.ValueOf(list))
	case map[string]string:
		if n.Kind != yaml.MappingNode {
			w.at(n, "%s must be names and their values", k.name)
			return
		}
		tags := map[string]string{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Kind != yaml.ScalarNode || n.Content[i+1].Kind != yaml.ScalarNode {
				w.at(n.Content[i], "%s must be names and their values", k.name)
				return
			}
			tags[n.Content[i].Value] = n.Content[i+1].Value
		}
		v.Set(reflect.ValueOf(tags))
	default:
		if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
			w.at(n, "%s must be one value", k.name)
			return
		}
		if err := scalar(v, n.Value); err != nil {
			w.at(n, "%s: %w", k.name, err)
			return
		}
	}
	w.sources[k.name] = from
}

// meantKey is the nearest key of the section; or, if there is none, of another one.
func meantKey(prefix, name string) string {
	var here, all []string
	for _, k := range keys {
		if rest, ok := strings.CutPrefix(k.name, prefix); ok {
			first, _, _ := strings.Cut(rest, ".")
			here = append(here, prefix+first)
		}
		all = append(all, k.name)
		// One that was written outside of its section.
		if last := k.name[strings.LastIndex(k.name, ".")+1:]; last == name {
			return fmt.Sprintf(": did you mean %q?", k.name)
		}
	}
	if m := meant(prefix+name, here); m != "" {
		return m
	}
	return meant(prefix+name, all)
}

// meant is a question that names the nearest word, if one is near.
func meant(word string, all []string) string {
	best, least := "", len(word)/3+2
	for _, a := range all {
		d := distance(word, a, least)
		if strings.HasPrefix(word, a) && len(a) > 3 {
			d = min(d, 1) // "certificate" for "cert"
		}
		if d < least {
			best, least = a, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(": did you mean %q?", best)
}

// distance counts the letters to insert, remove or replace between two words; it is at most
// limit.
func distance(a, b string, limit int) int {
	if len(a) > len(b)+limit || len(b) > len(a)+limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return min(row[len(b)], limit)
}
