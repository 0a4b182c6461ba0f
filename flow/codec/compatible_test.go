package codec_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/weirflow/weir/flow/codec"
)

func TestCompatible(t *testing.T) {
	type part struct {
		N  int32
		To string
	}
	type old struct {
		ID    int64
		Items []part
		ByKey map[part]int32
		Gone  bool
		Old   string
	}
	type newPart struct {
		To string
		N  int64
	}
	type good struct {
		ByKey map[newPart]float64
		Items []newPart
		ID    *int64
		New   string `msgpack:",alias:Old"`
		Fresh int
	}
	type badPart struct{ N string }
	type bad struct {
		ID    int32
		Items []badPart
		ByKey map[struct{ To string }]int32
		Old   []byte
		Twice string `msgpack:",alias:Gone"`
	}
	was := must[old](t).Schema()
	if err := codec.Compatible(was, must[good](t).Schema(), codec.ForValue); err != nil {
		t.Errorf("what can be read is refused: %v", err)
	}
	err := codec.Compatible(was, must[bad](t).Schema(), codec.ForValue)
	want := []string{
		"field ID: int64 → int32: large numbers would not fit",
		"field Items[].N: int32 → string: the kinds differ",
		"field ByKey[key].N: int32 → nothing: keys that differ in it would fall together",
		"field Gone: bool → string: the kinds differ",
	}
	if err == nil || err.Error() != "\n  "+strings.Join(want, "\n  ") {
		t.Errorf("differences: %v", err)
	}
	var list *codec.SchemaError
	if !errors.As(err, &list) || len(list.Differences) != len(want) {
		t.Errorf("the error is no list of %d: %v", len(want), err)
	}
	// Where schemas fit, and only there, a codec can be made.
	if _, err := must[good](t).Reading(was); err != nil {
		t.Error(err)
	}
	if _, err := must[bad](t).Reading(was); !errors.As(err, &list) {
		t.Errorf("the codec's error is %v", err)
	}
}

func TestCompatibleKeys(t *testing.T) {
	type key struct {
		Zip  int32
		Town string
	}
	type wider struct {
		Zip  int64
		Town string
	}
	type turned struct {
		Town string
		Zip  int32
	}
	type more struct {
		Zip   int32
		Town  string
		Added bool
	}
	was := must[key](t).Schema()
	for _, c := range []struct {
		now       codec.Schema
		part, key bool
	}{
		{was, true, true},
		{must[wider](t).Schema(), true, true},
		{must[turned](t).Schema(), true, false},
		{must[more](t).Schema(), true, false},
		{must[struct{ Zip int32 }](t).Schema(), false, false},
	} {
		if err := codec.Compatible(was, c.now, codec.ForPart); (err == nil) != c.part {
			t.Errorf("%s as a part: %v", c.now, err)
		}
		if err := codec.Compatible(was, c.now, codec.ForKey); (err == nil) != c.key {
			t.Errorf("%s as a key: %v", c.now, err)
		}
	}
	for _, c := range []struct {
		was, now codec.Schema
		ok       bool
	}{
		{must[int32](t).Schema(), must[int64](t).Schema(), true},
		{must[uint16](t).Schema(), must[int32](t).Schema(), true},
		{must[int32](t).Schema(), must[float64](t).Schema(), false},
		{must[float32](t).Schema(), must[float64](t).Schema(), true},
		{must[[4]byte](t).Schema(), must[string](t).Schema(), false},
	} {
		if err := codec.Compatible(c.was, c.now, codec.ForKey); (err == nil) != c.ok {
			t.Errorf("%s → %s: %v", c.was, c.now, err)
		}
	}
}

func TestDefaults(t *testing.T) {
	type old struct{ A int }
	type now struct {
		Wait  time.Duration `msgpack:",default:1m30s"`
		Open  bool          `msgpack:",default:true"`
		A     int           `msgpack:",default:9"`
		Small int8          `msgpack:",default:-3"`
		Big   uint64        `msgpack:"big,default:0xffff_ffff_ffff"`
		Half  float32       `msgpack:",default:0.5"`
		Inf   float64       `msgpack:",default:-inf"`
		Name  string        `msgpack:",default:none: yet"`
		Bare  string
	}
	r, err := must[now](t).Reading(must[old](t).Schema())
	if err != nil {
		t.Fatal(err)
	}
	want := now{90 * time.Second, true, 0, -3, 0xffff_ffff_ffff, 0.5, math.Inf(-1), "none: yet", ""}
	for _, src := range [][]byte{must[old](t).Append(nil, &old{}), must[old](t).AppendNamed(nil, &old{})} {
		got := now{Bare: "stale", Name: "stale"}
		if _, err := r.Decode(src, &got); err != nil || got != want {
			t.Errorf("%+v, %v\nwant %+v", got, err, want)
		}
	}
	// What was written is what it is, also when it is nothing.
	var zero, got now
	if _, err := must[now](t).Decode(must[now](t).Append(nil, &zero), &got); err != nil || got != zero {
		t.Errorf("%+v, %v", got, err)
	}
	type tooBig struct {
		N int8 `msgpack:",default:200"`
	}
	if _, err := codec.For[tooBig](); err == nil || !strings.Contains(err.Error(), `"200"`) {
		t.Errorf("a default that does not fit: %v", err)
	}
	type slice struct {
		S []int `msgpack:",default:1"`
	}
	if _, err := codec.For[slice](); err == nil {
		t.Error("a default for a slice")
	}
}

func TestSame(t *testing.T) {
	type a struct{ N []int }
	type b struct{ N []int }
	type c struct{ M []int }
	s := must[a](t).Schema()
	if !s.Same(must[b](t).Schema()) || s.Same(must[c](t).Schema()) || s.Same(must[struct{ N []int32 }](t).Schema()) {
		t.Error("Same")
	}
}
