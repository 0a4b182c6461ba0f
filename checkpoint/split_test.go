package checkpoint_test

import (
	"reflect"
	"testing"

	"github.com/weirflow/weir/checkpoint"
)

func TestSplitForm(t *testing.T) {
	want := checkpoint.SavedSplit{ID: "a.csv:0", Data: []byte{1, 0, 255}, Size: 7}
	b := checkpoint.AppendSplit(nil, &want)
	const golden = "\x83\xa2id\xa7a.csv:0\xa4data\xc4\x03\x01\x00\xff\xa4size\x07"
	if string(b) != golden {
		t.Errorf("the stored form is %q", b)
	}
	if got, err := checkpoint.DecodeSplit(b); err != nil || !reflect.DeepEqual(got, want) {
		t.Error(got, err)
	}
	for _, bad := range []string{"", golden + "\x00", golden[:9], "\x01"} {
		if s, err := checkpoint.DecodeSplit([]byte(bad)); err == nil {
			t.Errorf("%q: %v", bad, s)
		}
	}
}

func FuzzDecodeSplit(f *testing.F) {
	f.Add(checkpoint.AppendSplit(nil, &checkpoint.SavedSplit{ID: "x", Data: []byte("y"), Size: -1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := checkpoint.DecodeSplit(b)
		if err != nil {
			return
		}
		if again, err := checkpoint.DecodeSplit(checkpoint.AppendSplit(nil, &s)); err != nil || !reflect.DeepEqual(again, s) {
			t.Fatal(again, s, err)
		}
	})
}
