package state

import (
	"encoding/hex"
	"testing"

	"github.com/weirflow/weir/flow/codec"
)

// TestExpiringForm holds fast how a value with a time to live is stored, in all three
// kinds of state: an array of the time and the value.
func TestExpiringForm(t *testing.T) {
	c, err := codec.For[stamped[string]]()
	if err != nil {
		t.Fatal(err)
	}
	v := stamped[string]{Expires: 1_763_740_800_000_000, Value: "v"}
	const golden = "92cf0006441ce7dc2000a176"
	if got := hex.EncodeToString(c.Append(nil, &v)); got != golden {
		t.Errorf("a value that expires is now %s, and was %s", got, golden)
	}
	if got, want := c.Schema().String(), "{weir:expires int64, weir:value string}"; got != want {
		t.Errorf("its schema is now %s, and was %s", got, want)
	}
	data, _ := hex.DecodeString(golden)
	at, value, err := expiry(data)
	if err != nil || at != v.Expires || string(value) != "\xa1v" {
		t.Errorf("%d, %q, %v", at, value, err)
	}
}
