package codec_test

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/flow/codec"
)

// text is a type with an encoding of its own.
type jsonText struct{ v string }

func (x jsonText) MarshalText() ([]byte, error)  { return []byte(x.v), nil }
func (x *jsonText) UnmarshalText(b []byte) error { x.v = string(b); return nil }

type jsonAll struct {
	ID    int64 `msgpack:"id"`
	Big   uint64
	Small float32
	F     []float64
	Name  string
	Raw   []byte
	Sum   [3]byte
	Pair  [2]bool
	ByKey map[string]int
	ByNum map[int8]string
	ByArr map[[2]int8]bool
	None  *int
	Next  *jsonAll
	At    time.Time
	Own   jsonText
	Empty struct{}
}

func jsonOf[T any](t *testing.T, v T, form codec.JSONForm) string {
	t.Helper()
	c, err := codec.For[T]()
	if err != nil {
		t.Fatal(err)
	}
	j, err := codec.NewJSON(c.Schema(), form)
	if err != nil {
		t.Fatal(err)
	}
	out, rest, err := j.Append([]byte("x"), append(c.AppendStable(nil, &v), 1))
	if err != nil || len(rest) != 1 {
		t.Fatal(err, rest)
	}
	named, _, err := j.Append([]byte("x"), c.AppendNamed(nil, &v))
	if err != nil || form == codec.JSONPlain && !reflect.DeepEqual(plain(t, named[1:]), plain(t, out[1:])) {
		t.Fatalf("named form gives %s, not %s: %v", named, out, err)
	}
	return string(out[1:])
}

func plain(t *testing.T, b []byte) (v any) {
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return v
}

func TestJSON(t *testing.T) {
	v := jsonAll{ID: -5, Big: math.MaxUint64, Small: 0.1, F: []float64{1e6, 1e21, math.NaN(), math.Inf(-1), 5e-324},
		Name: "a\"\\\n\x01\xff\u2028é", Raw: []byte{1, 2}, Sum: [3]byte{255}, Pair: [2]bool{true},
		ByKey: map[string]int{"a": 1, "b": 2}, ByNum: map[int8]string{-1: "x"}, ByArr: map[[2]int8]bool{{1, 2}: true},
		Next: &jsonAll{Name: "inner"}, At: time.Date(2026, 11, 21, 17, 0, 0, 123456789, time.UTC), Own: jsonText{"own"}}
	inner := `{"id":0,"Big":0,"Small":0,"F":null,"Name":"inner","Raw":null,"Sum":"AAAA","Pair":[false,false],"ByKey":null,` +
		`"ByNum":null,"ByArr":null,"None":null,"Next":null,"At":"0001-01-01T00:00:00Z","Own":"","Empty":{}}`
	want := `{"id":-5,"Big":18446744073709551615,"Small":0.1,"F":[1000000,1e+21,"NaN","-Inf",5e-324],` +
		`"Name":"a\"\\\n\u0001` + "\ufffd\u2028" + `é","Raw":"AQI=","Sum":"/wAA","Pair":[true,false],"ByKey":{"a":1,"b":2},"ByNum":{"-1":"x"},` +
		`"ByArr":[[[1,2],true]],"None":null,"Next":` + inner + `,"At":"2026-11-21T17:00:00.123456789Z","Own":"own","Empty":{}}`
	if got := jsonOf(t, v, codec.JSONPlain); got != want {
		t.Errorf("plain:\n%s\n%s", got, want)
	}
	quoted, err := json.Marshal(inner)
	if err != nil {
		t.Fatal(err)
	}
	want = `{"id":-5,"Big":18446744073709551615,"Small":0.1,"F":[1000000,1e+21,null,null,5e-324],` +
		`"Name":"a\"\\\n\u0001` + "\ufffd\u2028" + `é","Raw":"AQI=","Sum":"/wAA","Pair":[true,false],` +
		`"ByKey":[{"key":"a","value":1},{"key":"b","value":2}],"ByNum":[{"key":-1,"value":"x"}],` +
		`"ByArr":[{"key":[1,2],"value":true}],"None":null,"Next":` + string(quoted) +
		`,"At":"2026-11-21T17:00:00.123456Z","Own":"\"own\"","Empty":"{}"}`
	if got := jsonOf(t, v, codec.JSONTable); got != want {
		t.Errorf("table:\n%s\n%s", got, want)
	}
}

