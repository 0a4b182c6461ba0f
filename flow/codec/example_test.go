package codec_test

import (
	"fmt"

	"github.com/weirflow/weir/flow/codec"
)

func ExampleFor() {
	type Click struct {
		User string `msgpack:"user"`
		Page int    `msgpack:"page"`
	}
	clicks, err := codec.For[Click]()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(clicks.Schema())
	fmt.Printf("%q\n", clicks.Append(nil, &Click{"ann", 7}))
	named := clicks.AppendNamed(nil, &Click{"bob", 8})
	fmt.Printf("%q\n", named)

	var c Click
	rest, err := clicks.Decode(named, &c)
	fmt.Println(c, len(rest), err)

	_, err = codec.For[struct{ Done chan int }]()
	fmt.Println(err)
	// Output:
	// {user string, page int64}
	// "\x92\xa3ann\a"
	// "\x82\xa4user\xa3bob\xa4page\b"
	// {bob 8} 0 <nil>
	// flow/codec: type struct { Done chan int }: field Done: chan int cannot be encoded; use an exported field of a plain type, tag the field `msgpack:"-"` to leave it out, or implement codec.Marshaler and codec.Unmarshaler
}
