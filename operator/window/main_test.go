package window

import (
	"flag"
	"os"
	"testing"
)

// TestMain asks for more cases than rapid's hundred: one takes 50 µs.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "2000"); err != nil {
		panic(err)
	}
	flag.Parse()
	os.Exit(m.Run())
}