// TestJSONIsThatOfTheLibrary compares with encoding/json where both mean the same.
func TestJSONIsThatOfTheLibrary(t *testing.T) {
	type part struct {
		A int64
		B []string
		C map[string]uint32
		D *float64
		E time.Time
		F [2]int8
	}
	rapid.Check(t, func(rt *rapid.T) {
		v := rapid.MapOf(rapid.String(), rapid.SliceOf(rapid.Custom(func(t *rapid.T) part {
			p := part{A: rapid.Int64().Draw(t, "a"), B: rapid.SliceOf(rapid.String()).Draw(t, "b"),
				C: rapid.MapOf(rapid.String(), rapid.Uint32()).Draw(t, "c"), E: times.Draw(t, "e")}
			if rapid.Bool().Draw(t, "d") {
				d := rapid.Float64().Draw(t, "float")
				p.D = &d
			}
			return p
		}))).Draw(rt, "v")
		want, err := json.Marshal(v)
		if err != nil {
			rt.Skip("a year that JSON has not")
		}
		if got := jsonOf(t, v, codec.JSONPlain); !reflect.DeepEqual(plain(t, []byte(got)), plain(t, want)) {
			rt.Fatalf("%s\n%s", got, want)
		}
	})
}

func TestJSONErrors(t *testing.T) {
	c, err := codec.For[jsonAll]()
	if err != nil {
		t.Fatal(err)
	}
	j, err := codec.NewJSON(c.Schema(), codec.JSONPlain)
	if err != nil {
		t.Fatal(err)
	}
	v := jsonAll{F: []float64{1, 2}}
	good := c.Append(nil, &v)
	for i := range good {
		if out, rest, err := j.Append(nil, good[:i]); err == nil || out != nil || len(rest) != i {
			t.Fatalf("cut off after %d of %d bytes: %s", i, len(good), out)
		}
	}
	bad := strings.Replace(string(good), "\xcb\x40", "\xc3\x40", 1)
	if _, _, err := j.Append(nil, []byte(bad)); err == nil || !strings.Contains(err.Error(), "F[1]: want float64, found true") {
		t.Fatal(err)
	}
	elem := codec.Schema{Kind: codec.KindRef, Up: 1}
	for _, s := range []codec.Schema{
		{}, {Kind: "x"}, {Kind: codec.KindSlice}, {Kind: codec.KindMap, Elem: &codec.Schema{Kind: codec.KindBool}},
		{Kind: codec.KindRef, Up: 1}, {Kind: codec.KindStruct, Fields: []codec.SchemaField{{Name: "a", Type: codec.Schema{Kind: codec.KindRef, Up: 2}}}},
	} {
		if _, err := codec.NewJSON(s, codec.JSONPlain); err == nil {
			t.Errorf("%v is taken", s)
		}
	}
	// A type that is only itself nests without end on any bytes.
	j, err = codec.NewJSON(codec.Schema{Kind: codec.KindPointer, Elem: &elem}, codec.JSONPlain)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := j.Append(nil, []byte{1}); err == nil {
		t.Error("no error for a type without end")
	}
}

func FuzzJSON(f *testing.F) {
	c, err := codec.For[jsonAll]()
	if err != nil {
		f.Fatal(err)
	}
	sc, err := codec.For[codec.Schema]()
	if err != nil {
		f.Fatal(err)
	}
	s := c.Schema()
	f.Add(sc.AppendNamed(nil, &s), c.Append(nil, &jsonAll{Name: "x", F: []float64{1}, Next: &jsonAll{}}))
	f.Add(sc.AppendNamed(nil, &codec.Schema{Kind: codec.KindCustom}), []byte("\x82\xa1a\x01\xa1b\x93\xc0\xc7\x01\x05\x00\xca\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, schema, src []byte) {
		var s codec.Schema
		if _, err := sc.Decode(schema, &s); err != nil {
			return
		}
		for _, form := range []codec.JSONForm{codec.JSONPlain, codec.JSONTable} {
			j, err := codec.NewJSON(s, form)
			if err != nil {
				return
			}
			out, rest, err := j.Append(nil, src)
			if err != nil {
				continue
			}
			if len(rest) > len(src) || len(out) < 10000 && !json.Valid(out) {
				t.Fatalf("%s of %q", out, src)
			}
		}
	})
}
