package config

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Effective is a value and where it came from.
type Effective struct {
	Key    string `json:"key"`
	Value  any    `json:"value"`
	Source Source `json:"source"`
}

// Effective are all keys with what holds for them. Sizes and times are text with units.
func (l *Loaded) Effective() []Effective {
	all := make([]Effective, 0, len(keys))
	for _, k := range keys {
		v := l.value(k).Interface()
		if s, ok := v.(fmt.Stringer); ok {
			v = s.String()
		}
		all = append(all, Effective{k.name, v, l.Source(k.name)})
	}
	return all
}

// WriteJSON writes them for programs.
func (l *Loaded) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(l.Effective())
}

// WriteYAML writes them as a file that Load reads, with the source of each as a comment.
func (l *Loaded) WriteYAML(w io.Writer) error {
	var b strings.Builder
	section := ""
	for _, e := range l.Effective() {
		name, indent := e.Key, ""
		if s, rest, ok := strings.Cut(e.Key, "."); ok {
			if s != section {
				fmt.Fprintf(&b, "%s:\n", s)
			}
			section, name, indent = s, rest, "  "
		} else {
			section = ""
		}
		line := indent + name + ": " + flowOf(e.Value)
		fmt.Fprintf(&b, "%-48s # %s\n", line, e.Source)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// flowOf is a value on one line.
func flowOf(v any) string {
	switch v := v.(type) {
	case string:
		return word(v)
	case []string:
		quoted := make([]string, len(v))
		for i, s := range v {
			quoted[i] = word(s)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	case map[string]string:
		var pairs []string
		for _, k := range slices.Sorted(maps.Keys(v)) {
			pairs = append(pairs, word(k)+": "+word(v[k]))
		}
		return "{" + strings.Join(pairs, ", ") + "}"
	}
	return fmt.Sprint(v)
}

// word quotes what YAML could take for something else. JSON's quoted strings are YAML's too.
func word(s string) string {
	plain := s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("./_-", r))
	})
	if plain && s[0] != '-' && s[0] != '.' {
		if _, err := strconv.ParseFloat(s, 64); err != nil {
			return s
		}
	}
	data, err := json.Marshal(s)
	if err != nil {
		panic("config: a string that is no JSON: " + err.Error())
	}
	return string(data)
}
