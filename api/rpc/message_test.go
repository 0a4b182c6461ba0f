package rpc

import (
	"bytes"
	"encoding/hex"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/vmihailenco/msgpack/v5"
	"pgregory.net/rapid"

	"github.com/weirflow/weir/api"
)

// filled sets every field of a message to something, so that one that does not travel
// is found.
func filled(t *rapid.T, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		filled(t, v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Tag.Get("msgpack") != "-" {
				filled(t, v.Field(i))
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes(rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, "bytes"))
			return
		}
		n := rapid.IntRange(0, 3).Draw(t, "length")
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			filled(t, v.Index(i))
		}
	case reflect.String:
		v.SetString(rapid.String().Draw(t, "text"))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(rapid.Int64().Draw(t, "int"))
	case reflect.Uint8:
		v.SetUint(uint64(rapid.Uint8().Draw(t, "uint8")))
	case reflect.Uint32:
		v.SetUint(uint64(rapid.Uint32().Draw(t, "uint32")))
	case reflect.Uint64:
		v.SetUint(rapid.Uint64().Draw(t, "uint64"))
	default:
		t.Fatalf("a field of type %s", v.Type())
	}
}

// TestTravels sends every message with every field.
func TestTravels(t *testing.T) {
	for direction, k := range map[string]kinds{"up": up, "down": down} {
		for name, typ := range k.blank {
			t.Run(direction+"/"+name, rapid.MakeCheck(func(t *rapid.T) {
				m := reflect.New(typ)
				filled(t, m.Elem())
				b, err := k.encode(m.Interface())
				if err != nil {
					t.Fatal(err)
				}
				got, err := k.decode(b)
				if err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(got, m.Interface()) {
					t.Fatalf("%+v\nwas %+v", got, m.Interface())
				}
				for cut := range b {
					if _, err := k.decode(b[:cut]); err == nil {
						t.Fatalf("%d of %d bytes are decoded", cut, len(b))
					}
				}
			}))
		}
	}
}

// TestNothing wants nil and empty lists to stay what they are: FinishTasks of nil is of all.
func TestNothing(t *testing.T) {
	for _, tasks := range [][]api.Task{nil, {}} {
		b, err := down.encode(&api.FinishTasks{Tasks: tasks})
		if err != nil {
			t.Fatal(err)
		}
		m, err := down.decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.(*api.FinishTasks).Tasks; (got == nil) != (tasks == nil) || len(got) > 0 {
			t.Errorf("%#v has become %#v", tasks, got)
		}
	}
	b, err := up.encode(&api.TaskState{Failure: &api.Failure{Message: "m", Cause: os.ErrExist}})
	if err != nil {
		t.Fatal(err)
	}
	m, err := up.decode(b)
	if f := m.(*api.TaskState).Failure; err != nil || f.Message != "m" || f.Cause != nil {
		t.Errorf("%+v, %v", f, err)
	}
}

// TestFields wants a message of a release with more fields to be read.
func TestFields(t *testing.T) {
	type committed struct {
		Attempt, Epoch uint64
		Later          map[string][]int
	}
	body, err := msgpack.Marshal(committed{3, 4, map[string][]int{"x": {1, 2}}})
	if err != nil {
		t.Fatal(err)
	}
	m, err := down.decode(append([]byte("\x81\xa9committed"), body...))
	if err != nil || !reflect.DeepEqual(m, &api.Committed{Attempt: 3, Epoch: 4}) {
		t.Error(m, err)
	}
}

func TestGarbage(t *testing.T) {
	ok, err := down.encode(&api.Committed{Attempt: 1})
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		data []byte
		want string
	}{
		"nothing":      {nil, "cut short"},
		"a number":     {[]byte{7}, "is not one kind"},
		"two kinds":    {[]byte("\x82\xa4ping\x80\xa4ping\x80"), "is not one kind"},
		"unknown":      {[]byte("\x81\xa4pang\x80"), `"pang", which this release does not know`},
		"no text":      {[]byte{0x81, 1, 0x80}, "the kind of a message"},
		"other bodies": {[]byte("\x81\xa9committed\x01"), "decoding committed"},
		"more bytes":   {append(bytes.Clone(ok), 1), "1 bytes follow it"},
		"unused byte":  {[]byte{0xc1}, "begins no value"},
		"deep":         {bytes.Repeat([]byte{0x91}, 1<<20), "nested deeper"},
		"deep, unread": {append([]byte("\x81\xa9committed\x81\xa1x"), bytes.Repeat([]byte{0x91}, 1<<20)...), "nested deeper"},
		"long list":    {[]byte{0xdd, 0xff, 0xff, 0xff, 0xff}, "cut short"},
		"long map":     {[]byte{0xdf, 0xff, 0xff, 0xff, 0xff, 1}, "cut short"},
		"long bytes":   {[]byte{0xc6, 0xff, 0xff, 0xff, 0xff, 1}, "cut short"},
	} {
		if m, err := down.decode(c.data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v; not %q", what, m, err, c.want)
		}
	}
}

// TestGolden holds the wire's form: docs/format/job-rpc.md.
func TestGolden(t *testing.T) {
	b, err := down.encode(&api.Deploy{Job: "j", Attempt: 2, Tasks: []api.Task{{Chain: "c", Subtask: 1}}, Epoch: 300,
		Restore: [][]byte{nil}, Places: []api.Place{{Task: api.Task{Chain: "c"}, Data: "h:1"}}})
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/deploy.hex")
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(b); got != strings.TrimSpace(string(want)) {
		t.Errorf("the form has changed:\n%s\nwas\n%s", got, want)
	}
}

func FuzzDecode(f *testing.F) {
	for _, k := range []kinds{up, down} {
		for _, typ := range k.blank {
			b, err := k.encode(reflect.New(typ).Interface())
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	f.Add([]byte{0xdd, 0, 0, 0, 1, 0xc7, 1, 2, 3})
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, k := range []kinds{up, down} {
			m, err := k.decode(data)
			if err != nil {
				continue
			}
			b, err := k.encode(m)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := k.decode(b); err != nil || !reflect.DeepEqual(again, m) {
				t.Fatalf("%+v\nhas become %+v, %v", m, again, err)
			}
		}
	})
}
