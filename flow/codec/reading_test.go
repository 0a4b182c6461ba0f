package codec_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/weirflow/weir/flow/codec"
)

type (
	oldItem struct {
		Gone string
		SKU  string
		N    int8
	}
	newItem struct {
		N     int32
		Fresh []string
		SKU   string
	}
	oldDoc struct {
		ID    uint32
		Title string
		Items []oldItem
		Old   map[string]oldItem
		Next  *oldDoc
		Ratio float32
		Since time.Time
	}
	newDoc struct {
		Ratio   float64
		Next    *newDoc
		Items   []newItem
		Heading *string `msgpack:",alias:Title"`
		ID      int64
		Since   time.Time
		Old     map[string]newItem
	}
)

func TestReadingFindsFieldsByName(t *testing.T) {
	oldC, newC := must[oldDoc](t), must[newDoc](t)
	at := time.Date(2026, 3, 1, 2, 3, 4, 5, time.UTC)
	v := oldDoc{ID: 1 << 31, Title: "a", Items: []oldItem{{"x", "s1", -3}}, Old: map[string]oldItem{"k": {"y", "s2", 4}},
		Next: &oldDoc{ID: 7, Title: "b", Since: at}, Ratio: 0.5, Since: at}
	a, b := "a", "b"
	want := newDoc{Ratio: 0.5, Items: []newItem{{N: -3, SKU: "s1"}}, Heading: &a, ID: 1 << 31, Since: at,
		Old: map[string]newItem{"k": {N: 4, SKU: "s2"}}, Next: &newDoc{ID: 7, Heading: &b, Since: at}}

	// The schema makes its way through both of the forms in which it is stored.
	schema := oldC.Schema()
	packed, err := msgpack.Marshal(schema)
	if err != nil {
		t.Fatal(err)
	}
	var stored codec.Schema
	if err := msgpack.Unmarshal(packed, &stored); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(stored)
	if err != nil {
		t.Fatal(err)
	}
	stored = codec.Schema{}
	if err := json.Unmarshal(text, &stored); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(schema, stored) {
		t.Fatalf("stored and read: %v, was %v", stored, schema)
	}

	reading, err := newC.Reading(stored)
	if err != nil {
		t.Fatal(err)
	}
	for _, src := range [][]byte{oldC.Append(nil, &v), oldC.AppendNamed(nil, &v)} {
		got := newDoc{Items: []newItem{{Fresh: []string{"stale"}}}, Heading: &b}
		rest, err := reading.Decode(src, &got)
		if err != nil || len(rest) != 0 {
			t.Fatalf("rest %d, error %v", len(rest), err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		// What it writes is the new form.
		var again newDoc
		if _, err := newC.Decode(reading.Append(nil, &got), &again); err != nil || !reflect.DeepEqual(again, want) {
			t.Errorf("written anew: %+v, error %v", again, err)
		}
	}
	if _, err := newC.Decode(oldC.Append(nil, &v), new(newDoc)); err == nil {
		t.Error("the plain codec read the old array form")
	}
}

func TestReadingRefusesWhatWouldNotFit(t *testing.T) {
	type a struct{ F int64 }
	type b struct{ F int32 }
	type c struct{ F *int64 }
	type d struct{ F string }
	type e struct{ F [3]int64 }
	type f struct{ F []int64 }
	type g struct{ F uint64 }
	type h struct{ F float64 }
	check := func(name string, err error, want string) {
		t.Helper()
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want)
		}
	}
	_, err := must[b](t).Reading(must[a](t).Schema())
	check("narrower", err, "flow/codec: type codec_test.b cannot read what was written: field F: int64 → int32: "+
		"large numbers would not fit; give the field its old type, or a new name to start it afresh")
	for _, bad := range []func() error{
		func() error { _, err := must[a](t).Reading(must[c](t).Schema()); return err },
		func() error { _, err := must[a](t).Reading(must[d](t).Schema()); return err },
		func() error { _, err := must[d](t).Reading(must[a](t).Schema()); return err },
		func() error { _, err := must[e](t).Reading(must[f](t).Schema()); return err },
		func() error { _, err := must[a](t).Reading(must[g](t).Schema()); return err },
		func() error { _, err := must[g](t).Reading(must[a](t).Schema()); return err },
		func() error { _, err := must[h](t).Reading(must[a](t).Schema()); return err },
		func() error { _, err := must[a](t).Reading(must[h](t).Schema()); return err },
		func() error { _, err := must[a](t).Reading(codec.Schema{Kind: codec.KindRef, Up: 3}); return err },
		func() error { _, err := must[f](t).Reading(codec.Schema{Kind: codec.KindSlice}); return err },
		func() error {
			_, err := must[[]int](t).Reading(codec.Schema{Kind: codec.KindSlice})
			return err
		},
		func() error {
			_, err := must[a](t).Reading(codec.Schema{Kind: codec.KindStruct, Fields: []codec.SchemaField{
				{Name: "F", Type: codec.Schema{Kind: codec.KindRef, Up: 1}}}})
			return err
		},
	} {
		if err := bad(); err == nil {
			t.Error("a schema that does not fit was accepted")
		} else {
			t.Log(err)
		}
	}
	for _, good := range []func() error{
		func() error { _, err := must[c](t).Reading(must[a](t).Schema()); return err },
		func() error { _, err := must[a](t).Reading(must[b](t).Schema()); return err },
		func() error { _, err := must[h](t).Reading(must[b](t).Schema()); return err },
		func() error { _, err := must[f](t).Reading(must[e](t).Schema()); return err },
	} {
		check("wider", good(), "")
	}
}
