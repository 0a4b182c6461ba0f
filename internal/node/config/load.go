package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// envPrefix is what variables of an agent begin with.
const envPrefix = "WEIR_AGENT_"

// Source is where a value came from.
type Source struct {
	Kind string `json:"kind"` // default, file, env, flag
	// File and Line are those of Kind file.
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	// Name is that of a variable or flag.
	Name string `json:"name,omitempty"`
}

// String is "default", "agent.yaml:3", "WEIR_AGENT_ZONE" or "--zone".
func (s Source) String() string {
	switch s.Kind {
	case "file":
		return s.File + ":" + strconv.Itoa(s.Line)
	case "env", "flag":
		return s.Name
	}
	return s.Kind
}

// Inputs are what Load reads.
type Inputs struct {
	// File is the YAML file; empty for none.
	File string
	// Environ is the environment, such as os.Environ().
	Environ []string
	// Flags are those that Register has added to; nil for none.
	Flags *pflag.FlagSet
}

// Loaded is a Config, and where each value came from.
type Loaded struct {
	Config
	sources map[string]Source
}

// maxFile is the largest file that is read.
const maxFile = 1 << 20

// Load reads all inputs. An error has a line for each mistake in form; whether the values make
// sense is for Check.
func Load(in Inputs) (*Loaded, error) {
	l := &Loaded{Config: Default(), sources: map[string]Source{}}
	var wrong []error
	if in.File != "" {
		data, err := readFile(in.File)
		if err != nil {
			return nil, err
		}
		wrong = append(wrong, l.yaml(in.File, data)...)
	}
	wrong = append(wrong, l.environment(in.Environ)...)
	if in.Flags != nil {
		wrong = append(wrong, l.flags(in.Flags)...)
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	return l, nil
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("config: %s is larger than %d bytes", name, maxFile)
	}
	return data, nil
}

// Source is where the value of a key came from.
func (l *Loaded) Source(key string) Source {
	if s, ok := l.sources[key]; ok {
		return s
	}
	return Source{Kind: "default"}
}

// key is one that has a value.
type key struct {
	name  string // with dots
	about string
	index []int
	kind  reflect.Type
}

func (k key) env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(k.name, ".", "_"))
}

func (k key) flag() string {
	return strings.NewReplacer(".", "-", "_", "-").Replace(k.name)
}

// keys are all there are, in the order of the struct.
var keys = keysOf(reflect.TypeFor[Config](), "", nil)

func keysOf(t reflect.Type, prefix string, index []int) (all []key) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, at := prefix+f.Tag.Get("yaml"), append(slices.Clone(index), i)
		if f.Type.Kind() == reflect.Struct {
			all = append(all, keysOf(f.Type, name+".", at)...)
		} else {
			all = append(all, key{name, f.Tag.Get("about"), at, f.Type})
		}
	}
	return all
}

func (l *Loaded) value(k key) reflect.Value {
	return reflect.ValueOf(&l.Config).Elem().FieldByIndex(k.index)
}

// set reads a value from text, as environment and flags have it: lists with commas, tags as
// name=value.
func (l *Loaded) set(k key, text string, from Source) error {
	v := l.value(k)
	switch v.Interface().(type) {
	case []string:
		var list []string
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				list = append(list, part)
			}
		}
		v.Set(reflect.ValueOf(list))
	case map[string]string:
		tags := map[string]string{}
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part == "" {
				continue
			}
			name, value, ok := strings.Cut(part, "=")
			if !ok {
				return fmt.Errorf("%s: %q must be name=value", from, part)
			}
			tags[name] = value
		}
		v.Set(reflect.ValueOf(tags))
	default:
		if err := scalar(v, text); err != nil {
			return fmt.Errorf("%s: %w", from, err)
		}
	}
	l.sources[k.name] = from
	return nil
}

// scalar reads one value.
func scalar(v reflect.Value, text string) error {
	switch v.Interface().(type) {
	case Size:
		n, err := ParseSize(text)
		v.SetInt(int64(n))
		return err
	case Duration:
		d, err := ParseDuration(text)
		v.SetInt(int64(d))
		return err
	case string:
		v.SetString(text)
	case bool:
		switch text {
		case "true", "false":
			v.SetBool(text == "true")
		default:
			return fmt.Errorf("%q must be true or false", text)
		}
	case int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q must be a whole number", text)
		}
		v.SetInt(int64(n))
	default:
		panic("config: a field of a type that has no form: " + v.Type().String())
	}
	return nil
}

func (l *Loaded) environment(environ []string) (wrong []error) {
	for _, pair := range environ {
		name, text, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, envPrefix) {
			continue
		}
		i := slices.IndexFunc(keys, func(k key) bool { return k.env() == name })
		if i < 0 {
			var all []string
			for _, k := range keys {
				all = append(all, k.env())
			}
			wrong = append(wrong, fmt.Errorf("environment: there is no variable %s%s", name, meant(name, all)))
			continue
		}
		if err := l.set(keys[i], text, Source{Kind: "env", Name: name}); err != nil {
			wrong = append(wrong, err)
		}
	}
	return wrong
}

// Register adds a flag for each key.
func Register(fs *pflag.FlagSet) {
	for _, k := range keys {
		about := k.about + " (" + k.env() + ")"
		f := fs.VarPF(&given{kind: k.kind}, k.flag(), "", about)
		if k.kind.Kind() == reflect.Bool {
			f.NoOptDefVal = "true"
		}
	}
}

// given is a flag's text; what is wrong with it is told by Load, together with all else.
type given struct {
	text string
	kind reflect.Type
}

func (g *given) String() string     { return g.text }
func (g *given) Set(s string) error { g.text = s; return nil }

// Type is for help.
func (g *given) Type() string {
	switch g.kind {
	case reflect.TypeFor[Size]():
		return "SIZE"
	case reflect.TypeFor[Duration]():
		return "TIME"
	case reflect.TypeFor[[]string]():
		return "A,B"
	case reflect.TypeFor[map[string]string]():
		return "NAME=VALUE,..."
	case reflect.TypeFor[int]():
		return "N"
	case reflect.TypeFor[bool]():
		return "bool"
	}
	return "TEXT"
}

func (l *Loaded) flags(fs *pflag.FlagSet) (wrong []error) {
	for _, k := range keys {
		f := fs.Lookup(k.flag())
		if f == nil || !f.Changed {
			continue
		}
		if err := l.set(k, f.Value.String(), Source{Kind: "flag", Name: "--" + f.Name}); err != nil {
			wrong = append(wrong, err)
		}
	}
	return wrong
}
