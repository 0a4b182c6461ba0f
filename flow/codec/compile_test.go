package codec_test

import (
	"errors"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/weirflow/weir/flow/codec"
)

type halfCustom struct{ N int }

func (halfCustom) EncodeMsgpack(*msgpack.Encoder) error { return nil }

type (
	inner   struct{ Deep []map[string]chan int }
	stamp   time.Time
	clash   struct{ Base }
	pointed *pointed
)

func TestTypesThatAreRefused(t *testing.T) {
	refused[chan int](t, "flow/codec: type chan int: cannot be encoded; use an exported field of a plain type, "+
		"tag the field `msgpack:\"-\"` to leave it out, or implement codec.Marshaler and codec.Unmarshaler")
	refused[struct{ Done chan int }](t, "flow/codec: type struct { Done chan int }: field Done: chan int cannot be encoded; "+
		"use an exported field of a plain type, tag the field `msgpack:\"-\"` to leave it out, or implement codec.Marshaler and codec.Unmarshaler")
	refused[struct{ A struct{ B inner } }](t, "flow/codec: type struct { A struct { B codec_test.inner } }: "+
		"field A.B.Deep[][value]: chan int cannot be encoded; use an exported field of a plain type, "+
		"tag the field `msgpack:\"-\"` to leave it out, or implement codec.Marshaler and codec.Unmarshaler")
	refused[any](t, "flow/codec: type interface {}: cannot be encoded: the type of its value is known only at run time; "+
		"use a concrete type, or a struct with one pointer field for each possible type")
	refused[struct{ Err error }](t, "flow/codec: type struct { Err error }: field Err: error cannot be encoded: the type of its value "+
		"is known only at run time; use a concrete type, or a struct with one pointer field for each possible type")
	refused[struct{ n int }](t, "flow/codec: type struct { n int }: field n: int is not exported, so it would be lost on the way "+
		"to another process; export the field, tag it `msgpack:\"-\"` to leave it out, or implement codec.Marshaler and codec.Unmarshaler")
	refused[struct{ C complex128 }](t, "flow/codec: type struct { C complex128 }: field C: complex128 cannot be encoded: "+
		"msgpack has no complex numbers; use two float fields")
	refused[struct{ P *[]int }](t, "flow/codec: type struct { P *[]int }: field P: *[]int cannot be encoded: "+
		"a nil pointer and a pointer to nil would be the same; use []int, or a pointer to a struct that holds it")
	refused[map[*int]int](t, "flow/codec: type map[*int]int: field [key]: *int cannot be the key of an encoded map: "+
		"*int is compared by more than its encoded value, so keys could fall together; use a string or a number")
	refused[map[struct{ At time.Time }]int](t, "flow/codec: type map[struct { At time.Time }]int: field [key]: struct { At time.Time } "+
		"cannot be the key of an encoded map: time.Time is compared by more than its encoded value, so keys could fall together; use a string or a number")
	refused[[]halfCustom](t, "flow/codec: type []codec_test.halfCustom: field []: codec_test.halfCustom "+
		"implements msgpack.CustomEncoder but not msgpack.CustomDecoder; implement both")
	refused[struct {
		clash
		Level int
	}](t, "flow/codec: type struct { codec_test.clash; Level int }: field Level: int has the name \"Level\", "+
		"which another field of the struct has too; give one of them another name by a tag `msgpack:\"name\"`")
	refused[struct {
		S string `msgpack:"s,intern"`
	}](t, "flow/codec: type struct { S string \"msgpack:\\\"s,intern\\\"\" }: field S: string has the option \"intern\" "+
		"in its msgpack tag, which is not known; use name, omitempty, noinline, alias:name and default:value")
	refused[stamp](t, "")
	refused[func()](t, "")
	refused[unsafe.Pointer](t, "")
	refused[pointed](t, "")
	refused[*map[string]int](t, "")
}

func refused[T any](t *testing.T, want string) {
	t.Helper()
	_, err := codec.For[T]()
	var e *codec.TypeError
	switch {
	case !errors.As(err, &e):
		t.Errorf("%T is not refused: %v", *new(T), err)
	case want == "":
		t.Log(err)
	case err.Error() != want:
		t.Errorf("\n got %s\nwant %s", err, want)
	}
}

func TestForIsCachedPerType(t *testing.T) {
	type local struct{ A, B int }
	var wg sync.WaitGroup
	got := make([]*codec.Codec[local], 8)
	for i := range got {
		wg.Go(func() { got[i], _ = codec.For[local]() })
	}
	wg.Wait()
	for _, c := range got {
		if c == nil || c != got[0] {
			t.Fatal("two codecs of one type")
		}
	}
}
